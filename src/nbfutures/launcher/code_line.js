// Python to read and to copy. All text is set as text: it may hold what people typed.

const BACK_AFTER_MS = 2000;

/**
 * Copy, or where the page may not (it came over plain http), select the text to be copied by keyboard.
 * @param {string} text
 * @param {HTMLElement} shown the element that holds the text
 * @returns {Promise<string>} what to say
 */
export async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied";
  } catch {
    getSelection()?.selectAllChildren(shown);
    return "Selected: copy with Ctrl+C";
  }
}

/** @param {{ model: any, el: HTMLElement }} context */
function render({ model, el }) {
  el.classList.add("nbf-code");
  const code = document.createElement("code");
  const shown = document.createElement("pre");
  shown.tabIndex = 0; // to scroll and select by keyboard
  shown.setAttribute("role", "group");
  shown.setAttribute("aria-label", "The same in Python");
  shown.append(code);
  const note = document.createElement("span");
  note.className = "nbf-code-note";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button";
  const said = document.createElement("span");
  said.className = "nbf-unseen";
  said.setAttribute("role", "status");
  el.append(shown, note, button, said);

  let timer = 0;
  const name = () => {
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy the Python line");
    said.textContent = "";
  };
  const update = () => {
    const text = model.get("code");
    code.textContent = text;
    note.textContent = text ? "" : model.get("note");
    shown.hidden = button.hidden = !text;
    note.hidden = Boolean(text);
  };
  const onClick = async () => {
    const words = await copy(model.get("code"), code);
    button.textContent = words;
    button.removeAttribute("aria-label");
    said.textContent = words;
    clearTimeout(timer);
    timer = setTimeout(name, BACK_AFTER_MS);
  };
  button.addEventListener("click", onClick);
  model.on("change:code", update);
  model.on("change:note", update);
  name();
  update();
  return () => {
    clearTimeout(timer);
    model.off("change:code", update);
    model.off("change:note", update);
  };
}

export default { render };
