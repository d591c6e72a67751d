"""What is told of task runs that run elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

from prefect.states import Completed, Running

from nbfutures.prefect.outcomes import Observed


def test_each_state_is_one_attempt_however_often_and_in_whatever_way_it_is_told():
    first, second = Running(), Running()
    seen = Observed()
    seen.note(first, None)
    seen.note(first, None)
    assert seen.attempts == 1
    read = SimpleNamespace(start_time=first.timestamp, run_count=2)
    seen.note(second, read)
    seen.note(second, None)
    seen.note(first, None)
    assert seen.attempts == 2
    seen.note(Completed(), read)
    assert seen.attempts == 2


def test_a_new_attempt_begins_when_it_is_told_first():
    first, second = Running(), Running()
    seen = Observed()
    for state in (first, second, first):
        seen.note(state, None)
    assert seen.started == second.timestamp.timestamp()
