from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.model.events import JobPhase
from nbfutures.model.job_snapshot import Counts, JobSnapshot
from nbfutures.views.snapshot import describe


def snapshot(name="parse", phase=JobPhase.RUNNING, workers=4, elapsed=11.0, **more):
    known = {"counts": Counts(), "rate": None, "seconds_left": None, "speed_up": None}
    return JobSnapshot(name=name, phase=phase, workers=workers, elapsed=elapsed, **{**known, **more})


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"phase": JobPhase.STARTING, "counts": Counts(waiting=3)}, "starting"),
        ({"phase": JobPhase.STARTING, "counts": Counts(waiting=3), "note": "waiting for load"}, "starting"),
        ({"phase": JobPhase.RUNNING}, "running"),
        ({"phase": JobPhase.PAUSED}, "paused"),
        ({"phase": JobPhase.CANCELLING}, "cancelling"),
        ({"phase": JobPhase.DONE}, "nothing to do"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3)}, "completed"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3, failed=1_234)}, "completed, 1,234 failed"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3, skipped=2)}, "completed, 2 skipped"),
        ({"phase": JobPhase.DONE, "counts": Counts(failed=2)}, "failed"),
        ({"phase": JobPhase.DONE, "counts": Counts(skipped=2)}, "skipped"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3, cancelled=2)}, "cancelled"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3, failed=1, cancelled=2)}, "cancelled, 1 failed"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3, cancelled=2), "crashed": True}, "crashed"),
        ({"phase": JobPhase.DONE, "counts": Counts(completed=3), "is_flow": True, "is_cancelled": True}, "cancelled"),
        ({"phase": JobPhase.DONE, "counts": Counts(), "is_flow": True, "is_cancelled": True}, "cancelled"),
    ],
)
def test_the_state_is_said_in_words(more, state):
    assert describe(snapshot(**more))["state"] == state


def test_numbers_are_said_as_short_words():
    counts = Counts(completed=1_754, failed=26, running=4, waiting=22)
    words = describe(snapshot(counts=counts, rate=160.2, seconds_left=12.4, speed_up=3.62))["words"]
    assert words == {
        "counts": "1,780 of 1,806 done, 26 failed",
        "left": "13 s left",
        "rate": "160/s",
        "elapsed": "11 s",
        "workers": "4 workers",
        "speed_up": "speed-up 3.6 with 4 workers",
    }


@pytest.mark.parametrize("phase", [JobPhase.STARTING, JobPhase.PAUSED, JobPhase.CANCELLING])
def test_a_job_that_does_not_go_on_makes_no_guess_at_its_end(phase):
    words = describe(snapshot(phase=phase, counts=Counts(completed=5, waiting=5), rate=2.0, seconds_left=2.5))["words"]
    assert (words["left"], words["rate"]) == ("", "")


def test_a_single_item_has_no_rate_and_no_speed_up():
    words = describe(snapshot(phase=JobPhase.DONE, counts=Counts(completed=1), rate=2.0, speed_up=1.0))["words"]
    assert (words["rate"], words["speed_up"]) == ("", "")


counts = st.builds(Counts, *[st.integers(0, 10**6)] * 6)
numbers = st.none() | st.floats()


snapshots = st.builds(
    snapshot,
    name=st.text(st.characters()),
    phase=st.sampled_from(JobPhase),
    counts=counts,
    rate=numbers,
    seconds_left=numbers,
    speed_up=numbers,
    elapsed=st.floats(),
    note=st.text(st.characters()),
    crashed=st.booleans(),
)


@given(snapshots)
def test_a_description_is_json_of_bounded_size(snapshot):
    job = describe(snapshot)
    said = json.dumps(job, allow_nan=False, ensure_ascii=False).encode()
    assert len(said) < 4_000
    assert json.loads(said) == job


@given(counts)
def test_a_hundred_percent_means_all_of_them(counts):
    job = describe(snapshot(counts=counts))
    assert 0 <= job["percent"] <= 100
    assert (job["percent"] == 100) == (counts.total > 0 and counts.settled == counts.total)


def test_numbers_that_are_not_finite_are_not_told():
    job = describe(snapshot(rate=math.inf, seconds_left=math.nan, speed_up=math.inf))
    assert (job["rate"], job["seconds_left"], job["speed_up"]) == (None, None, None)


def test_a_long_name_and_note_are_cut(nasty):
    job = describe(snapshot(name=nasty.HUGE, note=nasty.HUGE))
    assert (len(job["title"]), len(job["note"])) == (80, 300)


def test_what_came_before_the_items_is_told_apart(jobs):
    state = jobs.state(10)
    jobs.clock.time += 12.0
    start = jobs.clock.time
    state.settle([jobs.completed(index, started=start + index, ended=start + index + 1) for index in range(10)][:3])
    jobs.clock.time = start + 3
    state.settle([jobs.completed(index, started=start + 2, ended=start + 3) for index in range(3, 10)])
    words = describe(state.snapshot())["words"]
    assert words["elapsed"] == "15 s, 3 s of it running"
    assert words["rate"] == "3.3/s"


def test_a_rate_over_next_to_no_time_is_left_out(jobs):
    state = jobs.state(3)
    start = jobs.clock.time + 0.2
    jobs.clock.time += 0.201
    state.settle([jobs.completed(index, started=start, ended=start + 0.001) for index in range(3)])
    words = describe(state.snapshot())["words"]
    assert (words["elapsed"], words["rate"]) == ("0.2 s", "")


def test_only_web_pages_are_linked():
    pages = (("Dask dashboard", "http://127.0.0.1:8787/status"), ("bad", "javascript:alert(1)"))
    assert describe(snapshot(links=pages))["links"] == [["Dask dashboard", "http://127.0.0.1:8787/status"]]
