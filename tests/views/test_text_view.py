from __future__ import annotations

import pytest

from nbfutures.model.events import JobPhase
from nbfutures.views.grouping import FailureGroup, group_failures
from nbfutures.views.text import job_text


def group(count=1, message="bad", first=0, example="'a'", where="parse.py:12"):
    return FailureGroup(count, "ValueError", message, where, first, example)


def test_a_running_job_is_one_line_that_reads_like_a_sentence(jobs):
    state = jobs.state(1_806)
    jobs.clock.time += 11
    state.settle([jobs.completed(index) for index in range(1_754)])
    state.settle([jobs.failed(index) for index in range(1_754, 1_780)])
    state.set_running(4)
    assert job_text(state.snapshot()) == (
        "parse: 1,780 of 1,806 done, 26 failed, less than 1 s left (4 workers, 162/s)"
    )


def test_a_job_that_starts_says_what_it_waits_for(jobs):
    state = jobs.state(20, phase=JobPhase.STARTING)
    assert job_text(state.snapshot()) == "parse: starting, 20 items (4 workers)"
    state.set_note("waiting for what it depends on")
    assert job_text(state.snapshot()) == "parse: starting, 20 items (4 workers)\n  waiting for what it depends on"


@pytest.mark.parametrize(("phase", "word"), [(JobPhase.PAUSED, "paused"), (JobPhase.CANCELLING, "cancelling")])
def test_a_job_that_does_not_go_on_says_so_first(jobs, phase, word):
    state = jobs.state(20)
    jobs.clock.time += 1
    state.settle([jobs.completed(0)])
    state.set_phase(phase)
    assert job_text(state.snapshot()) == f"parse: {word}, 1 of 20 done (4 workers)"


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        ({}, "parse: nothing to do"),
        ({"completed": 1}, "parse: completed in 2 s"),
        ({"failed": 1}, "parse: failed in 2 s"),
        ({"completed": 10}, "parse: completed, 10 items, in 2 s (4 workers, 10/s)"),
        ({"completed": 8, "failed": 2}, "parse: completed, 2 of 10 failed, in 2 s (4 workers, 10/s)"),
        (
            {"completed": 7, "failed": 2, "skipped": 1},
            "parse: completed, 2 of 10 failed, 1 skipped, in 2 s (4 workers, 9/s)",
        ),
        ({"completed": 8, "skipped": 2}, "parse: completed, 2 of 10 skipped, in 2 s (4 workers, 8/s)"),
        ({"failed": 10}, "parse: failed, 10 items, in 2 s (4 workers, 10/s)"),
        (
            {"completed": 7, "failed": 1, "cancelled": 2},
            "parse: cancelled, 7 of 10 completed, 1 failed, 2 cancelled, in 2 s (4 workers, 8/s)",
        ),
        ({"cancelled": 10}, "parse: cancelled, 10 items, in 2 s (4 workers)"),
    ],
)
def test_the_end_is_said_in_one_line(jobs, ended, text):
    assert job_text(jobs.ended(**ended).snapshot()) == text


def test_a_crash_is_said_with_its_reason(jobs):
    state = jobs.state(3)
    jobs.clock.time += 2
    state.settle([jobs.completed(0)])
    state.crash(RuntimeError("the run was deleted"))
    state.settle([jobs.cancelled(1), jobs.cancelled(2)])
    assert job_text(state.snapshot()) == (
        "parse: crashed, 1 of 3 completed, 2 cancelled, in 2 s (4 workers, 1/s)\n  RuntimeError: the run was deleted"
    )


def test_failures_follow_once_the_job_is_done(jobs):
    state = jobs.state(3)
    groups = [group(1_200, first=7), group(1, message="", where="", example="")]
    jobs.clock.time += 2
    state.settle([jobs.completed(0), jobs.failed(1)])
    assert "\n" not in job_text(state.snapshot(), groups)
    state.settle([jobs.failed(2)])
    assert job_text(state.snapshot(), groups).splitlines()[1:] == [
        "  1,200 times ValueError: bad (parse.py:12), first at item 7: 'a'",
        "  1 time ValueError, first at item 0",
    ]


def test_at_most_five_groups_are_listed_and_the_others_counted(jobs):
    snapshot = jobs.ended(failed=10).snapshot()
    assert job_text(snapshot, [group()] * 5).count("ValueError") == 5
    assert job_text(snapshot, [group()] * 5).count("\n") == 5
    assert job_text(snapshot, [group()] * 7, 2).splitlines()[-1] == "  and 4 other kinds of failure"
    assert job_text(snapshot, [group()] * 5, 1).splitlines()[-1] == "  and 1 other kind of failure"


def test_text_from_elsewhere_is_cut_and_cleaned(jobs, nasty_text):
    state = jobs.state(2, name=nasty_text)
    state.settle([jobs.failed(0, ValueError(nasty_text)), jobs.failed(1, type("E", (ValueError,), {})(nasty_text))])
    groups = group_failures(state.outcomes(), jobs.source(lambda _: {"x": nasty_text}))
    text = job_text(state.snapshot(), groups)
    assert len(text) < 2_000
    assert text.count("\n") == 2
    assert not set("\x00\x1b\x07\x9b\u202e\u2066\ud800") & set(text)
