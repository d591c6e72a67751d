"""What a few items tell of a whole job: no clock, no threads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.model.dry_run import DryRunPlan, DryRunReport, SampledItem, Sending, spread
from nbfutures.model.outcome import OutcomeKind

COMPLETED, FAILED, CANCELLED = OutcomeKind.COMPLETED, OutcomeKind.FAILED, OutcomeKind.CANCELLED


def report(seconds=(1.0, 1.0, 1.0), share=1.0, *, kinds=None, sending=Sending(), **plan):  # noqa: B008 - immutable
    kinds = kinds or [COMPLETED] * len(seconds)
    items = [
        SampledItem(position, kind, one, None if share is None else share * one)
        for position, (kind, one) in enumerate(zip(kinds, seconds, strict=True))
    ]
    known = {"total": 100, "at_once": {"threads": 6, "processes": 2}, "processes": 2, "cpus": 2}
    return DryRunReport(tuple(items), DryRunPlan(**{**known, **plan}), sending)


@given(st.integers(0, 10**12), st.integers(2, 50))
def test_a_sample_is_in_order_and_has_both_ends(total, most):
    positions = spread(total, most)
    assert list(positions) == sorted(set(positions))
    assert len(positions) == min(total, most)
    if total:
        assert (positions[0], positions[-1]) == (0, total - 1)


def test_three_of_many_are_the_first_the_middle_and_the_last():
    assert spread(1_001, 3) == (0, 500, 1_000)


@pytest.mark.parametrize(
    ("known", "runner", "words"),
    [
        ({"share": 0.0}, "threads", "mostly wait (0% CPU)"),
        ({"share": 0.49}, "threads", "mostly wait"),
        ({"share": 0.5}, "threads", "are not faster"),
        ({"share": 0.6}, "processes", "compute (60% CPU)"),
        ({"share": 1.0}, "processes", "compute (100% CPU)"),
        ({"share": None}, "threads", "is not known"),
        ({"sending": Sending(obstacle="Cannot send it")}, "threads", "not all can be sent"),
        ({"share": 0.1, "sending": Sending(obstacle="Cannot send it")}, "threads", "mostly wait"),
        ({"cpus": 1}, "threads", "one CPU only"),
        ({"seconds": (0.0005,) * 3, "total": 10**6}, "threads", "too short"),
        ({"start_seconds": {"processes": 60.0}}, "threads", "are not faster"),
        ({"start_seconds": {"processes": 60.0}, "total": 1_000}, "processes", "compute"),
        ({"sending": Sending(seconds=2.0)}, "threads", "are not faster"),
        ({"at_once": {"threads": 1, "processes": 1}, "processes": 1}, "threads", "are not faster"),
        ({"kinds": [FAILED] * 3}, None, "all 3 items that ran failed"),
        ({"kinds": [FAILED], "seconds": (1.0,)}, None, "the item failed"),
        ({"kinds": [CANCELLED] * 3}, None, "no item completed"),
        ({"sending": None}, None, "was cancelled"),
        ({"seconds": (), "total": 0}, None, "no items"),
    ],
)
def test_the_runner_that_fits_is_recommended_with_the_reason(known, runner, words):
    made = report(**known)
    assert made.runner == runner
    assert words in made.text
    assert "\n" not in made.text
    assert bool(made.expected) == (runner is not None)
    assert next(iter(made.expected), None) == runner


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        # 100 items of 1 s; six threads, two processes.
        ({"share": 0.0}, {"threads": 17, "processes": 50, "inline": 100}),
        ({"share": 1.0}, {"processes": 50, "threads": 100, "inline": 100}),
        # One thread computes at a time, and the others wait meanwhile.
        ({"share": 0.4}, {"threads": 40, "processes": 50, "inline": 100}),
        (
            {"share": 1.0, "start_seconds": {"threads": 1, "processes": 5}},
            {"processes": 55, "threads": 101, "inline": 100},
        ),
        # More processes than CPUs.
        (
            {"at_once": {"threads": 6, "processes": 20}, "processes": 20, "cpus": 4},
            {"processes": 25, "threads": 100, "inline": 100},
        ),
        ({"share": 0.0, "rate": 2.0}, {"threads": 49.5, "processes": 50, "inline": 100}),
        ({"share": 0.0, "total": 3}, {"threads": 1, "processes": 2, "inline": 3}),
        ({"share": 0.0, "overhead": 0.5}, {"threads": 50, "processes": 75, "inline": 150}),
        ({"sending": Sending(obstacle="no")}, {"threads": 100, "inline": 100}),
        ({"sending": Sending(seconds=0.2)}, {"processes": 60, "threads": 100, "inline": 100}),
        # The first paid for something once.
        ({"share": 0.0, "seconds": (11.0, 1.0, 1.0)}, {"threads": 27, "processes": 60, "inline": 110}),
        ({"share": 0.0, "seconds": (3.0, 1.0, 2.0)}, {"threads": 34, "processes": 100, "inline": 200}),
        # Those that failed say nothing of how long the others take.
        (
            {"share": 0.0, "seconds": (1.0, 9.0, 1.0), "kinds": [COMPLETED, FAILED, COMPLETED]},
            {"threads": 17, "processes": 50, "inline": 100},
        ),
    ],
)
def test_the_expected_seconds_follow_from_seconds_and_share(known, expected):
    made = report(**known).expected
    assert made == pytest.approx(expected)
    assert list(made) == list(expected)


TIMES = st.floats(1e-6, 1e5)


@given(
    seconds=st.lists(TIMES, min_size=1, max_size=3),
    share=st.floats(0, 1) | st.none(),
    total=st.integers(1, 10**7),
    threads=st.integers(1, 64),
    processes=st.integers(1, 64),
    cpus=st.integers(1, 64),
    sending=st.floats(0, 10),
    start=st.floats(0, 10),
)
def test_no_prediction_contradicts_itself(*, seconds, share, total, threads, processes, cpus, sending, start):
    total = max(total, len(seconds))
    at_once = {"threads": threads, "processes": processes}
    made = report(
        seconds, share, total=total, at_once=at_once, processes=processes, cpus=cpus,
        sending=Sending(seconds=sending), start_seconds={"processes": start},
    )  # fmt: skip
    expected = made.expected
    assert all(math.isfinite(one) and one >= made.seconds for one in expected.values())
    # Threads start at once, and are never slower than one after the other.
    assert expected["threads"] <= expected["inline"] * (1 + 1e-9)
    assert expected["threads"] >= total * made.seconds * (made.cpu_share or 0.0) * (1 - 1e-9)
    assert made.runner in ("threads", "processes")
    if made.runner == "processes":
        assert expected["processes"] < expected["threads"]
    more = report(
        seconds, share, total=total, at_once={"threads": threads + 1, "processes": processes + 1},
        processes=processes + 1, cpus=cpus, sending=Sending(seconds=sending), start_seconds={"processes": start},
    ).expected  # fmt: skip
    assert all(more[runner] <= expected[runner] * (1 + 1e-9) for runner in expected)


def test_the_cpu_share_of_an_item_is_a_share_whatever_the_clocks_say():
    assert SampledItem(0, COMPLETED, 1.0, 0.25).cpu_share == 0.25
    assert SampledItem(0, COMPLETED, 1.0, 1.1).cpu_share == 1.0
    assert SampledItem(0, COMPLETED, 0.0, 0.0).cpu_share is None
    assert SampledItem(0, CANCELLED).cpu_share is None
