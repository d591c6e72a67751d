"""Cancel, pause, resume, retry, fail fast: what starts, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings

import pytest
from prefect import task
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, ItemCancelledError, MapArgumentsError
from nbfutures.model.events import JobPhase


def kinds_of(job):
    return [one.kind.value for one in job.outcomes()]


# --- cancel ---------------------------------------------------------------------------------------------------------


@pytest.mark.kinds("function", "async function", "task")
def test_cancel_ends_what_waits_at_once_and_lets_end_what_runs(kind, gate):
    job = nbf.options(workers=2, in_flight=2).map(kind.gated(gate), range(200))
    gate.wait_for(2)
    job.cancel()
    assert job.phase is JobPhase.CANCELLING
    eventually(lambda: job.counts.cancelled == 198)
    assert not job.is_done
    gate.open()
    assert job.wait(120)
    assert sorted(gate.came) == [0, 1]
    assert kinds_of(job) == ["completed"] * 2 + ["cancelled"] * 198
    assert job.values(default="-") == [0, 1] + ["-"] * 198
    with pytest.raises(ItemCancelledError, match=r"job\.retry\(\)"):
        job.result()
    with pytest.raises(ItemCancelledError, match=r"job\.retry\(\)"):
        job[5].result()


def test_cancel_takes_back_task_runs_that_no_worker_has_begun(gate):
    job = nbf.options(workers=2, in_flight=20).map(task(gate.__call__), range(50))
    gate.wait_for(2)
    job.cancel()
    eventually(lambda: job.counts.cancelled == 48)
    gate.open()
    assert job.wait(120)
    assert sorted(gate.came) == [0, 1]


def test_async_tasks_that_are_taken_back_leave_no_warning_in_the_notebook(gate, join):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        job = nbf.options(workers=1, in_flight=10).map(task(gate.pass_async), range(10))
        gate.wait_for(1)
        job.cancel()
        gate.open()
        assert job.wait(120)
        join()
        gc.collect()
    assert job.counts.cancelled == 9
    assert [str(one.message) for one in seen if "never awaited" in str(one.message)] == []


def test_a_job_that_is_cancelled_before_it_starts_calls_nothing(gate):
    job = nbf.map(gate, range(10))
    job.cancel()
    assert job.wait(120)
    assert gate.came == []
    assert kinds_of(job) == ["cancelled"] * 10


def test_cancelling_a_job_that_is_done_changes_nothing():
    job = nbf.map(abs, [-1])
    assert job.result(120) == [1]
    job.cancel()
    assert job.phase is JobPhase.DONE
    assert job.result() == [1]


@pytest.mark.kinds("function", "task")
def test_what_was_cancelled_runs_when_it_is_retried(kind, gate):
    job = nbf.options(workers=2, in_flight=2).map(kind.gated(gate), range(12))
    gate.wait_for(2)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert job.retry().result(120) == list(range(12))
    assert sorted(gate.came) == list(range(12))


# --- pause ----------------------------------------------------------------------------------------------------------


@pytest.mark.kinds("function", "async function", "task")
def test_a_paused_job_starts_nothing_until_it_is_resumed(kind, gate):
    job = nbf.options(workers=2, in_flight=2).map(kind.gated(gate), range(8))
    gate.wait_for(2)
    job.pause()
    gate.open()
    eventually(lambda: job.counts.completed == 2)
    assert holds_for(lambda: len(gate.came) == 2, 0.2)
    assert job.phase is JobPhase.PAUSED
    job.resume()
    assert job.result(120) == list(range(8))


def test_a_job_that_is_paused_before_it_starts_waits_for_resume(gate):
    job = nbf.map(gate, range(3))
    job.pause()
    gate.open()
    eventually(lambda: job.url)
    assert holds_for(lambda: gate.came == [], 0.15)
    job.resume()
    assert job.result(120) == [0, 1, 2]


def test_a_paused_job_can_be_cancelled(gate):
    job = nbf.options(workers=1).map(gate, range(5))
    gate.wait_for(1)
    job.pause()
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert kinds_of(job) == ["completed"] + ["cancelled"] * 4


def test_pause_and_resume_of_a_job_that_is_done_do_nothing():
    job = nbf.map(abs, [-1])
    assert job.result(120) == [1]
    job.pause()
    job.resume()
    assert job.phase is JobPhase.DONE


# --- retry ----------------------------------------------------------------------------------------------------------


class Flaky:
    """Fails for some items until it is mended; who was called is known."""

    def __init__(self, bad):
        self.bad = bad
        self.calls = []

    def call(self, x):
        self.calls.append(x)
        if x in self.bad:
            raise self.bad[x]
        return x * 10


@pytest.mark.kinds("function", "async task")
def test_a_retry_runs_what_failed_and_puts_it_in_place(kind):
    flaky = Flaky({1: ValueError("one"), 3: KeyError("three")})
    job = nbf.map(kind(flaky.call), range(5))
    assert job.wait(120)
    assert kinds_of(job) == ["completed", "failed"] * 2 + ["completed"]
    before = job.outcomes()
    future = job[3]
    flaky.bad.clear()
    flaky.calls.clear()
    assert job.retry() is job
    assert job.result(120) == [0, 10, 20, 30, 40]
    assert sorted(flaky.calls) == [1, 3]
    assert [now is then for now, then in zip(job.outcomes(), before, strict=True)] == [True, False, True, False, True]
    assert future.result() == 30
    assert future.state.is_completed()
    assert job.counts.failed == 0
    assert job.frame()["outcome"].tolist() == ["completed"] * 5


def test_a_retry_that_fails_again_keeps_the_new_error():
    flaky = Flaky({0: ValueError("first")})
    job = nbf.map(flaky.call, range(2))
    assert job.wait(120)
    flaky.bad[0] = ValueError("second")
    assert job.retry().wait(120)
    assert str(job[0].exception()) == "second"
    assert job.counts.failed == 1


def test_a_retry_of_some_errors_leaves_the_others_as_they_are(gate):
    flaky = Flaky({0: ValueError("v"), 1: KeyError("k"), 2: IndexError("i")})
    job = nbf.options(workers=2).map(lambda x: flaky.call(x) if x < 3 else gate(x), range(4))
    eventually(lambda: job.counts.failed == 3)
    for errors, again in (
        (KeyError, [1]),
        ("KeyError", [1]),
        (LookupError, [1, 2]),
        ("LookupError", [1, 2]),
        ((ValueError, "IndexError"), [0, 2]),
        (OSError, []),
    ):
        flaky.calls.clear()
        job.retry(errors=errors)
        eventually(lambda: job.counts.failed == 3)
        assert sorted(flaky.calls) == again
    gate.open()
    assert job.wait(120)


def test_a_retry_of_what_is_no_error_type_is_refused():
    job = nbf.map(abs, [-1])
    for errors in (3, "no error".split, [ValueError], ValueError("an instance")):
        with pytest.raises(InvalidOptionError, match="exception types or their names"):
            job.retry(errors=errors)


@pytest.mark.kinds("function", "task")
def test_a_retry_with_an_edited_function_calls_that(kind):
    def broken(x):
        return 10 // x

    def mended(x):
        return 10 // x if x else 0

    job = nbf.map(kind(broken), range(3))
    assert job.wait(120)
    assert job.counts.failed == 1
    assert job.retry(kind(mended)).result(120) == [0, 10, 5]


def other_name(y):
    return y


async def is_async(x):
    return x


MISFITS = (
    (other_name, r"other_name\(y\) does not take this job's arguments \(x\)"),
    (is_async, "is_async, async, a function, cannot take the place of one, not async, a function"),
    (task(other_name), "other_name, not async, a Prefect task, cannot take the place of"),
    (3, "must be a function"),
)


def test_a_retry_with_a_function_that_does_not_fit_is_refused_and_changes_nothing():
    def one(x):
        return 1 / x

    job = nbf.map(one, [0, 1])
    assert job.wait(120)
    for fn, message in MISFITS:
        with pytest.raises(MapArgumentsError, match=message):
            job.retry(fn)
    assert job.is_done
    assert kinds_of(job) == ["failed", "completed"]
    assert job.retry(lambda x: x).result(120) == [0, 1.0]


@pytest.mark.kinds("function", "async function", "task")
def test_what_failed_can_be_retried_while_the_rest_runs(kind, gate):
    tries = []

    def work(x):
        if x == 0:
            tries.append(x)
            if len(tries) == 1:
                raise ValueError("the first time")
        return x

    async def work_async(x):
        return work(x) if x == 0 else await gate.pass_async(x)

    def work_sync(x):
        return work(x) if x == 0 else gate(x)

    fn = work_async if kind.is_async else work_sync
    job = nbf.options(workers=3, in_flight=3).map(task(fn) if kind.is_task else fn, range(6))
    eventually(lambda: job.counts.failed == 1)
    gate.wait_for(2)
    job.retry()
    eventually(lambda: len(tries) == 2 or len(gate.came) == 3)
    gate.open()
    assert job.result(120) == list(range(6))
    assert len(tries) == 2


def test_an_edited_function_can_be_given_while_the_rest_runs_and_the_job_can_still_be_cancelled(gate):
    def broken(x):
        if x == 0:
            raise ValueError("broken")
        return gate(x)

    def mended(x):
        return -1 if x == 0 else gate(x)

    job = nbf.options(workers=2).map(broken, range(20))
    eventually(lambda: job.counts.failed == 1)
    gate.wait_for(2)
    job.retry(mended)
    job.cancel()
    eventually(lambda: job.counts.waiting == 0)
    gate.open()
    assert job.wait(120)
    assert job.counts.cancelled >= 16
    assert job.retry().result(120) == [-1, *range(1, 20)]


def test_only_what_has_ended_is_retried(gate):
    job = nbf.options(workers=2).map(gate, range(2))
    gate.wait_for(2)
    job.retry()
    gate.open()
    assert job.result(120) == [0, 1]
    assert sorted(gate.came) == [0, 1]


# --- fail fast ------------------------------------------------------------------------------------------------------


@pytest.mark.kinds("function", "async function", "task")
def test_the_first_failure_ends_a_job_that_is_to_fail_fast(kind):
    started = []

    def work(x):
        started.append(x)
        if x == 3:
            raise ValueError("three")
        return x

    job = nbf.options(workers=1, in_flight=1, fail_fast=True).map(kind(work), range(100))
    assert job.wait(120)
    assert started == [0, 1, 2, 3]
    assert kinds_of(job) == ["completed"] * 3 + ["failed"] + ["cancelled"] * 96
    assert "item 3 failed (fail_fast)" in str(job[50].exception())
    with pytest.raises(ValueError, match="three"):
        job.result()


def test_a_job_that_failed_fast_can_be_retried():
    flaky = Flaky({0: ValueError("v")})
    job = nbf.options(workers=1, fail_fast=True).map(flaky.call, range(5))
    assert job.wait(120)
    flaky.bad.clear()
    assert job.retry().result(120) == [0, 10, 20, 30, 40]


# --- the counts -----------------------------------------------------------------------------------------------------


def test_the_counts_add_up_at_every_moment_while_a_job_with_failures_is_cancelled():
    """Claim 4's sum, watched from the threads that settle and from one that only looks."""
    total, sums, looks = 1000, set(), set()

    def work(x):
        time.sleep(0.005)
        if x % 7 == 0:
            raise ValueError("seven")
        return x

    def add_up(counts):
        return (
            counts.completed + counts.failed + counts.cancelled + counts.skipped + counts.running + counts.waiting,
            counts.total,
            min(counts.running, counts.waiting) >= 0 and counts.running <= 4,
        )

    over = threading.Event()

    def look(job):
        while not over.is_set():
            looks.add(add_up(job.snapshot.counts))

    job = nbf.options(workers=4).map(work, range(total))
    job._run.state.subscribe(lambda _: sums.add(add_up(job.snapshot.counts)))
    watcher = threading.Thread(target=look, args=(job,))
    watcher.start()
    try:
        eventually(lambda: job.counts.failed > 20, interval=0.001)
        job.cancel()
        assert job.wait(120)
    finally:
        over.set()
        watcher.join(120)
    assert sums == looks == {(total, total, True)}
    assert job.counts.cancelled > 0
    assert job.counts.settled == total


def test_the_phases_of_a_job_are_told_in_order():
    phases = []
    release = threading.Event()
    job = nbf.options(workers=1).map(lambda x: release.wait(120), range(3))
    job._run.state.subscribe(lambda event: phases.append(event.phase.value) if hasattr(event, "phase") else None)
    eventually(lambda: job.counts.running == 1)
    job.pause()
    job.resume()
    job.cancel()
    release.set()
    asyncio.run(asyncio.wait_for(_ended(job), 60))
    # Who awaits a job and who subscribes to its state are told one after the other.
    eventually(lambda: phases[-1] == "done")
    assert phases[-4:] == ["paused", "running", "cancelling", "done"]


async def _ended(job):
    await job
