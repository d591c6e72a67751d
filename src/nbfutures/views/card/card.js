/**
 * The live card: draws one job, or a list of jobs, and sends clicks to the kernel.
 *
 * Plain ESM for anywidget, no build. All text arrives cut and in words; it is put in as text, never as markup.
 * The pure functions are exported for their tests.
 *
 * @typedef {{total: number, settled: number, completed: number, failed: number, cancelled: number, skipped: number,
 *   running: number, waiting: number}} Counts
 * @typedef {{key: string, title: string, state: string, phase: string, is_done: boolean, crashed: boolean,
 *   is_open_ended: boolean, counts: Counts, percent: number, elapsed: number, note: string, links: [string, string][], words: {counts: string},
 *   parts: Record<string, string>, pace: string, actions: string[]}} Job
 */

/** Kinds of items in the order of the bar, what waits last: that is the empty track. */
export const KINDS = ["completed", "failed", "cancelled", "skipped", "running", "waiting"];

const ACTIONS = { pause: "Pause", resume: "Resume", retry: "Retry", cancel: "Cancel" };
const CALM_SECONDS = 0.5; // nothing flashes for a job that ends sooner
const PATIENCE_MS = 1500; // a click that the kernel has not taken for so long is explained
const SPEAK_MS = 300; // a live region that has just been made is not heard
const LOGIN_PAGE = "nbfutures-login.html"; // beside Prefect's interface: asks the page that opened it for the password
const BACK_MS = 2000; // a card that is drawn anew within so long gets the keyboard's focus back

/**
 * Parts of the bar with their width in percent; each that is there at all is at least `least` wide.
 * While more items may come, a tenth is left free: nobody knows how far it is.
 */
export function segments(counts, { least = 0.4, isOpenEnded = false } = {}) {
  const kinds = KINDS.filter((kind) => kind !== "waiting" && counts[kind] > 0);
  const widths = kinds.map((kind) => Math.max((100 * counts[kind]) / counts.total, least));
  const sum = widths.reduce((one, other) => one + other, 0);
  const most = isOpenEnded ? 90 : 100;
  const scale = sum > most ? most / sum : 1;
  return kinds.map((kind, i) => ({ kind, width: widths[i] * scale }));
}

/** What the button says that runs again what did not complete. */
export function retryLabel(counts) {
  if (!counts.cancelled && !counts.skipped) return "Retry failed";
  return counts.failed ? "Retry the rest" : "Run the rest";
}

/** What a screen reader is to say after a change; empty for nothing. Speaks at the first failure, quarters, the end. */
export function announcement(before, now) {
  if (!before || before.key !== now.key) return "";
  if (now.is_done) return before.is_done ? "" : `${now.title}: ${now.state}. ${now.words.counts}`;
  if (before.is_done) return `${now.title} runs again`;
  if (now.phase !== before.phase && now.phase !== "running") return `${now.title}: ${now.state}`;
  if (now.counts.failed > 0 && before.counts.failed === 0) return `${now.title}: first failure. ${now.words.counts}`;
  const quarter = Math.floor(now.percent / 25);
  if (quarter > Math.floor(before.percent / 25)) return `${now.title}: ${25 * quarter} percent`;
  return "";
}

/** Where the bars of a timeline lie, as one SVG path each for what went well and what failed; 0..width, rows of 1. */
export function lanePaths(timeline, width = 1000) {
  const span = Math.max(timeline.end - timeline.start, 1e-6);
  const good = [];
  const bad = [];
  timeline.lanes.forEach((lane, row) => {
    for (const [start, end, , failed] of lane.bars) {
      const x = (width * start) / span;
      const w = Math.max((width * (end - start)) / span, 0.75);
      // What failed is taller as well: colour alone would not tell everybody.
      const [paths, top, height] = failed ? [bad, row + 0.02, 0.96] : [good, row + 0.2, 0.6];
      paths.push(`M${x.toFixed(2)} ${top.toFixed(2)}h${w.toFixed(2)}v${height}h${(-w).toFixed(2)}z`);
    }
  });
  return { good: good.join(""), bad: bad.join("") };
}

// --- drawing --------------------------------------------------------------------------------------------------------

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A name by which the focus finds an element again in another drawing of the same card. */
function nameFocus(element, name) {
  element.dataset.focus = name;
  return element;
}

/** Opens pages of Prefect's interface logged in: what its login page asks for is asked of the kernel, and not kept. */
class PrefectPages {
  constructor(send) {
    this.send = send;
    this.opened = new Map(); // page -> its origin
    this.asking = [];
    this.onMessage = ({ source, origin, data }) => {
      if (data?.nbfutures !== "login" || this.opened.get(source) !== origin) return;
      this.asking.push([source, origin]);
      this.send({ do: "password" });
    };
    window.addEventListener("message", this.onMessage);
  }

