// The pure functions of card.js. Run by test_card_functions.py, or: node --test tests/browser/card.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

// As the browser gets it: text that is a module, whatever Node takes the file's name for.
const source = readFileSync(new URL("../../src/nbfutures/views/card/card.js", import.meta.url));
const card = await import(`data:text/javascript;base64,${source.toString("base64")}`);
const { segments, announcement, retryLabel, lanePaths } = card;

const NONE = { total: 0, settled: 0, completed: 0, failed: 0, cancelled: 0, skipped: 0, running: 0, waiting: 0 };

function counts(some) {
  const made = { ...NONE, ...some };
  made.settled = made.completed + made.failed + made.cancelled + made.skipped;
  made.total = made.settled + made.running + made.waiting;
  return made;
}

function job(some = {}) {
  const made = counts(some.counts ?? { completed: 1, waiting: 3 });
  return {
    key: "a", title: "work", state: "running", phase: "running", is_done: false, crashed: false, note: "", elapsed: 2, actions: [],
    percent: made.total ? Math.floor((100 * made.settled) / made.total) : 0,
    ...some,
    counts: made,
    words: { counts: "1 of 4 done", ...some.words },
  };
}

test("the parts of the bar are as wide as their share, and what waits is the empty track", () => {
  assert.deepEqual(segments(counts({ completed: 1, failed: 1, running: 1, waiting: 1 })), [
    { kind: "completed", width: 25 },
    { kind: "failed", width: 25 },
    { kind: "running", width: 25 },
  ]);
});

test("one failure among a million is seen, and the bar is still no wider than its track", () => {
  const parts = segments(counts({ completed: 999_998, failed: 1, skipped: 1 }));
  assert.ok(parts.every(({ width }) => width > 0.35));
  assert.ok(Math.abs(parts.reduce((sum, { width }) => sum + width, 0) - 100) < 1e-9);
});

test("a bar without items has no parts", () => {
  assert.deepEqual(segments(counts({})), []);
});

test("the button says what it will run again", () => {
  assert.equal(retryLabel(counts({ completed: 1, failed: 1 })), "Retry failed");
  assert.equal(retryLabel(counts({ completed: 1, failed: 1, cancelled: 1 })), "Retry the rest");
  assert.equal(retryLabel(counts({ completed: 1, failed: 1, skipped: 1 })), "Retry the rest");
  assert.equal(retryLabel(counts({ completed: 1, cancelled: 1 })), "Run the rest");
});

test("nothing is said of what is drawn for the first time, or of another job", () => {
  assert.equal(announcement(null, job()), "");
  assert.equal(announcement(job({ key: "b" }), job({ is_done: true })), "");
});

test("each quarter is said once", () => {
  const at = (completed) => job({ counts: { completed, waiting: 100 - completed } });
  assert.equal(announcement(at(23), at(24)), "");
  assert.equal(announcement(at(24), at(26)), "work: 25 percent");
  assert.equal(announcement(at(26), at(49)), "");
  assert.equal(announcement(at(26), at(80)), "work: 75 percent");
});

test("the first failure is said, and no other", () => {
  const at = (failed) => job({ counts: { failed, waiting: 100 - failed }, words: { counts: `${failed} failed` } });
  assert.equal(announcement(at(0), at(2)), "work: first failure. 2 failed");
  assert.equal(announcement(at(2), at(3)), "");
});

test("the end is said once, and that a job runs again", () => {
  const done = job({ is_done: true, state: "completed", counts: { completed: 4 }, words: { counts: "4 of 4 done" } });
  assert.equal(announcement(job(), done), "work: completed. 4 of 4 done");
  assert.equal(announcement(done, done), "");
  assert.equal(announcement(done, job()), "work runs again");
});

test("a pause is said", () => {
  assert.equal(announcement(job(), job({ phase: "paused", state: "paused" })), "work: paused");
});

/** The rectangles of a path as left, width, top and bottom. */
function rectangles(path) {
  return [...path.matchAll(/M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)/g)].map(([, x, y, w, h]) => [+x, +w, +y, +y + +h]);
}

test("bars of a timeline lie where their times are, in their lane, those with a failure apart and taller", () => {
  const lanes = [
    { name: "one", rows: 1, bars: [[0, 2, 1, 0, 0, 1]] },
    { name: "two", rows: 1, bars: [[2, 10, 4, 1, 1, 1]] },
  ];
  const { good, bad } = lanePaths({ start: 10, end: 20, lanes }, 100);
  const [[x, width, top, bottom], ...others] = rectangles(good);
  assert.deepEqual([x, width, others], [0, 20, []]);
  assert.ok(top >= 0 && bottom <= 1);
  const [[badX, badWidth, badTop, badBottom]] = rectangles(bad);
  assert.deepEqual([badX, badWidth], [20, 80]);
  assert.ok(badTop >= 1 && badBottom <= 2);
  assert.ok(badBottom - badTop > bottom - top);
});

test("a bar of no time can still be seen, also in a timeline of no time", () => {
  const one = { start: 0, end: 0, lanes: [{ name: "one", rows: 1, bars: [[0, 0, 1, 0, 0, 1]] }] };
  const [[, width]] = rectangles(lanePaths(one, 1000).good);
  assert.ok(width >= 0.5);
});
