from __future__ import annotations

import html
import re
import time
from html.parser import HTMLParser

import pytest

from nbfutures.model.events import JobPhase
from nbfutures.views.grouping import FailureGroup, group_failures
from nbfutures.views.html import first_and_last, job_html
from nbfutures.views.report import JobReport

TAGS = {"div", "span", "strong", "table", "thead", "tbody", "tr", "th", "td", "br", "code"}
ATTRIBUTES = {
    *("style", "role", "scope", "aria-label", "aria-hidden"),
    *("aria-valuemin", "aria-valuemax", "aria-valuenow", "aria-valuetext"),
}
LIMIT = 12_000


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.words = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def bars(self):
        return [attributes for _, attributes in self.elements if attributes.get("role") == "progressbar"]


def page(state, source=None, **more):
    groups = group_failures(state.outcomes(), source) if source else []
    return Page(job_html(state.snapshot(), groups, results=first_and_last(state) if state.is_done else (), **more))


def running(jobs, total=1_806, completed=1_754, failed=26):
    state = jobs.state(total)
    jobs.clock.time += 11
    state.settle([jobs.completed(index) for index in range(completed)])
    state.settle([jobs.failed(index) for index in range(completed, completed + failed)])
    state.set_running(4)
    return state


def test_the_bar_has_role_name_and_value(jobs):
    [bar] = page(running(jobs)).bars
    assert {name: value for name, value in bar.items() if name != "style"} == {
        "role": "progressbar",
        "aria-label": "parse",
        "aria-valuemin": "0",
        "aria-valuemax": "1806",
        "aria-valuenow": "1780",
        "aria-valuetext": "1,780 of 1,806 done, 26 failed",
    }


def test_what_the_bar_shows_is_said_in_words_too(jobs):
    text = page(running(jobs)).text
    assert text.startswith("parse running")
    for words in ("1,780 of 1,806 done", "1,754 completed", "26 failed", "4 running", "22 waiting", "11 s so far"):
        assert words in text


def test_every_swatch_of_colour_stands_before_words_and_is_hidden_from_readers(jobs):
    made = job_html(running(jobs).snapshot())
    swatches = re.findall(r'<span aria-hidden="true"[^>]*></span>([^<&]*)', made)
    assert [words.strip() for words in swatches] == ["1,754 completed", "26 failed", "4 running", "22 waiting"]


def test_segments_are_as_wide_as_their_share(jobs):
    widths = re.findall(r"width:([\d.]+)%", job_html(running(jobs, 100, 50, 25).snapshot()))
    assert [float(width) for width in widths] == [50.0, 25.0, 4.0]


def test_one_failure_among_many_can_be_seen_in_the_bar(jobs):
    assert job_html(running(jobs, 100_000, 99_990, 1).snapshot()).count("min-width:2px") == 3


def test_a_job_that_has_just_begun_shows_no_bar_but_keeps_its_place(jobs):
    state = jobs.state(10)
    jobs.clock.time += 0.3
    assert page(state).bars == []
    assert "height:8px" in job_html(state.snapshot())
    jobs.clock.time += 0.3
    assert len(page(state).bars) == 1


@pytest.mark.parametrize("phase", [JobPhase.STARTING, JobPhase.PAUSED, JobPhase.CANCELLING])
def test_the_state_is_said_in_words(jobs, phase):
    assert phase.value in page(jobs.state(phase=phase)).text


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ({"completed": 10}, "parse completed all 10 items completed took 2 s · 10/s · speed-up"),
        ({"completed": 8, "failed": 2}, "parse completed, 2 failed 10 items 8 completed 2 failed took 2 s"),
        ({"completed": 1}, "parse completed took 2 s value: None"),
        ({"failed": 1}, "parse failed took 2 s"),
        ({"cancelled": 4}, "parse cancelled all 4 items cancelled took 2 s · 4 workers"),
    ],
)
def test_the_end_is_readable_as_text(jobs, ended, words):
    assert page(jobs.ended(**ended)).text.startswith(words)


def test_a_job_without_items_is_one_line(jobs):
    assert page(jobs.state(0)).text == "parse nothing to do"
    assert page(jobs.state(0)).bars == []


def test_a_job_whose_items_are_not_known_yet_says_so(jobs):
    state = jobs.state(0)
    state.set_open_ended(is_open=True)
    assert "no items yet" in page(state).text


def test_the_note_is_shown(jobs):
    state = jobs.state()
    state.set_note("Prefect is not answering")
    assert "Prefect is not answering" in page(state).text


def test_failures_are_a_table_of_five_groups_at_most(jobs):
    groups = [FailureGroup(9 - n, f"E{n}Error", f"bad {n}", "f.py:1", n, repr(n)) for n in range(7)]
    made = Page(job_html(jobs.ended(failed=40).snapshot(), groups, more=3))
    assert [f"E{n}Error" in made.text for n in range(7)] == [True] * 5 + [False] * 2
    assert "9 E0Error: bad 0 at f.py:1, first at item 0: 0" in made.text
    assert "and 5 other kinds of failure" in made.text
    assert [tag for tag, _ in made.elements].count("th") == 2


def test_results_are_the_first_and_the_last_values(jobs):
    state = jobs.state(1_000)
    state.settle([jobs.completed(index, f"value {index}") for index in range(1, 999)])
    state.settle([jobs.failed(0), jobs.failed(999)])
    assert [one.index for one in first_and_last(state)] == [1, 2, 3, 996, 997, 998]
    text = page(state).text
    assert "Item Value 1 'value 1' 2 'value 2' 3 'value 3' … 996 'value 996'" in text


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5, 6, 7])
def test_no_result_is_shown_twice(jobs, total):
    state = jobs.state(total)
    state.settle([jobs.completed(index, index) for index in range(total)])
    indices = [one.index for one in first_and_last(state)]
    assert indices == sorted(set(indices))
    assert len(indices) == min(total, 6)
    assert ("…" in page(state).text) == (total > 6)