  open(url) {
    const page = window.open(url, "_blank");
    if (page) this.opened.set(page, new URL(url, location.href).origin);
    return page !== null;
  }

  answer({ password }) {
    for (const [page, origin] of this.asking.splice(0)) page.postMessage({ nbfutures: "password", password }, origin);
  }

  dispose() {
    window.removeEventListener("message", this.onMessage);
  }
}

/** Bar, words and buttons of one job. */
class JobPart {
  constructor(send, pages, { small }) {
    this.send = send;
    this.pages = pages;
    this.small = small;
    this.job = null;
    this.title = make("strong", "nbf-title");
    this.state = make("span", "nbf-state");
    this.name = nameFocus(make("div", "nbf-name", this.title, this.state), "name");
    this.name.tabIndex = -1;
    this.buttons = make("div", "nbf-buttons");
    this.byAction = {};
    for (const [action, text] of Object.entries(ACTIONS)) {
      const button = nameFocus(make("button", "nbf-button", text), action);
      button.type = "button";
      button.addEventListener("click", () => this.click(action));
      this.byAction[action] = button;
      this.buttons.append(button);
    }
    this.track = make("div", "nbf-track");
    this.track.setAttribute("role", "progressbar");
    this.track.setAttribute("aria-valuemin", "0");
    this.counts = make("span", "nbf-counts");
    this.pace = make("span", "nbf-pace");
    this.links = make("span", "nbf-links");
    this.note = make("div", "nbf-note");
    this.waiting = make("div", "nbf-note");
    this.root = make(
      "div",
      small ? "nbf-job nbf-small" : "nbf-job",
      make("div", "nbf-head", this.name, this.links, this.buttons),
      this.track,
      make("div", "nbf-line", this.counts, this.pace),
      this.note,
      this.waiting,
    );
    this.note.hidden = this.waiting.hidden = true;
  }

  click(action) {
    const button = this.byAction[action];
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    this.send({ do: action, job: this.job.key });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.waiting.hidden = false;
      say(this.waiting, "Sent; the kernel takes it up when the running cell ends. If it was restarted, run this cell again.");
    }, PATIENCE_MS);
  }

  /** The kernel has taken the click. */
  taken() {
    clearTimeout(this.timer);
    this.waiting.hidden = true;
    for (const button of Object.values(this.byAction)) button.setAttribute("aria-disabled", "false");
  }

  draw(job) {
    const before = this.job;
    this.job = job;
    say(this.title, job.title);
    say(this.state, job.state);
    this.root.dataset.phase = job.crashed ? "crashed" : job.is_done && job.counts.failed ? "failed" : job.phase;
    this.drawButtons(job, before);
    this.drawBar(job);
    const parts = JSON.stringify(job.parts);
    if (parts !== this.drawn) {
      this.drawn = parts;
      this.counts.replaceChildren(
        ...Object.entries(job.parts).map(([kind, text]) => {
          if (!kind) return make("span", "nbf-count", text);
          const swatch = make("span", `nbf-swatch nbf-${kind}`);
          swatch.setAttribute("aria-hidden", "true");
          return make("span", "nbf-count", swatch, text);
        }),
      );
    }
    say(this.pace, job.pace);
    this.drawLinks(job);
    say(this.note, job.note);
    this.note.hidden = !job.note;
  }

  drawLinks(job) {
    const links = job.links ?? [];
    if (JSON.stringify(links) === this.linked) return;
    this.linked = JSON.stringify(links);
    this.links.replaceChildren(
      ...links.map(([name, url]) => {
        const link = nameFocus(make("a", "nbf-link", name), url);
        Object.assign(link, { href: url, target: "_blank", rel: "noopener noreferrer" });
        if (url.includes(LOGIN_PAGE)) {
          link.addEventListener("click", (event) => {
            const isPlain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
            if (isPlain && this.pages.open(url)) event.preventDefault();
          });
        }
        return link;
      }),
    );
  }

  drawButtons(job, before) {
    const changed = !before || job.actions.join() !== before.actions.join() || job.phase !== before.phase;
    if (!changed) return;
    this.taken();
    const focused = this.buttons.contains(document.activeElement) ? document.activeElement : null;
    for (const [action, button] of Object.entries(this.byAction)) {
      button.hidden = !job.actions.includes(action);
      const label = action === "retry" ? retryLabel(job.counts) : ACTIONS[action];
      say(button, label);
      button.setAttribute("aria-label", `${label}: ${job.title}`);
    }
    // The keyboard stays where it was: on the button that took the place of the one that was pressed, or on the job.
    if (focused?.hidden) (Object.values(this.byAction).find((button) => !button.hidden) ?? this.name).focus();
  }

  drawBar(job) {
    const { counts } = job;
    const isShown = counts.total > 0 && (job.is_done || job.elapsed >= CALM_SECONDS);
    this.track.classList.toggle("nbf-calm", !isShown);
    this.track.hidden = counts.total === 0 && job.is_done;
    this.track.setAttribute("aria-label", job.title);
    this.track.setAttribute("aria-valuemax", String(Math.max(counts.total, 1)));
    if (job.is_open_ended) this.track.removeAttribute("aria-valuenow");
    else this.track.setAttribute("aria-valuenow", String(counts.settled));
    this.track.setAttribute("aria-valuetext", job.words.counts || job.state);
    if (!isShown) return;
    const parts = segments(counts, { isOpenEnded: job.is_open_ended });
    while (this.track.children.length > parts.length) this.track.lastChild.remove();
    while (this.track.children.length < parts.length) this.track.append(make("div"));
    parts.forEach(({ kind, width }, i) => {
      const part = this.track.children[i];
      part.className = `nbf-segment nbf-${kind}`;
      part.style.width = `${width}%`;
    });
  }

  dispose() {
    clearTimeout(this.timer);
  }
}

