from __future__ import annotations

import pytest

from nbfutures.model.events import JobPhase
from nbfutures.model.job_snapshot import Counts, JobSnapshot
from nbfutures.views.phrases import count_parts, pace_phrase
from nbfutures.views.snapshot import describe


def described(*, is_done=False, rate=None, left=None, speed_up=None, **counts):
    phase = JobPhase.DONE if is_done else JobPhase.RUNNING
    return describe(JobSnapshot("work", phase, Counts(**counts), 2, 2.0, rate, left, speed_up))


@pytest.mark.parametrize(
    ("job", "phrase"),
    [
        (
            {"completed": 1, "waiting": 3, "rate": 5.0, "left": 3.0, "speed_up": 1.9},
            "3 s left · 2 s so far · 5/s · speed-up 1.9 with 2 workers",
        ),
        ({"completed": 1, "waiting": 3}, "2 s so far · 2 workers"),
        ({"running": 1}, "2 s so far"),
        ({"completed": 4, "is_done": True}, "took 2 s · 2 workers"),
        ({"is_done": True}, ""),
    ],
)
def test_the_pace_leaves_out_what_there_is_nothing_to_say_of(job, phrase):
    assert pace_phrase(described(**job)) == phrase


def test_counts_are_in_words_with_thousands_set_apart():
    assert count_parts(described(completed=1200, failed=1, waiting=99)) == [
        ("", "1,201 of 1,300 done"),
        ("completed", "1,200 completed"),
        ("failed", "1 failed"),
        ("waiting", "99 waiting"),
    ]
    assert count_parts(described(completed=1, failed=2, is_done=True)) == [
        ("", "3 items"),
        ("completed", "1 completed"),
        ("failed", "2 failed"),
    ]


def test_where_all_ended_alike_that_is_one_phrase_and_of_a_single_item_the_state_has_said_it():
    assert count_parts(described(failed=3, is_done=True)) == [("failed", "all 3 items failed")]
    assert count_parts(described(completed=1, is_done=True)) == []
    assert count_parts(described()) == [("", "no items yet")]
    assert count_parts(described(is_done=True)) == []
