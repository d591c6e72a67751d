/** Prefect's interface below a cell. The password is asked of the kernel and handed to the login page, and kept nowhere here. */

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** @param {string} tag @param {string} [className] @param {...(Node|string)} children */
function make(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * The address as this page can use it, and why it cannot if so.
 * @param {string} address @param {{href: string, hostname: string}} here
 * @returns {{url: string, isReachable: boolean}}
 */
export function reach(address, here) {
  const url = new URL(address, here.href);
  if (!LOOPBACK.includes(url.hostname)) return { url: url.href, isReachable: true };
  // By the name that this page has: to a browser, localhost and 127.0.0.1 are two sites, each with its own logins.
  if (LOOPBACK.includes(here.hostname)) url.hostname = here.hostname === "[::1]" ? "127.0.0.1" : here.hostname;
  return { url: url.href, isReachable: LOOPBACK.includes(here.hostname) };
}

/** Whether something answers there; only asked of the page's own server, which would pass the request on. */
async function answers(url) {
  if (new URL(url).origin !== location.origin) return true;
  try {
    return (await fetch(url, { method: "GET", credentials: "same-origin" })).ok;
  } catch {
    return false;
  }
}

function render({ model, el }) {
  const link = make("a", "", "Open Prefect in a tab");
  const note = make("span");
  note.setAttribute("role", "status");
  const frame = make("iframe");
  frame.title = "Prefect";
  frame.hidden = true;
  // The card's class: where it is drawn, the HTML above it is not shown.
  el.append(make("div", "nbf-card nbf-dashboard", make("div", "nbf-dashboard-line", link, note), frame));
  link.target = "_blank";
  /** Pages opened from here, which may ask for the password as the one below the cell may, and their origins. @type {Map<Window, string>} */
  const pages = new Map();

  function draw() {
    const [address, inFrame, text] = ["address", "frame", "note"].map((name) => model.get(name));
    note.textContent = text;
    link.hidden = !address;
    if (!address) return;
    const { url, isReachable } = reach(inFrame || address, location);
    link.href = url;
    link.rel = inFrame ? "" : "noopener noreferrer";
    if (!inFrame) return;
    if (!isReachable) {
      const { port } = new URL(url);
      note.textContent = `Prefect listens on the kernel's own machine. To see it here, forward the port, such as by: ssh -L ${port}:127.0.0.1:${port} HOST`;
      return;
    }
    answers(url.replace(/#.*/, "")).then((isThere) => {
      if (!isThere) {
        note.textContent =
          "This notebook's server does not pass Prefect's pages on. Install jupyter-server-proxy beside JupyterLab and restart that.";
        return;
      }
      frame.hidden = false;
      if (frame.src !== url) frame.src = url;
    });
  }

  function onMessage({ source, origin, data }) {
    if (data?.nbfutures !== "login" || !source) return;
    // The frame's window is another one each time the frame is moved, as notebooks do with outputs.
    const expected = frame.src && source === frame.contentWindow ? new URL(frame.src).origin : pages.get(source);
    if (expected !== origin) return;
    asking.push([source, origin]);
    model.send({ do: "password" });
  }
  /** @type {[Window, string][]} */
  const asking = [];
  function onAnswer(message) {
    if (message?.answer !== "password") return;
    for (const [page, origin] of asking.splice(0)) page.postMessage({ nbfutures: "password", password: message.password }, origin);
  }
  function onClick(event) {
    if (!model.get("frame")) return;
    event.preventDefault();
    const opened = window.open(link.href, "_blank");
    if (opened) pages.set(opened, new URL(link.href).origin);
  }

  link.addEventListener("click", onClick);
  window.addEventListener("message", onMessage);
  model.on("msg:custom", onAnswer);
  model.on("change:address change:frame change:note", draw);
  draw();
  return () => {
    window.removeEventListener("message", onMessage);
    model.off("msg:custom", onAnswer);
    model.off("change:address change:frame change:note", draw);
  };
}

export default { render };