/** A fold whose content is asked for when it is opened. */
class Fold {
  constructor(name, title, ui, send) {
    this.body = make("div", "nbf-fold-body");
    this.label = make("span", "", title);
    const summary = nameFocus(make("summary", "", this.label), `fold ${name}`);
    this.root = make("details", "nbf-fold", summary, this.body);
    let isOpen = (this.root.open = ui.folds.has(name));
    this.root.addEventListener("toggle", () => {
      if (this.root.open === isOpen) return;
      isOpen = this.root.open;
      if (isOpen) ui.folds.add(name);
      else ui.folds.delete(name);
      send({ do: isOpen ? "open" : "close", fold: name });
    });
    if (isOpen) send({ do: "open", fold: name });
  }
}

/** The rows of the fold "Failures". */
class FailureRows {
  constructor(body, ui, send) {
    this.body = body;
    this.ui = ui;
    this.send = send;
    this.rows = new Map();
    this.more = make("div", "nbf-note");
    this.none = make("div", "nbf-note");
  }

  draw(failures) {
    const groups = failures.groups ?? [];
    const rows = groups.map((group) => {
      const row = this.rows.get(group.key) ?? this.make(group);
      this.rows.set(group.key, row);
      if (row.first !== group.first) this.point(row, group.first);
      say(row.number, group.count.toLocaleString("en-US"));
      say(row.code, group.message ? `${group.error}: ${group.message}` : group.error);
      say(row.where, group.where);
      return row.root;
    });
    for (const key of [...this.rows.keys()]) {
      if (!groups.some((group) => group.key === key)) this.rows.delete(key);
    }
    // Nothing is known of them before they have come.
    say(this.none, failures.groups ? "No failures." : "…");
    say(this.more, failures.more ? `and ${failures.more.toLocaleString("en-US")} more kinds: job.errors()` : "");
    const wanted = [...(rows.length ? rows : [this.none]), ...(failures.more ? [this.more] : [])];
    for (const child of [...this.body.children]) if (!wanted.includes(child)) child.remove();
    // The row that has the focus is not moved, the others are moved around it: else the focus would be lost.
    const focused = wanted.findIndex((row) => row.contains(document.activeElement));
    if (focused >= 0) {
      const anchor = wanted[focused];
      for (const row of wanted.slice(0, focused)) anchor.before(row);
      for (const row of wanted.slice(focused + 1).reverse()) anchor.after(row);
    } else {
      wanted.forEach((row, i) => {
        if (this.body.children[i] !== row) this.body.insertBefore(row, this.body.children[i] ?? null);
      });
    }
  }

  make(group) {
    const row = { number: make("span", "nbf-number"), code: make("code"), where: make("span", "nbf-where") };
    row.detail = make("div", "nbf-detail", "…");
    const summary = nameFocus(make("summary", "", row.number, " × ", row.code, row.where), `failure ${group.key}`);
    row.root = make("details", "nbf-failure", summary, row.detail);
    row.first = group.first;
    row.root.open = this.ui.failures.has(group.key);
    // Also called once for a row that is made open.
    row.root.addEventListener("toggle", () => {
      if (row.root.open) this.ui.failures.add(group.key);
      else this.ui.failures.delete(group.key);
      if (row.root.open && row.asked !== row.first) this.ask(row);
    });
    return row;
  }

