/**
 * The live card: draws one job, or a list of jobs, and sends clicks to the kernel.
 *
 * Plain ESM for anywidget, no build. All text arrives cut and in words; it is put in as text, never as markup.
 * The pure functions are exported for their tests.
 *
 * @typedef {{total: number, settled: number, completed: number, failed: number, cancelled: number, skipped: number,
 *   running: number, waiting: number}} Counts
 * @typedef {{key: string, title: string, state: string, phase: string, is_done: boolean, crashed: boolean,
 *   counts: Counts, percent: number, elapsed: number, note: string, words: Record<string, string>,
 *   actions: string[]}} Job
 */

/** Kinds of items in the order of the bar, what waits last: that is the empty track. */
export const KINDS = ["completed", "failed", "cancelled", "skipped", "running", "waiting"];

const ACTIONS = { pause: "Pause", resume: "Resume", retry: "Retry", cancel: "Cancel" };
const CALM_SECONDS = 0.5; // nothing flashes for a job that ends sooner
const PATIENCE_MS = 1500; // a click that has had no effect for so long is explained

/** Parts of the bar with their width in percent; each that is there at all is at least `least` wide. */
export function segments(counts, least = 0.4) {
  const kinds = KINDS.filter((kind) => kind !== "waiting" && counts[kind] > 0);
  const widths = kinds.map((kind) => Math.max((100 * counts[kind]) / counts.total, least));
  const sum = widths.reduce((one, other) => one + other, 0);
  const scale = sum > 100 ? 100 / sum : 1;
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

/** The lines of text below the bar; empty ones are left out. */
export function paceWords(job) {
  const { words, counts } = job;
  if (counts.total === 0 && job.is_done) return "";
  const took = job.is_done ? `took ${words.elapsed}` : words.elapsed && `${words.elapsed} so far`;
  const workers = words.speed_up || (counts.total > 1 ? words.workers : "");
  return [words.left, took, words.rate, workers].filter(Boolean).join(" · ");
}

/** The counts as `[kind, text]`, each with a sample of its colour beside it. */
export function countWords(job) {
  const { counts, is_done } = job;
  const number = (n) => n.toLocaleString("en-US");
  if (counts.total === 0) return is_done ? [] : [["", "no items yet"]];
  if (counts.total === 1 && is_done) return [];
  const kinds = KINDS.filter((kind) => counts[kind] > 0);
  if (is_done && kinds.length === 1) return [[kinds[0], `all ${number(counts.total)} items ${kinds[0]}`]];
  const first = is_done ? `${number(counts.total)} items` : `${number(counts.settled)} of ${number(counts.total)} done`;
  return [["", first], ...kinds.map((kind) => [kind, `${number(counts[kind])} ${kind}`])];
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

/** Seconds for the end of an axis: `0.35 s`, `13 s`, `1 min 20 s`, `2 h 5 min`. */
export function secondsWords(seconds) {
  if (seconds < 10) return `${Number(seconds.toPrecision(2))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
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

/** Bar, words and buttons of one job. */
class JobPart {
  constructor(send, { small }) {
    this.send = send;
    this.small = small;
    this.job = null;
    this.title = make("strong", "nbf-title");
    this.state = make("span", "nbf-state");
    this.buttons = make("div", "nbf-buttons");
    this.byAction = {};
    for (const [action, text] of Object.entries(ACTIONS)) {
      const button = make("button", "nbf-button", text);
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
    this.note = make("div", "nbf-note");
    this.waiting = make("div", "nbf-note");
    this.root = make(
      "div",
      small ? "nbf-job nbf-small" : "nbf-job",
      make("div", "nbf-head", make("div", "nbf-name", this.title, this.state), this.buttons),
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

  draw(job) {
    const before = this.job;
    this.job = job;
    say(this.title, job.title);
    say(this.state, job.state);
    this.root.dataset.phase = job.crashed ? "crashed" : job.is_done && job.counts.failed ? "failed" : job.phase;
    this.drawButtons(job, before);
    this.drawBar(job);
    const words = countWords(job);
    if (JSON.stringify(words) !== this.drawn) {
      this.drawn = JSON.stringify(words);
      this.counts.replaceChildren(
        ...words.map(([kind, text]) => {
          if (!kind) return make("span", "nbf-count", text);
          const swatch = make("span", `nbf-swatch nbf-${kind}`);
          swatch.setAttribute("aria-hidden", "true");
          return make("span", "nbf-count", swatch, text);
        }),
      );
    }
    say(this.pace, paceWords(job));
    say(this.note, job.note);
    this.note.hidden = !job.note;
  }

  drawButtons(job, before) {
    const changed = !before || job.actions.join() !== before.actions.join() || job.phase !== before.phase;
    if (!changed) return;
    clearTimeout(this.timer);
    this.waiting.hidden = true;
    const focused = this.buttons.contains(document.activeElement) ? document.activeElement : null;
    for (const [action, button] of Object.entries(this.byAction)) {
      button.hidden = !job.actions.includes(action);
      button.setAttribute("aria-disabled", "false");
      const label = action === "retry" ? retryLabel(job.counts) : ACTIONS[action];
      say(button, label);
      button.setAttribute("aria-label", `${label}: ${job.title}`);
    }
    // The keyboard stays where it was: on the button that took the place of the one that was pressed.
    if (focused?.hidden) Object.values(this.byAction).find((button) => !button.hidden)?.focus();
  }

  drawBar(job) {
    const { counts } = job;
    const isShown = counts.total > 0 && (job.is_done || job.elapsed >= CALM_SECONDS);
    this.track.classList.toggle("nbf-calm", !isShown);
    this.track.hidden = counts.total === 0 && job.is_done;
    this.track.setAttribute("aria-label", job.title);
    this.track.setAttribute("aria-valuemax", String(Math.max(counts.total, 1)));
    this.track.setAttribute("aria-valuenow", String(counts.settled));
    this.track.setAttribute("aria-valuetext", job.words.counts || job.state);
    if (!isShown) return;
    const parts = segments(counts);
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
    this.root = make("details", "nbf-fold", make("summary", "", this.label), this.body);
    this.root.open = ui.folds.has(name);
    this.root.addEventListener("toggle", () => {
      if (this.root.open === ui.folds.has(name)) return;
      if (this.root.open) ui.folds.add(name);
      else ui.folds.delete(name);
      send({ do: this.root.open ? "open" : "close", fold: name });
    });
    if (this.root.open) send({ do: "open", fold: name });
  }
}

function drawFailures(body, failures, ui, send) {
  const rows = failures.groups ?? [];
  const known = new Map([...body.querySelectorAll("details")].map((row) => [row.dataset.key, row]));
  const drawn = rows.map((group) => {
    const row = known.get(group.key) ?? failureRow(group, ui, send);
    say(row.querySelector(".nbf-number"), group.count.toLocaleString("en-US"));
    say(row.querySelector("code"), group.message ? `${group.error}: ${group.message}` : group.error);
    say(row.querySelector(".nbf-where"), group.where);
    return row;
  });
  const more = make("div", "nbf-note", failures.more ? `and ${failures.more.toLocaleString("en-US")} more kinds: job.errors()` : "");
  more.hidden = !failures.more;
  if (!rows.length) drawn.push(make("div", "nbf-note", "No failures."));
  // Rows that stay in place are not touched: moving one would take the keyboard's focus from it.
  [...drawn, more].forEach((row, i) => {
    if (body.children[i] !== row) body.insertBefore(row, body.children[i] ?? null);
  });
  while (body.children.length > drawn.length + 1) body.lastChild.remove();
}

function failureRow(group, ui, send) {
  const detail = make("div", "nbf-detail", "…");
  const row = make(
    "details",
    "nbf-failure",
    make("summary", "", make("span", "nbf-number"), " × ", make("code"), make("span", "nbf-where")),
    detail,
  );
  row.dataset.key = group.key;
  row.dataset.first = String(group.first);
  row.open = ui.failures.has(group.key);
  row.addEventListener("toggle", () => {
    if (row.open) ui.failures.add(group.key);
    else ui.failures.delete(group.key);
    if (row.open) send({ do: "failure", index: group.first });
  });
  return row;
}

function drawDetail(body, detail) {
  for (const row of body.querySelectorAll(`details[data-first="${Number(detail.index)}"]`)) {
    const blocks = detail.blocks.map(([title, text]) => {
      const block = make("pre", "", text);
      block.tabIndex = 0; // it scrolls: also by keyboard
      block.setAttribute("role", "region");
      block.setAttribute("aria-label", title);
      return make("div", "", make("div", "nbf-caption", title), block);
    });
    row.querySelector(".nbf-detail").replaceChildren(make("div", "nbf-headline", detail.headline), ...blocks);
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
  const span = timeline.end - timeline.start;
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
  const axis = make("div", "nbf-axis", make("span", "", "0 s"), make("span", "", secondsWords(span)));
  body.replaceChildren(chart, axis, make("div", "nbf-note", timeline.words));
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

/** What a person has opened; kept while the same card is drawn anew, as when the job ends. */
const opened = new Map();

function render({ model, el }) {
  const view = crypto.randomUUID?.() ?? String(Math.random());
  const send = (message) => model.send({ ...message, view });
  const isList = model.get("is_list");
  const status = make("div", "nbf-status");
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  const parts = new Map();
  const list = make("div", "nbf-jobs");
  const root = make("section", "nbf-card", list);
  root.setAttribute("aria-label", isList ? "Jobs" : "Job");
  const folds = isList ? null : makeFolds();
  root.append(status);
  el.append(root);

  function makeFolds() {
    const key = "card";
    if (!opened.has(key)) opened.set(key, { folds: new Set(), failures: new Set() });
    const ui = opened.get(key);
    const made = {
      failures: new Fold("failures", "Failures", ui, send),
      timeline: new Fold("timeline", "Timeline", ui, send),
      results: new Fold("results", "Results", ui, send),
      ui,
    };
    root.append(make("div", "nbf-folds", made.failures.root, made.timeline.root, made.results.root));
    return made;
  }

  function draw() {
    frame = 0;
    const jobs = model.get("jobs");
    const keys = new Set(jobs.map((job) => job.key));
    for (const [key, part] of parts) {
      if (!keys.has(key)) {
        part.dispose();
        part.root.remove();
        parts.delete(key);
      }
    }
    jobs.forEach((job, i) => {
      if (!parts.has(job.key)) parts.set(job.key, new JobPart(send, { small: isList }));
      const part = parts.get(job.key);
      const said = announcement(part.job, job);
      part.draw(job);
      if (said) say(status, said);
      if (list.children[i] !== part.root) list.insertBefore(part.root, list.children[i] ?? null);
    });
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
    if (folds.failures.root.open) drawFailures(folds.failures.body, model.get("failures"), folds.ui, send);
    if (folds.timeline.root.open && drawnTimeline !== model.get("timeline")) {
      drawnTimeline = model.get("timeline");
      drawTimeline(folds.timeline.body, drawnTimeline);
    }
    if (folds.results.root.open) drawResults(folds.results.body, model.get("results"));
    for (const row of folds.failures.body.querySelectorAll("details[open]")) {
      if (row.dataset.asked) continue;
      row.dataset.asked = "yes";
      send({ do: "failure", index: Number(row.dataset.first) });
    }
  }

  let drawnTimeline = null;
  let frame = 0;
  // A hidden tab draws no frames: one is waiting at most, and draws what is newest then.
  const ask = () => {
    frame ||= requestAnimationFrame(draw);
  };
  const answer = (message) => {
    if (message?.answer === "failure" && folds) drawDetail(folds.failures.body, message);
  };
  model.on("change", ask);
  model.on("msg:custom", answer);
  draw();
  send({ do: "hello" });
  return () => {
    model.off("change", ask);
    model.off("msg:custom", answer);
    cancelAnimationFrame(frame);
    for (const part of parts.values()) part.dispose();
    send({ do: "bye" });
  };
}

export default { render };
