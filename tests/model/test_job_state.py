"""The state of a job: whatever is told, in whatever order, the numbers hold."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbfutures.model.events import JobPhase, PhaseChanged, Reopened, Settled
from nbfutures.model.job_snapshot import Counts
from nbfutures.model.job_state import JobState
from nbfutures.model.outcome import Outcome, OutcomeKind

KINDS = {
    OutcomeKind.COMPLETED: "completed",
    OutcomeKind.FAILED: "failed",
    OutcomeKind.CANCELLED: "cancelled",
    OutcomeKind.SKIPPED: "skipped",
}
TOTAL = 5


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self, now=1_000.0):
        self.time = now

    def now(self):
        return self.time


def done(index, started=1_000.0, seconds=1.0, kind=OutcomeKind.COMPLETED, **more):
    return Outcome(index, kind, started=started, ended=started + seconds, **more)


def unrun(index, kind=OutcomeKind.CANCELLED):
    return Outcome(index, kind)


def state_of(total=TOTAL, workers=2, clock=None):
    state = JobState("job", total, workers=workers, clock=clock or HandClock())
    state.set_phase(JobPhase.RUNNING)
    return state


def facts(state):
    """What a person could tell two states apart by."""
    snapshot = state.snapshot()
    ends = tuple(None if one is None else (one.kind, one.ended) for one in state.outcomes())
    speed_up = None if snapshot.speed_up is None else round(snapshot.speed_up, 6)
    return snapshot.counts, snapshot.phase, speed_up, ends


# Whole seconds: sums of them do not depend on the order.
outcome_lists = st.lists(
    st.builds(
        lambda index, kind, started, seconds: done(index, 1_000.0 + started, float(seconds), kind),
        st.integers(0, TOTAL - 1),
        st.sampled_from(list(OutcomeKind)),
        st.integers(0, 9),
        st.integers(1, 9),
    ),
    max_size=15,
    # Two outcomes of an item that ended in the same way at the same moment are as good as each other.
    unique_by=lambda outcome: (outcome.index, outcome.kind, outcome.ended),
)


# --- telling -------------------------------------------------------------------------------------------------------


@given(outcome_lists)
def test_telling_the_same_outcome_twice_changes_nothing(outcomes):
    state = state_of()
    state.settle(outcomes)
    before = facts(state)
    assert state.settle(outcomes) == 0
    assert state.settle(reversed(outcomes)) == 0
    assert facts(state) == before


@given(outcome_lists, st.randoms(use_true_random=False))
def test_the_order_of_telling_does_not_matter(outcomes, random):
    one, other = state_of(), state_of()
    one.settle(outcomes)
    shuffled = list(outcomes)
    random.shuffle(shuffled)
    for outcome in shuffled:
        other.settle([outcome])
    assert facts(one) == facts(other)


def test_a_superseded_outcome_counts_in_the_time_of_the_run_whichever_was_told_first():
    late, early = done(0, 1_000.0, 10.0, OutcomeKind.FAILED), done(0, 1_004.0, 2.0)
    for order in ([late, early], [early, late]):
        state = state_of(2)
        for outcome in order:
            state.settle([outcome])
        assert state.snapshot().speed_up == pytest.approx(0.2)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(OutcomeKind, 2)))
def test_of_two_outcomes_of_an_item_the_better_one_stays(first, second):
    rank = [OutcomeKind.CANCELLED, OutcomeKind.SKIPPED, OutcomeKind.FAILED, OutcomeKind.COMPLETED]
    state = state_of(2)
    state.settle([done(0, kind=first), done(0, kind=second)])
    assert state.outcome(0).kind is max(first, second, key=rank.index)
    assert state.counts.settled == 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("settle"), outcome_lists),
        st.tuples(st.just("reopen"), st.sets(st.integers(0, TOTAL - 1))),
        st.tuples(st.just("grow"), st.integers(0, 4)),
        st.tuples(st.just("running"), st.integers(-1, 30)),
        st.tuples(st.just("open"), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(steps)
def test_counts_always_add_up_to_the_number_of_items(steps):
    state = state_of()
    total = TOTAL
    for what, value in steps:
        if what == "settle":
            state.settle([one.replace(round=state.round_of(one.index)) for one in value])
        elif what == "reopen":
            state.reopen(value)
        elif what == "grow":
            state.grow(value)
            total += value
        elif what == "running":
            state.set_running(value)
        else:
            state.set_open_ended(is_open=value)
        counts = state.counts
        kinds = [one.kind for one in state.outcomes() if one is not None]
        assert counts.total == total == len(state)
        assert all(getattr(counts, name) == kinds.count(kind) for kind, name in KINDS.items())
        assert min(counts.running, counts.waiting) >= 0
        assert counts == state.snapshot().counts
        assert not state.is_done or counts.settled == total


def test_an_item_that_runs_is_not_counted_as_waiting_too():
    state = state_of(10)
    state.settle([done(0)])
    state.set_running(4)
    assert state.counts == Counts(completed=1, running=4, waiting=5)


def test_the_job_is_done_when_the_last_item_settles_and_not_before():
    state = state_of(3)
    state.settle([done(0), unrun(1)])
    assert not state.is_done
    state.settle([done(2, kind=OutcomeKind.FAILED)])
    assert state.is_done


def test_a_job_without_items_is_done_at_once():
    assert JobState("job", 0).is_done


def test_an_open_ended_job_is_not_done_before_it_is_closed():
    state = JobState("job", 0)
    state.set_open_ended(is_open=True)
    assert not state.is_done
    assert state.grow(2) == range(2)
    state.settle([done(0), done(1)])
    assert not state.is_done
    state.set_open_ended(is_open=False)
    assert state.is_done


def test_a_job_that_grows_after_its_end_goes_on():
    state = state_of(1)
    state.settle([done(0)])
    assert state.grow(1) == range(1, 2)
    assert state.phase is JobPhase.RUNNING


def test_an_outcome_of_an_earlier_round_is_not_taken_for_the_retry():
    state = state_of(1)
    late = done(0)
    state.settle([done(0, kind=OutcomeKind.FAILED)])
    assert state.reopen([0]) == (0,)
    assert state.settle([late]) == 0
    assert state.outcome(0) is None
    assert state.settle([late.replace(round=1)]) == 1


def test_only_items_that_ended_are_reopened():
    state = state_of(3)
    state.settle([done(1)])
    assert state.reopen([0, 1, 2]) == (1,)
    assert (state.round_of(0), state.round_of(1)) == (0, 1)


def test_done_follows_from_the_outcomes_alone():
    state = state_of(1)
    state.set_phase(JobPhase.DONE)
    assert not state.is_done
    state.settle([done(0)])
    state.set_phase(JobPhase.RUNNING)
    assert state.is_done


# --- listening -----------------------------------------------------------------------------------------------------


def test_listeners_hear_each_change_once_and_the_end_last():
    state = JobState("job", 2)
    heard = []
    state.subscribe(heard.append)
    first, second = done(0), done(1, kind=OutcomeKind.FAILED)
    state.set_phase(JobPhase.RUNNING)
    state.set_phase(JobPhase.RUNNING)
    state.settle([first, first])
    state.settle([first])
    state.settle([second])
    state.reopen([1])
    assert heard == [
        PhaseChanged(JobPhase.RUNNING),
        Settled((first,)),
        Settled((second,)),
        PhaseChanged(JobPhase.DONE),
        Reopened((1,)),
    ]


def test_a_listener_hears_nothing_after_it_unsubscribed():
    state = state_of(2)
    heard = []
    unsubscribe = state.subscribe(heard.append)
    unsubscribe()
    state.settle([done(0)])
    assert heard == []


def test_a_listener_may_ask_the_state():
    state = state_of(1)
    seen = []
    state.subscribe(lambda _: seen.append(state.snapshot().counts.settled))
    worker = threading.Thread(target=state.settle, args=([done(0)],), daemon=True)
    worker.start()
    worker.join(120)
    assert seen == [1, 1]


def test_settled_since_gives_each_outcome_once_in_the_order_of_telling():
    state = state_of(3)
    outcomes = [done(2), done(0), done(1)]
    state.settle(outcomes[:2])
    first, position = state.settled_since(0)
    state.settle(outcomes[2:])
    second, position = state.settled_since(position)
    assert first + second == outcomes
    assert state.settled_since(position) == ([], position)


def test_many_threads_that_tell_the_same_outcomes_count_each_item_once():
    state = state_of(500)
    outcomes = [done(index) for index in range(500)]
    start = threading.Barrier(4)
    told = []

    def tell():
        start.wait(120)
        told.append(sum(state.settle([outcome]) for outcome in outcomes))

    threads = [threading.Thread(target=tell, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sum(told) == 500
    assert state.counts == Counts(completed=500)


# --- time ----------------------------------------------------------------------------------------------------------


def test_there_is_no_rate_before_the_first_item_ended():
    clock = HandClock()
    state = state_of(clock=clock)
    clock.time += 3
    snapshot = state.snapshot()
    assert (snapshot.rate, snapshot.seconds_left, snapshot.speed_up) == (None, None, None)


def test_rate_and_time_left_follow_the_pace_of_the_last_ten_seconds():
    clock = HandClock()
    state = state_of(1_000, clock=clock)
    for index in range(100):
        clock.time += 1
        state.settle([done(index)])
    assert state.snapshot().rate == pytest.approx(1.0)
    for index in range(100, 300):
        clock.time += 0.1
        state.settle([done(index)])
    snapshot = state.snapshot()
    assert snapshot.rate == pytest.approx(10.0, rel=0.05)
    assert snapshot.seconds_left == pytest.approx(70.0, rel=0.05)


def test_an_uneven_pace_is_averaged_over_the_window():
    clock = HandClock()
    state = state_of(1_000, clock=clock)
    told, rates = 0, []
    for second in range(30):
        clock.time += 1
        count = 1 if second % 2 else 3
        state.settle([done(told + number) for number in range(count)])
        told += count
        rates.append(state.snapshot().rate)
    assert all(1.8 <= rate <= 2.2 for rate in rates[10:])


def test_the_time_that_prefect_took_to_start_does_not_slow_the_rate():
    clock = HandClock()
    state = JobState("job", 100, clock=clock)
    clock.time += 8
    state.set_phase(JobPhase.RUNNING)
    clock.time += 1
    state.settle([done(index) for index in range(10)])
    snapshot = state.snapshot()
    assert snapshot.rate == pytest.approx(10.0)
    assert snapshot.seconds_left == pytest.approx(9.0)
    assert snapshot.elapsed == pytest.approx(9.0)


def test_a_pause_does_not_slow_the_rate_after_it():
    clock = HandClock()
    state = state_of(100, clock=clock)
    clock.time += 1
    state.settle([done(index) for index in range(10)])
    state.set_phase(JobPhase.PAUSED)
    clock.time += 5
    state.set_phase(JobPhase.RUNNING)
    clock.time += 1
    state.settle([done(index) for index in range(10, 20)])
    assert state.snapshot().rate == pytest.approx(10.0)


def test_items_longer_than_the_window_have_a_rate_all_the_time():
    clock = HandClock()
    state = state_of(10, clock=clock)
    rates = []
    for index in range(4):
        for _ in range(30):
            clock.time += 1
            rates.append(state.snapshot().rate)
        state.settle([done(index, clock.time - 30, 30.0)])
    assert rates[:30] == [None] * 30
    assert all(1 / 61 < rate < 1 / 29 for rate in rates[30:])


def test_a_job_that_stalls_gets_slower_and_its_end_moves_away():
    clock = HandClock()
    state = state_of(100, clock=clock)
    for index in range(20):
        clock.time += 0.5
        state.settle([done(index)])
    before = state.snapshot()
    clock.time += 60
    after = state.snapshot()
    assert 0 < after.rate < before.rate / 5
    assert after.seconds_left > before.seconds_left * 5


def test_the_rate_of_a_job_that_is_done_is_that_of_the_items_that_ran():
    clock = HandClock()
    state = state_of(100, clock=clock)
    clock.time += 5
    state.settle([done(index, 1_000.0, 5.0) for index in range(10)])
    state.settle([unrun(index) for index in range(10, 100)])
    snapshot = state.snapshot()
    assert snapshot.rate == pytest.approx(2.0)
    assert snapshot.seconds_left == 0.0


def test_an_open_ended_job_makes_no_guess_at_its_end():
    clock = HandClock()
    state = state_of(10, clock=clock)
    state.set_open_ended(is_open=True)
    clock.time += 1
    state.settle([done(0)])
    assert state.snapshot().seconds_left is None


def test_the_clock_of_a_job_stops_at_its_end():
    clock = HandClock()
    state = state_of(1, clock=clock)
    clock.time += 2
    state.settle([done(0)])
    clock.time += 100
    assert state.snapshot().elapsed == pytest.approx(2.0)


def test_speed_up_is_item_seconds_over_the_time_in_which_items_ran():
    clock = HandClock()
    state = state_of(4, workers=4, clock=clock)
    clock.time += 60
    state.settle([done(index, 1_050.0, 5.0) for index in range(3)])
    state.settle([done(3, 1_055.0, 5.0)])
    assert state.snapshot().speed_up == pytest.approx(2.0)


def test_the_time_between_an_end_and_a_retry_counts_nowhere():
    clock = HandClock()
    state = state_of(2, clock=clock)
    clock.time += 10
    state.settle([done(0, 1_000.0, 10.0), done(1, 1_000.0, 10.0, OutcomeKind.FAILED)])
    clock.time += 3_600
    state.reopen([1])
    clock.time += 10
    state.settle([done(1, clock.time - 10, 10.0, round=1)])
    snapshot = state.snapshot()
    assert snapshot.elapsed == pytest.approx(20.0)
    assert snapshot.speed_up == pytest.approx(1.0)
    assert snapshot.rate == pytest.approx(0.1)


def test_a_retry_of_items_that_had_never_run_takes_its_time_from_their_start():
    clock = HandClock()
    state = state_of(2, clock=clock)
    state.settle([unrun(0), unrun(1)])
    clock.time += 3_600
    state.reopen([0, 1])
    clock.time += 10
    state.settle([done(index, clock.time - 10, 10.0, round=1) for index in range(2)])
    snapshot = state.snapshot()
    assert snapshot.elapsed == pytest.approx(10.0)
    assert snapshot.speed_up == pytest.approx(2.0)
    assert snapshot.rate == pytest.approx(0.2)


def test_a_crash_stays_in_the_note_and_an_end_clears_any_other():
    crashed, fine = state_of(1), state_of(1)
    crashed.crash(RuntimeError("gone"))
    fine.set_note("waiting for a slot")
    for state in (crashed, fine):
        state.settle([unrun(0)])
    assert (crashed.snapshot().note, crashed.snapshot().crashed) == ("RuntimeError: gone", True)
    assert (fine.snapshot().note, fine.snapshot().crashed) == ("", False)