  ask(row) {
    row.asked = row.first;
    this.send({ do: "failure", index: row.first });
  }

  /** The group has another first item: what is shown of the one before is not true any more. */
  point(row, first) {
    row.first = first;
    row.detail.replaceChildren("…");
    if (row.root.open) this.ask(row);
  }

  answer({ index, headline, blocks }) {
    for (const row of this.rows.values()) {
      if (row.first !== index) continue;
      const drawn = blocks.map(([title, text]) => {
        const block = make("pre", "", text);
        block.tabIndex = 0; // it scrolls: also by keyboard
        block.setAttribute("role", "group");
        block.setAttribute("aria-label", `${title} of item ${index}`);
        return make("div", "", make("div", "nbf-caption", title), block);
      });
      row.detail.replaceChildren(make("div", "nbf-headline", headline), ...drawn);
    }
  }
}

function drawTimeline(body, timeline) {
  const lanes = timeline.lanes ?? [];
  if (!lanes.length) {
    body.replaceChildren(make("div", "nbf-note", timeline.lanes ? "No item has run yet." : "…"));
    return;
  }
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", `0 0 1000 ${lanes.length}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", timeline.words);
  svg.style.height = `${lanes.length * Math.max(Math.min(20, 400 / lanes.length), 2)}px`;
  const paths = lanePaths(timeline);
  for (const kind of ["good", "bad"]) {
    const path = document.createElementNS(ns, "path");
    path.setAttribute("class", `nbf-${kind}`);
    path.setAttribute("d", paths[kind]);
    svg.append(path);
  }
  const shown = lanes.length <= 20 ? lanes.map((lane) => make("span", "", lane.name)) : [make("span", "", `${lanes.length} workers`)];
  const chart = make("div", "nbf-chart", make("div", "nbf-lanes", ...shown), svg);
  const axis = make("div", "nbf-axis", make("span", "", "0 s"), make("span", "", timeline.span));
  chart.append(axis);
  body.replaceChildren(chart, make("div", "nbf-note", timeline.words));
}

function drawResults(body, results) {
  if (!results.length) {
    body.replaceChildren(make("div", "nbf-note", "No values yet."));
    return;
  }
  const rows = [];
  let before = results[0][0] - 1;
  for (const [index, text] of results) {
    if (index !== before + 1) rows.push(make("tr", "", make("td", "", "…"), make("td")));
    rows.push(make("tr", "", make("td", "nbf-number", index.toLocaleString("en-US")), make("td", "", make("code", "", text))));
    before = index;
  }
  const heading = (text) => {
    const cell = make("th", "", text);
    cell.scope = "col";
    return cell;
  };
  const head = make("thead", "", make("tr", "", heading("Item"), heading("Value")));
  body.replaceChildren(make("table", "nbf-results", head, make("tbody", "", ...rows)));
}

/** Differs for each page, and for each kernel that a page is connected to anew. */
const instance = newId();

/** What a person has opened and heard; kept while the same card is drawn anew, as when the job ends. */
const memories = new Map();

function newId() {
  return globalThis.crypto?.randomUUID?.() ?? String(Math.random());
}

function memoryOf(uid) {
  if (!memories.has(uid)) {
    memories.set(uid, { folds: new Set(), failures: new Set(), jobs: new Map(), roots: new Set(), focus: null });
  }
  return memories.get(uid);
}

/** Give the focus back to a card that was drawn anew while the keyboard was in it. */
function restoreFocus(memory) {
  const root = [...memory.roots].at(-1);
  if (!root || !memory.focus || performance.now() - memory.focus.when > BACK_MS) return;
  if (document.activeElement && document.activeElement !== document.body) return;
  const name = CSS.escape(memory.focus.name);
  const found = root.querySelector(`[data-focus="${name}"]:not([hidden])`) ?? root.querySelector('[data-focus="name"]');
  found?.focus({ preventScroll: true });
  memory.focus = null;
}

