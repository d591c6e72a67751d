// Every card brings this along: it asks the kernel for the code that draws cards, once for a page. So the code is in no
// saved notebook, and a page without JavaScript never asks.
async function load(model) {
  const { script, style } = await new Promise((resolve, reject) => {
    const answer = (message) => message?.answer === "code" && resolve(message);
    model.on("msg:custom", answer);
    model.send({ do: "code" });
    setTimeout(() => (model.off("msg:custom", answer), reject(Error("no answer"))), 10_000);
  });
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  return import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
}

async function loaded(model) {
  const pages = (globalThis.nbfuturesCards ??= {});
  const version = model.get("version");
  for (;;) {
    const loading = (pages[version] ??= load(model));
    try {
      return await loading;
    } catch {
      // The card that asked was let go of, or the kernel is busy: this one asks again.
      if (pages[version] === loading) delete pages[version];
    }
  }
}

export default {
  render({ model, el }) {
    let isOver = false;
    const drawing = loaded(model).then((card) => !isOver && card.default.render({ model, el }));
    return () => {
      isOver = true;
      drawing.then((clean) => clean && clean());
    };
  },
};