def test_looking_for_results_is_bounded(jobs, monkeypatch):
    state = jobs.state(20_000)
    state.settle([jobs.failed(index) for index in range(20_000)])
    ask, asked = state.outcome, []
    monkeypatch.setattr(state, "outcome", lambda index: (asked.append(index), ask(index))[1])
    assert first_and_last(state) == []
    assert len(asked) <= 2_000


# --- what comes from elsewhere -------------------------------------------------------------------------------------


def nasty_job(jobs, text, is_done):
    """A job with the same text in every place that takes one."""

    class Shown:
        def __repr__(self):
            return text

    state = jobs.state(9, name=text)
    jobs.clock.time += 1
    kinds = [type(text.replace("\x00", "").encode("utf-8", "replace").decode() or "E", (Exception,), {})]
    kinds += [type(f"E{n}", (Exception,), {}) for n in range(4)]
    state.settle([jobs.failed(n, kind(text)) for n, kind in enumerate(kinds)])
    state.settle([jobs.completed(5, Shown()), jobs.completed(6, text), jobs.completed(7, {text: [text]})])
    state.set_note(text)
    if is_done:
        state.crash(RuntimeError(text))
        state.settle([jobs.cancelled(8)])
    return state, jobs.source(lambda _: {"x": Shown(), "y": text})


@pytest.mark.parametrize("is_done", [False, True])
def test_text_from_elsewhere_stays_text(jobs, nasty_text, is_done):
    state, source = nasty_job(jobs, nasty_text, is_done)
    made = JobReport(state, source).bundle()["text/html"]
    for tag, attributes in Page(made).elements:
        assert tag in TAGS
        assert attributes.keys() <= ATTRIBUTES
    assert not set("\x00\x1b\x07\x9b\u202e\u2066\ud800") & set(made)
    made.encode()


def test_groups_that_nobody_cleaned_are_cleaned(jobs, nasty_text):
    group = FailureGroup(1, nasty_text, nasty_text, nasty_text, 0, nasty_text)
    made = job_html(jobs.ended(failed=1).snapshot(), [group])
    assert not set("\x00\x1b\x07\x9b\u202e\u2066\ud800") & set(made)
    assert {tag for tag, _ in Page(made).elements} <= TAGS


def test_an_error_message_full_of_html_is_shown_as_it_was_written(jobs, nasty):
    state = jobs.state(1)
    state.settle([jobs.failed(0, ValueError(nasty.IMG))])
    assert f"ValueError: {nasty.IMG}" in page(state, jobs.source()).text


@pytest.mark.parametrize(
    "character", ["<", "&", '"', "'", "a", "日", "👩", "\x00", "\u202e", "\U000e0041", "\ud800", " a"]
)
@pytest.mark.parametrize("is_done", [False, True])
def test_the_size_is_bounded_whatever_the_text(jobs, character, is_done):
    state, source = nasty_job(jobs, character * 10_000, is_done)
    # The folding of messages must not make one group of them.
    made = JobReport(state, source).bundle()
    assert len(made["text/html"].encode()) < LIMIT
    assert Page(made["text/html"]).text.count("first at item") == 5


@pytest.mark.parametrize("character", ["<", "&", '"', "'", "日", "👩", "\u202e"])
def test_the_size_is_bounded_with_every_text_at_its_limit(jobs, character):
    text = character * 10_000
    state = jobs.state(20_000, name=text)
    state.crash(RuntimeError(text))
    state.settle([jobs.completed(index, text) for index in (1, 3, 5, 19_990, 19_993, 19_995)])
    state.settle([jobs.failed(6), jobs.skipped(7), *(jobs.cancelled(index) for index in range(8, 10_000))])
    state.set_running(4)
    groups = [FailureGroup(123_456, text, text, text, 123_456, text)] * 9
    results = [state.outcome(index) for index in (1, 3, 5, 19_990, 19_993, 19_995)]
    assert len(job_html(state.snapshot(), groups, 99, results).encode()) < LIMIT


def test_a_message_of_ten_megabytes_costs_little(jobs, nasty):
    state, source = nasty_job(jobs, nasty.HUGE, True)
    report = JobReport(state, source)
    report.bundle()
    start = time.thread_time()
    report.bundle()
    # Its own repr costs what it costs, once for each value; nothing else may.
    assert time.thread_time() - start < 1.0


def test_a_repr_and_an_error_that_raise_do_not_break_it(jobs, nasty):
    state = jobs.state(2)
    state.settle([jobs.completed(0, nasty.Repr()), jobs.failed(1, nasty.Error())])
    text = page(state, jobs.source(lambda _: {"x": nasty.Repr()})).text
    assert "Error: (the message cannot be shown)" in text


def test_it_needs_no_script_no_style_sheet_and_nothing_from_the_network(jobs):
    state, source = nasty_job(jobs, "text", True)
    made = html.unescape(JobReport(state, source).bundle()["text/html"])
    assert not re.search(r"<script|<style|<link|<iframe|https?:|url\(|javascript:", made)
    # Whatever JupyterLab's variables are called, there is something where they are not known.
    assert re.findall(r"var\(--[\w-]+\)", made) == []


def test_without_styles_the_words_remain(jobs):
    made = job_html(running(jobs).snapshot())
    bare = Page(re.sub(r' style="[^"]*"', "", made))
    assert "1,780 of 1,806 done 1,754 completed 26 failed 4 running 22 waiting" in bare.text
