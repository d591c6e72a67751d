"""The feed tells each future's end once, whenever it came and however it ended."""

from __future__ import annotations

import random
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from uuid import uuid4

from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import Completed
from tests.support import eventually

from nbfutures.prefect.feed import Feed


def future():
    return PrefectConcurrentFuture(uuid4(), Future())


def finish(one):
    one.wrapped_future.set_result(Completed())


class Told:
    """Counts how often each future was told, and on which threads."""

    def __init__(self):
        self.keys = []
        self.threads = set()

    def of(self, key):
        def on_done():
            self.threads.add(threading.current_thread())
            self.keys.append(key)

        return on_done


def test_futures_that_end_all_at_once_in_many_threads_are_each_told_once():
    told = Told()
    futures = [future() for _ in range(3000)]
    order = futures.copy()
    random.Random(1).shuffle(order)
    with Feed("test") as feed:
        for number, one in enumerate(futures):
            feed.watch(one, told.of(number))
        with ThreadPoolExecutor(8) as pool:
            pool.map(finish, order)
    assert sorted(told.keys) == list(range(3000))
    assert len(told.threads) == 1
    assert threading.current_thread() not in told.threads


def test_futures_that_come_while_others_end_are_each_told_once():
    told = Told()
    with Feed("test") as feed, ThreadPoolExecutor(4) as pool:
        for number in range(2000):
            one = future()
            if number % 3 == 0:
                finish(one)
            feed.watch(one, told.of(number))
            if number % 3:
                pool.submit(finish, one)
    assert sorted(told.keys) == list(range(2000))


def test_an_end_is_told_while_others_go_on():
    told = Told()
    slow, quick = future(), future()
    with Feed("test") as feed:
        feed.watch(slow, told.of("slow"))
        feed.watch(quick, told.of("quick"))
        finish(quick)
        eventually(lambda: told.keys)
        assert told.keys == ["quick"]
        late = future()
        feed.watch(late, told.of("late"))
        finish(late)
        eventually(lambda: len(told.keys) == 2)
        finish(slow)
    assert told.keys == ["quick", "late", "slow"]


def test_cancelled_and_failed_futures_are_told():
    told = Told()
    cancelled, failed = future(), future()
    with Feed("test") as feed:
        feed.watch(cancelled, told.of("cancelled"))
        feed.watch(failed, told.of("failed"))
        cancelled.wrapped_future.cancel()
        failed.wrapped_future.set_exception(CancelledError())
    assert sorted(told.keys) == ["cancelled", "failed"]


def test_a_callback_that_raises_does_not_stop_the_others():
    told = Told()

    def raises():
        raise RuntimeError("in the callback")

    first, second = future(), future()
    with Feed("test") as feed:
        feed.watch(first, raises)
        feed.watch(second, told.of("second"))
        finish(first)
        finish(second)
    assert told.keys == ["second"]


class Unreachable(PrefectFuture):
    """A run elsewhere, about which Prefect cannot be asked."""

    _final_state = None

    def __init__(self):
        pass

    def add_done_callback(self, fn):
        raise ConnectionError("no server")

    def wait(self, timeout=None): ...

    def result(self, timeout=None, raise_on_failure=True): ...


def test_a_future_that_cannot_be_watched_is_told_at_once():
    told = Told()
    never = future()
    with Feed("test") as feed:
        feed.watch(never, told.of("never"))
        feed.watch(Unreachable(), told.of("unreachable"))
        eventually(lambda: told.keys == ["unreachable"])
        finish(never)


def test_a_feed_of_nothing_ends():
    with Feed("test") as feed:
        thread = feed._thread
    assert not thread.is_alive()