function render({ model, el }) {
  const view = newId();
  const send = (message) => model.send({ ...message, view });
  const isList = model.get("is_list");
  const memory = memoryOf(model.get("uid"));
  const status = make("div", "nbf-status");
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  const parts = new Map();
  const pages = new PrefectPages(send);
  const list = make("div", "nbf-jobs");
  const root = make("div", "nbf-card", list);
  root.setAttribute("role", "group");
  send({ do: "hello", instance });
  const folds = isList ? null : makeFolds();
  root.append(status);
  el.append(root);
  memory.roots.add(root);

  function makeFolds() {
    const failures = new Fold("failures", "Failures", memory, send);
    const timeline = new Fold("timeline", "Timeline", memory, send);
    const results = new Fold("results", "Results", memory, send);
    root.append(make("div", "nbf-folds", failures.root, timeline.root, results.root));
    return { failures, timeline, results, rows: new FailureRows(failures.body, memory, send) };
  }

  function speak(words) {
    unsaid = [...unsaid, ...words];
    if (!unsaid.length || speaking) return;
    speaking = setTimeout(() => {
      speaking = 0;
      // Cleared first: the same words a second time would not be a change.
      status.textContent = "";
      status.textContent = unsaid.join(". ");
      unsaid = [];
    }, SPEAK_MS);
  }

  function draw() {
    frame = 0;
    const jobs = model.get("jobs");
    root.setAttribute("aria-label", isList ? "Jobs" : `Job ${jobs[0]?.title ?? ""}`);
    const keys = new Set(jobs.map((job) => job.key));
    for (const [key, part] of parts) {
      if (!keys.has(key)) {
        part.dispose();
        part.root.remove();
        parts.delete(key);
      }
    }
    const words = [];
    jobs.forEach((job, i) => {
      if (!parts.has(job.key)) parts.set(job.key, new JobPart(send, pages, { small: isList }));
      const part = parts.get(job.key);
      words.push(announcement(memory.jobs.get(job.key), job));
      memory.jobs.set(job.key, job);
      part.draw(job);
      if (list.children[i] !== part.root) list.insertBefore(part.root, list.children[i] ?? null);
    });
    speak(words.filter(Boolean));
    if (isList && !jobs.length) list.replaceChildren(make("div", "nbf-note", "No jobs yet."));
    if (folds && jobs.length) drawFolds(jobs[0]);
  }

  function drawFolds(job) {
    const { counts } = job;
    say(folds.failures.label, counts.failed ? `Failures (${counts.failed.toLocaleString("en-US")})` : "Failures");
    folds.failures.root.hidden = !counts.failed && !folds.failures.root.open;
    const hasRun = counts.completed + counts.failed > 0;
    folds.timeline.root.hidden = !hasRun || counts.total < 2;
    folds.results.root.hidden = !counts.completed;
    drawNew(folds.failures, "failures", (value) => folds.rows.draw(value));
    drawNew(folds.timeline, "timeline", (value) => drawTimeline(folds.timeline.body, value));
    drawNew(folds.results, "results", (value) => drawResults(folds.results.body, value));
  }

  /** Draw a fold that is open, if there is something new: what is drawn can be selected and copied. */
  function drawNew(fold, name, drawValue) {
    const value = model.get(name);
    if (!fold.root.open || drawn[name] === value) return;
    drawn[name] = value;
    drawValue(value);
  }

  const drawn = {};
  let frame = 0;
  let speaking = 0;
  let unsaid = [];
  // A hidden tab draws no frames: one is waiting at most, and draws what is newest then.
  const ask = () => {
    frame ||= requestAnimationFrame(draw);
  };
  const answer = (message) => {
    if (message?.answer === "failure" && folds) folds.rows.answer(message);
    if (message?.answer === "password") pages.answer(message);
    if (message?.answer === "taken") parts.get(message.job)?.taken();
  };
  const keepFocus = (event) => {
    const name = event.target.dataset?.focus;
    if (name) memory.focus = { name, when: performance.now() };
  };
  const loseFocus = (event) => {
    // To another element: left by the person. To nothing: perhaps since the card is being drawn anew.
    if (event.relatedTarget) memory.focus = null;
    else if (memory.focus) memory.focus.when = performance.now();
  };
  root.addEventListener("focusin", keepFocus);
  root.addEventListener("focusout", loseFocus);
  root.addEventListener("toggle", ask, true);
  model.on("change", ask);
  model.on("msg:custom", answer);
  draw();
  speak(memory.unsaid ?? []);
  memory.unsaid = [];
  setTimeout(() => restoreFocus(memory));
  return () => {
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    if (focused) memory.focus = { name: focused, when: performance.now() };
    else if (memory.focus) memory.focus.when = performance.now();
    model.off("change", ask);
    model.off("msg:custom", answer);
    cancelAnimationFrame(frame);
    clearTimeout(speaking);
    // What this drawing had still to say, the next one says.
    if (unsaid.length) memory.unsaid = [...(memory.unsaid ?? []), ...unsaid];
    for (const part of parts.values()) part.dispose();
    pages.dispose();
    memory.roots.delete(root);
    setTimeout(() => restoreFocus(memory));
    send({ do: "bye" });
  };
}

export default { render };
