"""Calls that are interrupted when their time is over, in any thread; those that have ended are left alone."""

from __future__ import annotations

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from nbfutures.engine.timeouts import interrupt_after


class LateError(TimeoutError):
    """Raised by nobody else."""


def loop_for_ever(seconds, error=LateError):
    with interrupt_after(seconds, error):
        while True:
            pass


def test_pure_python_is_stopped_in_each_of_several_threads():
    with ThreadPoolExecutor(3) as pool:
        for late in [pool.submit(loop_for_ever, seconds) for seconds in (0.3, 0.02, 0.1)]:
            assert isinstance(late.exception(120), LateError)


def test_in_the_main_thread_what_waits_is_stopped_too():
    assert threading.current_thread() is threading.main_thread()
    began = time.monotonic()
    with pytest.raises(LateError), interrupt_after(0.05, LateError):
        time.sleep(600)
    assert time.monotonic() - began < 300


def test_a_call_that_has_ended_is_not_interrupted_and_a_call_within_another_has_its_own_time():
    def call():
        with interrupt_after(0.05, LateError):
            pass
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            pass
        with interrupt_after(60, LateError), pytest.raises(KeyError):
            loop_for_ever(0.02, KeyError)
        return "whole"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(call).result(120) == "whole"


def test_calls_that_ended_long_before_their_time_leave_nothing():
    def call(times):
        for _ in range(times):
            with interrupt_after(3600, LateError):
                pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(call, 100).result(120)
        tracemalloc.start()
        try:
            pool.submit(call, 20_000).result(120)
            assert tracemalloc.get_traced_memory()[0] < 200_000
        finally:
            tracemalloc.stop()
