from __future__ import annotations

import contextvars
import logging
import queue
import threading

import pytest

from nbfutures.views.display import Ticker

TIMEOUT = 20


class Stage:
    """A ticker whose thread waits for the test, and whose clock the test moves."""

    def __init__(self, interval=0.5):
        self.time = 100.0
        self.waiting = queue.Queue()
        self.go = queue.Queue()
        self.ticker = Ticker(interval, clock=lambda: self.time, wait=self.wait)

    def wait(self, event, seconds):
        self.waiting.put(seconds)
        self.go.get(timeout=TIMEOUT)

    def seconds_it_waits(self):
        """Return how long the thread means to wait, as soon as it waits."""
        return self.waiting.get(timeout=TIMEOUT)

    def wake(self, seconds=0.5):
        """End the thread's wait so many seconds later."""
        self.time += seconds
        self.go.put(None)

    def step(self, seconds=0.5):
        self.seconds_it_waits()
        self.wake(seconds)


@pytest.fixture
def stage():
    made = Stage()
    yield made
    for refresh in list(made.ticker._refreshes):
        made.ticker.discard(refresh)
    made.go.put(None)
    assert made.ticker.join(TIMEOUT)


class Refresh:
    """Counts its calls; final after so many of them."""

    def __init__(self, final_after=10**9, then=lambda: None):
        self.calls = 0
        self.final_after = final_after
        self.then = then

    def __call__(self):
        self.calls += 1
        self.then()
        return self.calls >= self.final_after


def test_a_refresh_is_called_at_each_interval_until_it_is_final(stage):
    refresh = Refresh(final_after=3)
    stage.ticker.add(refresh)
    for _ in range(3):
        stage.step()
    assert stage.ticker.join(TIMEOUT)
    assert refresh.calls == 3


def test_nothing_is_called_before_the_interval_is_over(stage):
    refresh = Refresh()
    stage.ticker.add(refresh)
    assert stage.seconds_it_waits() == 0.5
    stage.wake(0.3)
    assert stage.seconds_it_waits() == pytest.approx(0.2)
    assert refresh.calls == 0


def test_the_thread_ends_with_the_last_refresh_and_starts_again_with_the_next(stage):
    stage.ticker.add(Refresh(final_after=1))
    stage.step()
    assert stage.ticker.join(TIMEOUT)
    again = Refresh(final_after=1)
    stage.ticker.add(again)
    stage.step()
    assert stage.ticker.join(TIMEOUT)
    assert again.calls == 1


def test_all_refreshes_share_one_daemon_thread(stage):
    seen = []
    for _ in range(3):
        stage.ticker.add(Refresh(1, then=lambda: seen.append(threading.current_thread())))
    stage.step()
    assert stage.ticker.join(TIMEOUT)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert seen[0].daemon
    assert seen[0] is not threading.current_thread()


def test_a_refresh_that_raises_is_dropped_logged_once_and_stops_no_other(stage, caplog):
    def broken():
        raise RuntimeError("broken view")

    fine = Refresh(final_after=3)
    stage.ticker.add(Refresh(then=broken))
    stage.ticker.add(fine)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            stage.step()
        assert stage.ticker.join(TIMEOUT)
    assert fine.calls == 3
    [record] = caplog.records
    assert "broken view" in record.exc_text


def test_a_poke_calls_that_refresh_alone_and_at_once(stage):
    poked, other = Refresh(final_after=1), Refresh(final_after=1)
    stage.ticker.add(poked)
    stage.ticker.add(other)
    stage.seconds_it_waits()
    stage.ticker.poke(poked)
    stage.wake(0.1)
    assert stage.seconds_it_waits() == pytest.approx(0.4)
    assert (poked.calls, other.calls) == (1, 0)
    stage.wake(0.4)
    assert stage.ticker.join(TIMEOUT)
    assert (poked.calls, other.calls) == (1, 1)


def test_a_poke_does_not_wait_for_the_interval():
    ticker = Ticker(interval=3_600)
    refresh = Refresh(final_after=1)
    ticker.add(refresh)
    ticker.poke(refresh)
    assert ticker.join(TIMEOUT)
    assert refresh.calls == 1


def test_a_poke_during_the_last_refresh_makes_one_more(stage):
    refresh = Refresh(final_after=1)
    refresh.then = lambda: stage.ticker.poke(refresh) if refresh.calls == 1 else None
    stage.ticker.add(refresh)
    stage.step()
    stage.step(0.0)
    assert stage.ticker.join(TIMEOUT)
    assert refresh.calls == 2


def test_a_poke_of_what_is_not_there_does_nothing(stage):
    refresh = Refresh()
    stage.ticker.poke(refresh)
    assert stage.ticker.join(0)
    assert refresh.calls == 0


def test_what_is_added_twice_is_called_once_each_time(stage):
    refresh = Refresh(final_after=1)
    stage.ticker.add(refresh)
    stage.ticker.add(refresh)
    stage.step()
    assert stage.ticker.join(TIMEOUT)
    assert refresh.calls == 1


def test_what_is_discarded_is_called_no_more(stage):
    gone, stays = Refresh(), Refresh(final_after=2)
    stage.ticker.add(gone)
    stage.ticker.add(stays)
    stage.step()
    stage.seconds_it_waits()
    stage.ticker.discard(gone)
    stage.wake()
    assert stage.ticker.join(TIMEOUT)
    assert (gone.calls, stays.calls) == (1, 2)


def test_a_refresh_may_add_another(stage):
    second = Refresh(final_after=1)
    first = Refresh(final_after=1, then=lambda: stage.ticker.add(second))
    stage.ticker.add(first)
    stage.step()
    stage.step()
    assert stage.ticker.join(TIMEOUT)
    assert second.calls == 1


@pytest.mark.parametrize(("takes", "waits"), [(0.001, 0.5), (0.02, 1.0), (0.2, 2.0)])
def test_slow_refreshes_are_called_less_often_but_never_seldom(stage, takes, waits):
    def slow():
        stage.time += takes

    stage.ticker.add(Refresh(then=slow))
    stage.step()
    assert stage.seconds_it_waits() == pytest.approx(waits, abs=0.002)


cell = contextvars.ContextVar("cell", default="none")


def test_each_refresh_runs_in_the_context_it_was_added_in(stage):
    seen = []
    for name in ("first", "second"):
        cell.set(name)
        stage.ticker.add(Refresh(1, then=lambda: seen.append(cell.get())))
    given = contextvars.copy_context()
    given.run(cell.set, "given")
    stage.ticker.add(Refresh(1, then=lambda: seen.append(cell.get())), given)
    cell.set("none")
    stage.step()
    assert stage.ticker.join(TIMEOUT)
    assert seen == ["first", "second", "given"]
