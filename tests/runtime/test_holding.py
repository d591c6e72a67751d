"""Which slots a job takes, keeps and gives back, by a clock that is moved by hand."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbfutures.prefect.limits.slot_leases import (
    GAP_SECONDS,
    LEASE_SECONDS,
    LINGER_SECONDS,
    RENEW_SECONDS,
    SHORT_TURN_SECONDS,
    TURN_SECONDS,
    Acquire,
    End,
    Holding,
    Lease,
    Lose,
    Release,
    Renew,
    Turn,
    Wait,
)


def lease(slots=1, now=0.0):
    return Lease(uuid.uuid4(), slots, since=now, renewed=now, next_renewal=now + RENEW_SECONDS)


@pytest.fixture
def holding():
    return Holding(lambda: 0.0)


def test_nothing_starts_without_a_slot(holding):
    assert holding.take(3) == 0
    holding.want(3)
    assert holding.step(0.0) == Acquire(3)
    holding.add(lease(2))
    assert holding.take(3) == 2
    assert holding.take(1) == 0
    assert holding.free == 0


def test_a_slot_goes_from_item_to_item_without_a_word_to_prefect(holding):
    holding.add(lease())
    for tenth in range(50):
        assert holding.take(1) == 1
        holding.want(0)
        assert isinstance(holding.step(tenth / 10), Wait)
        holding.give()
        assert isinstance(holding.step(tenth / 10), Wait)


def test_a_slot_that_no_item_uses_is_given_back_after_a_moment(holding):
    held = lease()
    holding.add(held)
    wait = holding.step(1.0)
    assert isinstance(wait, Wait)
    assert wait.seconds == pytest.approx(LINGER_SECONDS)
    step = holding.step(1.0 + LINGER_SECONDS)
    assert step == Release(held)
    assert holding.held == 0


def test_as_items_end_for_good_their_slots_go_one_by_one(holding):
    for _ in range(3):
        holding.add(lease())
    holding.take(3)
    holding.give()
    holding.step(0.0)
    assert isinstance(holding.step(LINGER_SECONDS), Release)
    assert (holding.held, holding.used) == (2, 2)
    assert isinstance(holding.step(LINGER_SECONDS), Wait)


def test_a_lease_of_several_slots_is_not_given_back_before_all_of_them_are_free(holding):
    holding.add(lease(3))
    holding.take(3)
    holding.give(2)
    holding.step(0.0)
    assert isinstance(holding.step(5.0), Wait)
    holding.give()
    holding.step(5.0)
    assert isinstance(holding.step(6.0), Release)


def test_while_items_wait_an_unused_slot_is_kept_for_them(holding):
    holding.add(lease())
    holding.want(1)
    assert isinstance(holding.step(5.0), Wait)
    assert holding.take(1) == 1


def test_a_lease_is_renewed_long_before_it_ends(holding):
    held = lease()
    holding.add(held)
    holding.take(1)
    holding.stay(held, RENEW_SECONDS)
    assert holding.step(RENEW_SECONDS) == Renew(held)
    holding.renewed(held, RENEW_SECONDS)
    step = holding.step(RENEW_SECONDS)
    assert isinstance(step, Wait)
    assert step.seconds <= RENEW_SECONDS < LEASE_SECONDS / 2


def test_what_could_not_be_renewed_in_time_is_lost_and_nothing_starts_before_there_are_slots_for_all(holding):
    held = lease()
    holding.add(held)
    holding.take(1)
    holding.want(1)
    assert holding.step(LEASE_SECONDS) == Lose(held)
    assert holding.take(1) == 0
    # One for the item that goes on, and one for the next.
    assert holding.step(LEASE_SECONDS) == Acquire(2)
    holding.add(lease())
    assert holding.take(1) == 0
    holding.add(lease())
    assert holding.take(1) == 1


def test_nothing_starts_on_a_lease_that_a_request_that_hangs_kept_from_being_renewed():
    now = 0.0
    holding = Holding(lambda: now)
    holding.add(lease(2))
    assert holding.take(1) == 1
    now = LEASE_SECONDS - 1
    assert (holding.free, holding.take(1)) == (0, 0)


def test_after_its_turn_a_slot_is_given_back_at_the_end_of_its_item_and_others_go_first(holding):
    held = lease()
    holding.add(held)
    holding.take(1)
    holding.want(1)
    holding.defer(TURN_SECONDS)
    assert holding.step(TURN_SECONDS - 0.1) == Wait(pytest.approx(0.1))
    holding.defer(TURN_SECONDS + 100)
    assert holding.step(TURN_SECONDS) == Turn(held)
    holding.leave(held)
    assert isinstance(holding.step(TURN_SECONDS), Wait)
    holding.give()
    assert holding.take(1) == 0
    assert holding.step(TURN_SECONDS + 1) == Release(held, is_turn=True)
    assert holding.step(TURN_SECONDS + 1) == Wait(pytest.approx(GAP_SECONDS))
    assert holding.step(TURN_SECONDS + 1 + GAP_SECONDS) == Acquire(1)


def test_a_turn_is_short_where_another_job_of_the_kernel_has_no_slot(holding):
    held = lease()
    holding.add(held)
    holding.take(1)
    assert isinstance(holding.step(SHORT_TURN_SECONDS), Wait)
    assert holding.step(SHORT_TURN_SECONDS, others_starve=True) == Turn(held)


def test_slots_have_their_turns_one_after_the_other(holding):
    for _ in range(4):
        holding.add(lease())
    holding.take(4)
    first = holding.step(TURN_SECONDS)
    holding.stay(first.lease, TURN_SECONDS)
    assert isinstance(holding.step(TURN_SECONDS + 0.1), Wait)
    assert isinstance(holding.step(TURN_SECONDS + TURN_SECONDS / 4), Turn)


def test_at_the_end_all_is_given_back_but_for_what_still_runs(holding):
    holding.add(lease())
    holding.add(lease())
    holding.take(2)
    holding.give()
    holding.close()
    assert isinstance(holding.step(0.0), Release)
    assert isinstance(holding.step(0.0), Wait)
    holding.give()
    assert isinstance(holding.step(0.0), Release)
    assert isinstance(holding.step(0.0), End)


def test_who_is_told_between_asking_and_waiting_does_not_wait(holding):
    assert isinstance(holding.step(0.0), Wait)
    holding.want(1)
    holding.wait(120)
    assert holding.step(0.0) == Acquire(1)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("give"), st.just(1)),
        st.tuples(st.just("want"), st.integers(0, 5)),
        st.tuples(st.just("step"), st.floats(0.0, 12.0)),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(MOVES, st.integers(1, 5))
def test_never_are_more_slots_used_than_held_and_never_more_held_than_there_are(moves, slots):  # noqa: C901
    now, running = 0.0, 0
    holding = Holding(lambda: now)
    for what, number in moves:
        if what == "take":
            running += holding.take(int(number))
        elif what == "give" and running:
            holding.give()
            running -= 1
        elif what == "want":
            holding.want(int(number))
        elif what == "step":
            now += number
            match holding.step(now):
                case Acquire(need) if slots > holding.held:
                    holding.add(lease(min(need, slots - holding.held), now))
                case Acquire():
                    holding.defer(now + 1)
                case Renew(held):
                    holding.renewed(held, now)
                case Turn(held):
                    holding.leave(held)
                case Lose():
                    # Time has jumped over a whole lease, which the steps in between would have renewed.
                    return
        assert running == holding.used <= holding.held <= slots
