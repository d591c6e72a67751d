"""Records of the model."""

from __future__ import annotations

import gc
import itertools

import pytest

from nbfutures.model.clock import SystemClock
from nbfutures.model.item import Item
from nbfutures.model.outcome import ATOMS, AtomicOutcome, Outcome, OutcomeKind


class Picky:
    def __eq__(self, other):
        raise ValueError("the truth of this is ambiguous")

    __hash__ = None


def test_outcomes_are_equal_when_they_are_the_same_without_comparing_values():
    one, other = (Outcome(0, OutcomeKind.COMPLETED, Picky()) for _ in range(2))
    assert one == one  # noqa: PLR0124 - the claim
    assert one != other
    assert len({one, other}) == 2


def test_an_outcome_that_never_ran_has_no_seconds():
    assert Outcome(0, OutcomeKind.CANCELLED, ended=5.0).seconds is None
    assert Outcome(0, OutcomeKind.COMPLETED, started=5.0, ended=7.5).seconds == 2.5


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(OutcomeKind, 2)))
def test_of_two_kinds_exactly_one_supersedes_the_other(one, other):
    first, second = Outcome(0, one, ended=1.0), Outcome(0, other, ended=1.0)
    assert first.supersedes(second) != second.supersedes(first)


def test_of_two_outcomes_of_a_kind_the_earlier_supersedes():
    early, late = (Outcome(0, OutcomeKind.FAILED, ended=ended) for ended in (1.0, 2.0))
    assert early.supersedes(late)
    assert not late.supersedes(early)
    assert not early.supersedes(early)


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        Item(0, {}).index = 1
    with pytest.raises(AttributeError):
        Outcome(0, OutcomeKind.FAILED).index = 1


def test_the_machines_clock_never_goes_back():
    clock = SystemClock()
    times = [clock.now() for _ in range(1_000)]
    assert times == sorted(times)


def test_outcomes_of_simple_values_give_the_garbage_collector_no_work():
    outcomes = [AtomicOutcome(index, OutcomeKind.COMPLETED, str(index)) for index in range(3)]
    assert not any(gc.is_tracked(outcome) for outcome in outcomes)
    assert not ATOMS & {list, dict, tuple, object}
    changed = outcomes[0].replace(error=ValueError())
    assert (changed.value, gc.is_tracked(changed)) == ("0", True)
