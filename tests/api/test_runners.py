"""What holds wherever items run: the same tests over every runner."""

# ruff: noqa: T201 - items print

from __future__ import annotations

import asyncio
import os
import time

import pytest
from tests import file_gate
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures.errors import ItemSkippedError, ItemTimeoutError
from nbfutures.model.events import JobPhase

gate = file_gate.gate


def kinds_of(job):
    return [one.kind.value for one in job.outcomes()]


def square(x):
    return x * x


def test_values_come_in_order_and_failures_in_their_places(runner, kind):
    job = runner.map(kind(square), (x if x != 3 else "three" for x in range(6)))
    assert job.wait(120)
    assert kinds_of(job) == ["completed"] * 3 + ["failed"] + ["completed"] * 2
    assert job.values() == [0, 1, 4, None, 16, 25]
    assert isinstance(job[3].exception(), TypeError)
    assert "return x * x" in job.failure(3).traceback
    with pytest.raises(TypeError):
        job.result()


def test_values_come_as_they_end(background, gate):
    job = background.map(lambda x: gate(x) if x == 0 else x, range(10))
    ended = []
    for outcome in job.as_completed(timeout=120):
        ended.append(outcome.index)
        if len(ended) == 9:
            gate.open()
    assert ended[-1] == 0
    assert sorted(ended) == list(range(10))


def test_a_single_call_gives_its_value(runner):
    job = runner.submit(divmod, 7, 2)
    assert job.result(120) == (3, 1)
    assert len(job) == 1


def test_what_an_item_prints_is_kept_with_it(runner, capsys):
    def talk(x):
        print("item", x)
        if x == 1:
            raise ValueError("one")

    job = runner.map(talk, range(3))
    assert job.wait(120)
    assert [one.output.stdout for one in job.outcomes()] == ["item 0\n", "item 1\n", "item 2\n"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("delay", [None, 0.2])
def test_a_failing_item_is_tried_again_as_often_as_retries_say(runner, gate, delay):
    def work(x):
        tries = gate.note(x)
        if x == 2 or (x == 1 and tries < 3):
            raise ValueError(tries)
        return tries

    started = time.monotonic()
    job = runner.options(retries=2, retry_delay=delay).map(work, range(3))
    assert job.wait(120)
    assert job.values() == [1, 3, None]
    assert [one.attempts for one in job.outcomes()] == [1, 3, 3]
    assert str(job[2].exception()) == "3"
    assert time.monotonic() - started >= 2 * (delay or 0)


def test_an_item_that_takes_too_long_fails_and_the_others_do_not(runner):
    def work(x):
        while x == 1:
            pass
        return x

    job = runner.options(timeout=0.3).map(work, range(4))
    assert job.wait(120)
    assert job.values() == [0, None, 2, 3]
    assert isinstance(job[1].exception(), ItemTimeoutError)


def test_cancel_ends_what_waits_at_once_and_a_retry_runs_it(background, gate):
    job = background.options(in_flight=2).map(gate, range(200))
    gate.wait_for(2)
    job.cancel()
    eventually(lambda: job.counts.cancelled >= 198)
    gate.open()
    assert job.wait(120)
    assert len(gate.came) == 2
    assert job.retry().result(120) == list(range(200))


@pytest.fixture
def one_slot():
    """A limit that lets one item run at once; its name."""
    nbf.limit("one at once", 1)
    yield "one at once"
    nbf.delete_limit("one at once")


@pytest.mark.kinds("function", "task")
def test_no_more_items_run_at_once_than_their_limit_has_slots(background, kind, gate, one_slot):
    def work(x):
        return gate(x)

    job = background.options(limit=one_slot).map(kind(work), range(4))
    gate.wait_for(1)
    assert holds_for(lambda: len(gate.came) == 1, 0.4)
    job.pause()
    gate.open()
    eventually(lambda: list(nbf.limits()["in_use"]) == [0])
    job.resume()
    assert job.result(120) == list(range(4))
    eventually(lambda: list(nbf.limits()["in_use"]) == [0])


def test_what_a_cancel_ends_leaves_its_slot(background, gate, one_slot):
    job = background.options(limit=one_slot).map(gate, range(4))
    gate.wait_for(1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    eventually(lambda: list(nbf.limits()["in_use"]) == [0])


def test_a_paused_job_starts_nothing_until_it_is_resumed(background, gate):
    job = background.map(gate, range(30))
    gate.wait_for(2)
    job.pause()
    # What was sent ahead comes back before the gate opens.
    eventually(lambda: job.counts.running == 2)
    assert holds_for(lambda: len(gate.came) == 2, 0.3)
    gate.open()
    eventually(lambda: job.counts.completed == 2)
    assert holds_for(lambda: len(gate.came) == 2, 0.2)
    assert job.phase is JobPhase.PAUSED
    job.resume()
    assert job.result(120) == list(range(30))


def test_a_retry_with_an_edited_function_runs_what_failed(runner, gate):
    job = runner.map(lambda x: 10 // x, range(4))
    assert job.wait(120)
    assert kinds_of(job) == ["failed"] + ["completed"] * 3

    def mended(x):
        gate.note(x)
        return 10 // x if x else 0

    assert job.retry(mended).result(120) == [0, 10, 5, 3]
    assert gate.came == [0]


def test_the_first_failure_ends_a_job_that_is_to_fail_fast(runner, gate):
    def work(x):
        gate.note(x)
        if x == 3:
            raise ValueError("three")
        return x

    job = runner.options(workers=1, in_flight=1, fail_fast=True).map(work, range(100))
    assert job.wait(120)
    assert gate.came == [0, 1, 2, 3]
    assert kinds_of(job) == ["completed"] * 3 + ["failed"] + ["cancelled"] * 96


def test_a_rate_spaces_the_starts(runner):
    job = runner.options(rate=10).map(square, range(7))
    assert job.wait(120)
    starts = [one.started for one in job.outcomes()]
    assert max(starts) - min(starts) > 0.4
    assert max(sum(start <= other < start + 0.25 for other in starts) for start in starts) <= 6


def test_no_more_items_run_at_once_than_are_allowed(background, gate):
    job = background.options(workers=2, in_flight=1).map(gate, range(5))
    gate.wait_for(1)
    assert holds_for(lambda: len(gate.came) == 1, 0.3)
    gate.open()
    assert job.result(120) == list(range(5))


@pytest.mark.kinds("function", "task")
def test_items_run_on_the_results_of_others_and_are_skipped_where_those_failed(runner, kind):
    first = runner.map(lambda x: 1 / x, [1, 0, 2])
    second = runner.map(kind(square), first)
    assert second.wait(120)
    assert kinds_of(second) == ["completed", "skipped", "completed"]
    assert second.values() == [1.0, None, 0.25]
    with pytest.raises(ItemSkippedError):
        second[1].result()
    assert second[1].outcome.attempts == 0
    base = runner.submit(square, 5)
    assert runner.map(lambda x, y: (x, y), [1, 2], nbf.unmapped(base)).result(120) == [(1, 25), (2, 25)]


@pytest.mark.parametrize("name", ["threads", "processes", "dask", "ray"])
def test_many_coroutines_run_at_once(name, gate):
    async def work(x):
        gate.note(x)
        while len(gate.came) < 20:  # noqa: ASYNC110 - other processes take part
            await asyncio.sleep(0.01)
        return os.getpid()

    assert len(nbf.options(runner=name).map(work, range(20)).result(120)) == 20
