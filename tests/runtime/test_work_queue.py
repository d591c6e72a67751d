"""The items that wait to run: each handed out once, in turn, and never lost."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st
from tests.support import eventually

from nbfutures.engine.work_queue import WorkQueue


class HandClock:
    def __init__(self):
        self.time = 1000.0

    def now(self):
        return self.time


def queue_of(indices, rate=None, clock=None):
    return WorkQueue(indices, rate=rate, now=(clock or HandClock()).now)


def pull_all(queue):
    taken = []
    while (index := queue.pull()) is not None:
        taken.append(index)
    return taken


def started(*targets):
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def test_many_workers_take_each_item_once():
    queue = queue_of(range(20_000))
    start = threading.Barrier(8)
    taken = [[] for _ in range(8)]

    def work(mine):
        start.wait(120)
        mine.extend(pull_all(queue))

    for thread in started(*[lambda mine=mine: work(mine) for mine in taken]):
        thread.join(120)
    assert sorted(index for mine in taken for index in mine) == list(range(20_000))


def test_items_come_in_order_and_those_given_back_come_next():
    queue = queue_of(range(4))
    assert (queue.pull(), queue.pull()) == (0, 1)
    queue.put([0])
    assert len(queue) == 3
    assert pull_all(queue) == [0, 2, 3]
    assert queue.pull() is None


def test_a_halted_queue_hands_out_nothing_and_goes_on_where_it_was():
    queue = queue_of(range(3))
    queue.pull()
    queue.halt()
    assert queue.pull() is None
    assert queue.try_pull() is None
    queue.go_on()
    assert pull_all(queue) == [1, 2]


def test_what_is_due_later_comes_when_it_is_due():
    clock = HandClock()
    queue = queue_of([], clock=clock)
    queue.put_later(7, clock.time + 5)
    queue.put_later(8, clock.time + 2)
    assert queue.release_due() == 2
    assert queue.pull() is None
    clock.time += 2
    assert queue.release_due() == 3
    assert queue.pull() == 8
    clock.time += 3
    assert queue.release_due() is None
    assert queue.pull() == 7


@given(st.integers(0, 20), st.integers(0, 20), st.sets(st.integers(100, 120)), st.sets(st.integers(200, 220)))
def test_a_drained_queue_gave_everything_that_was_not_taken(total, taken, ready, later):
    queue = queue_of(range(total))
    for _ in range(taken):
        queue.pull()
    queue.put(ready)
    for index in later:
        queue.put_later(index, 1e9)
    queue.halt()
    assert sorted(queue.drain()) == [*range(min(taken, total), total), *sorted(ready), *sorted(later)]
    queue.go_on()
    assert len(queue) == 0
    assert queue.release_due() is None


def test_a_rate_spaces_the_starts_and_a_quiet_time_is_not_made_up_for():
    clock = HandClock()
    queue = queue_of(range(10), rate=2, clock=clock)
    assert queue.try_pull() == 0
    assert queue.try_pull() is None
    assert queue.seconds_to_turn() == 0.5
    clock.time += 0.5
    assert queue.try_pull() == 1
    clock.time += 60
    assert queue.try_pull() == 2
    assert queue.try_pull() is None


def test_a_worker_that_waits_for_its_turn_leaves_at_once_when_halted_and_the_item_stays():
    queue = queue_of(range(2), rate=0.001)
    assert queue.pull() == 0
    got = []
    (thread,) = started(lambda: got.append(queue.pull()))
    eventually(lambda: queue.seconds_to_turn() > 1000)
    queue.halt()
    thread.join(120)
    assert got == [None]
    queue.go_on()
    assert queue.drain() == [1]


def test_turns_that_workers_gave_up_when_halted_are_free_again():
    clock = HandClock()
    queue = queue_of(range(100), rate=1, clock=clock)
    queue.pull()
    threads = started(*[queue.pull] * 6)
    eventually(lambda: queue.seconds_to_turn() == 7)
    queue.halt()
    for thread in threads:
        thread.join(120)
    clock.time += 3
    queue.go_on()
    assert queue.seconds_to_turn() <= 1
