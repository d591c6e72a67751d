"""Jobs in processes, on the real server: what is particular to them. What holds for every runner is in tests/api."""

# ruff: noqa: T201 - items print

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from prefect import task
from tests import file_gate
from tests.support import end_jobs, eventually

import nbfutures as nbf
from nbfutures.errors import (
    ItemCancelledError,
    ItemTimeoutError,
    JobCrashedError,
    PicklingError,
    WorkerDiedError,
)
from nbfutures.prefect.runners import processes as pool

gate = file_gate.gate
in_processes = nbf.options(runner="processes", workers=2)
alone = in_processes.options(workers=1)


@pytest.fixture(autouse=True)
def jobs(server):
    """None is left running by a test."""
    yield
    end_jobs(server, 30)


def kinds_of(job):
    return [one.kind.value for one in job.outcomes()]


def in_notebook(code, **names):
    """Return the names that a cell defines: as if it were in `__main__`, which no other process can import."""
    namespace = {"__name__": "__main__", **names}
    exec(compile(code, "/tmp/ipykernel_1/1.py", "exec"), namespace)
    for name, value in namespace.items():
        if getattr(value, "__module__", "") == "__main__":
            setattr(sys.modules["__main__"], name, value)
    return namespace


def str_of(x):
    return str(x)


# --- what a cell defines --------------------------------------------------------------------------------------------


def test_a_cells_functions_classes_globals_and_imports_work_and_its_classes_come_back():
    cell = in_notebook(
        """
import math
from dataclasses import dataclass
FACTOR = 10

@dataclass
class Point:
    x: float
    def scaled(self):
        return Point(self.x * FACTOR)

class Odd(Exception):
    pass

def helper(x):
    return math.floor(x) + FACTOR

def work(x):
    if x == 1:
        raise Odd(Point(x))
    return Point(helper(x)).scaled()
"""
    )
    job = in_processes.map(cell["work"], [0.5, 1, 2])
    assert job.wait(120)
    assert type(job[0].result()) is cell["Point"]
    assert [one.x for one in (job[0].result(), job[2].result())] == [100, 120]
    assert type(job[1].exception()) is cell["Odd"]
    assert job[1].exception().args == (cell["Point"](1),)
    cell["FACTOR"] = 2
    cell["Point"].scaled = lambda self: self
    assert [one.x for one in in_processes.map(cell["work"], [2, 3]).result(120)] == [4, 5]


def test_lambdas_closures_and_builtins_work():
    offset = 7
    assert in_processes.map(lambda x: x + offset, range(5)).result(120) == [7, 8, 9, 10, 11]
    assert in_processes.map(abs, [-1, 2]).result(120) == [1, 2]
    assert in_processes.submit(divmod, 7, 2).result(120) == (3, 1)
    assert in_processes.map(lambda a, *, b, **more: (a, b, more), [1, 2], b=3, c=[4, 5]).result(120) == [
        (1, 3, {"c": 4}),
        (2, 3, {"c": 5}),
    ]


def test_a_module_of_the_users_that_was_edited_is_read_anew_and_found_where_the_path_says(tmp_path, monkeypatch):
    module = tmp_path / "mine_for_nbfutures.py"
    module.write_text("def work(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine_for_nbfutures = importlib.import_module("mine_for_nbfutures")
    assert alone.map(mine_for_nbfutures.work, [1]).result(120) == [2]
    module.write_text("def work(x):\n    return x + 1000\n")
    os.utime(module, (time.time() + 5, time.time() + 5))
    assert alone.map(mine_for_nbfutures.work, [1]).result(120) == [1001]
    del sys.modules["mine_for_nbfutures"]


def test_what_all_items_share_is_sent_once():
    class Big:
        sent = 0

        def __reduce__(self):
            Big.sent += 1
            return (list, ((1, 2, 3),))

    job = alone.map(lambda x, table: x + sum(table), range(500), table=nbf.unmapped(Big()))
    assert job.result(120) == [x + 6 for x in range(500)]
    assert Big.sent == 1


def test_an_item_runs_in_the_kernels_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_processes.map(lambda x: str(Path.cwd()), [1]).result(120) == [str(tmp_path)]


# --- what cannot be sent --------------------------------------------------------------------------------------------


def test_a_variable_that_cannot_be_sent_is_named_and_the_job_can_be_run_with_another_function():
    lock = threading.Lock()

    def helper(x):
        return lock, x

    def work(x):
        return helper(x)

    job = in_processes.map(work, range(100))
    assert job.wait(120)
    with pytest.raises(PicklingError, match="variable 'lock' that helper uses"):
        job.result()
    assert set(kinds_of(job)) == {"cancelled"}
    assert job.retry(lambda x: x).result(120) == list(range(100))


def test_an_argument_that_cannot_be_sent_fails_its_item_and_no_other():
    job = in_processes.map(str_of, [1, threading.Lock(), 3])
    assert job.wait(120)
    assert kinds_of(job) == ["completed", "failed", "completed"]
    with pytest.raises(PicklingError, match="argument 'x' of item 1"):
        job[1].result()
    single = in_processes.submit(lambda x, handle: x, 1, threading.Lock())
    with pytest.raises(PicklingError, match="argument 'handle'"):
        single.result(120)


def test_a_value_that_cannot_be_sent_back_fails_its_item_and_no_other():
    job = in_processes.map(lambda x: threading.Lock() if x == 3 else x, range(6))
    assert job.wait(120)
    assert job.counts.failed == 1
    with pytest.raises(PicklingError, match=r"Item 3 ran, but its value \(lock\)"):
        job[3].result()


class Grumpy:
    """Cannot be read where it arrives."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (_refuse, (self.place, os.getpid()))


def _refuse(place, sender):
    if os.getpid() != sender:
        raise ImportError(f"no such thing {place}")
    return place


def test_what_cannot_be_read_where_it_arrives_fails_its_item_and_no_other():
    job = in_processes.map(str_of, [1, Grumpy("there"), 3])
    assert job.wait(120)
    assert kinds_of(job) == ["completed", "failed", "completed"]
    with pytest.raises(PicklingError, match="item 1 cannot be read in its process: ImportError: no such thing there"):
        job[1].result()
    grumpy = Grumpy
    job = in_processes.map(lambda x: grumpy("here") if x == 2 else x, range(5))
    assert job.wait(120)
    assert job.values() == [0, 1, None, 3, 4]
    with pytest.raises(PicklingError, match="Item 2 ran, but its value or error cannot be read in the kernel"):
        job[2].result()


def test_of_an_error_that_cannot_be_sent_whole_the_rest_arrives_with_its_line():
    def work(x):
        error = ValueError("with a lock")
        error.lock = threading.Lock()
        raise error

    job = in_processes.map(work, [1])
    assert job.wait(120)
    error = job[0].exception()
    assert (type(error), str(error)) == (ValueError, "with a lock")
    assert "lock" in repr(error.lock)
    assert "raise error" in job.failure(0).traceback


# --- failures, prints -----------------------------------------------------------------------------------------------


def test_a_failure_tells_the_users_line_and_what_was_printed():
    def inner(x):
        print("looking at", x)
        print("careful", file=sys.stderr)
        return 1 / x

    job = in_processes.map(inner, [1, 0])
    assert job.wait(120)
    failure = job.failure(1)
    assert isinstance(job[1].exception(), ZeroDivisionError)
    assert "return 1 / x" in failure.traceback
    assert failure.input == {"x": 0}
    assert "test_processes.py:" in job.errors()["where"].tolist()[0]
    assert job[1].outcome.output == ("looking at 0\n", "careful\n")
    assert job[0].outcome.output == ("looking at 1\n", "careful\n")
    assert job[0].outcome.worker in {"process 1", "process 2"}
    assert job[0].outcome.task_run_id is not None
    with pytest.raises(ZeroDivisionError):
        failure.reproduce()


# --- the end of a process -------------------------------------------------------------------------------------------


def test_an_item_that_ends_its_process_fails_alone_though_it_shares_a_chunk_with_many_tiny_ones():
    def work(x):
        if x == 777:
            os._exit(3)
        return x

    job = in_processes.map(work, range(3000))
    assert job.wait(120)
    assert [one.index for one in job.outcomes() if one.kind.value != "completed"] == [777]
    with pytest.raises(WorkerDiedError, match="ran item 777 ended under it"):
        job[777].result()
    assert job[777].outcome.attempts == 1
    assert sum(job.values(default=0)) == sum(range(3000)) - 777


class Bomb:
    def __reduce__(self):
        os._exit(1)


def test_an_item_whose_value_ends_its_process_fails_alone():
    def work(x):
        time.sleep(0.01)
        return Bomb() if x == 3 else x

    job = in_processes.map(work, range(12))
    assert job.wait(120)
    assert [one.index for one in job.outcomes() if one.kind.value != "completed"] == [3]
    assert isinstance(job[3].exception(), WorkerDiedError)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_failures_keep_no_file_open():
    def marks():
        return [one for one in Path("/proc/self/fd").iterdir() if "nbfutures-mark" in os.path.realpath(one)]

    job = in_processes.options(batch=1).map(lambda x: 1 / 0, range(6))
    assert job.wait(120)
    assert job.counts.failed == 6
    eventually(lambda: not marks())


def test_coroutines_that_share_a_process_with_one_that_ends_it_complete():
    async def work(x):
        await asyncio.sleep(0.01)
        if x == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    job = in_processes.map(work, range(60))
    assert job.wait(120)
    assert [one.index for one in job.outcomes() if one.kind.value != "completed"] == [13]
    assert isinstance(job[13].exception(), WorkerDiedError)


def test_an_item_that_ended_its_process_is_tried_again_as_often_as_retries_say(gate):
    def work(x):
        tries = gate.note(x)
        if (x == 1 and tries < 3) or x == 2:
            os._exit(1)
        return tries

    job = in_processes.options(retries=2).map(work, range(4))
    assert job.wait(120)
    # What had just ended in the same process may have been lost with it: that runs again.
    assert job.values()[1:3] == [3, None]
    assert job.counts.completed == 3
    assert isinstance(job[2].exception(), WorkerDiedError)
    assert gate.came.count(2) == 3
    assert job[2].outcome.attempts == 3


def test_a_process_that_is_killed_from_outside_in_mid_run_is_replaced(gate):
    job = in_processes.map(lambda x: (gate(x), os.getpid())[1], range(6))
    gate.wait_for(2)
    workers = worker_pids()
    os.kill(workers[0], signal.SIGKILL)
    gate.wait_for(3)
    gate.open()
    assert job.wait(120)
    assert job.counts.failed == 1
    assert "ended under it" in str(next(one.error for one in job.outcomes() if one.error))
    assert in_processes.map(lambda x: x, range(5)).result(120) == list(range(5))


def worker_pids():
    """The processes that this one's workers run in."""
    return [
        process
        for one in [*pool._processes._free, *(holder for holder in _held())]
        for process in (one._executor._processes or {})
    ]


def _held():
    import gc

    return [one for one in gc.get_objects() if isinstance(one, pool.OneProcess) and one.tasks]


def test_a_warm_process_that_died_while_it_was_idle_is_not_missed():
    assert in_processes.map(lambda x: x, range(5)).result(120) == list(range(5))
    eventually(lambda: pool._processes._free and not _held())
    for number in worker_pids():
        os.kill(number, signal.SIGKILL)
    job = in_processes.map(lambda x: x, range(50))
    assert job.result(120) == list(range(50))


def test_processes_start_also_when_the_main_module_was_emptied(monkeypatch):
    """As IPython's `%reset` does."""
    monkeypatch.delattr(sys.modules["__main__"], "__spec__", raising=False)
    pool.close()
    assert in_processes.map(abs, [-1, 2]).result(120) == [1, 2]


def test_processes_that_cannot_start_end_the_job_and_say_what_to_do(monkeypatch):
    monkeypatch.setattr(pool, "start_worker", os.abort)
    pool.close()
    job = in_processes.map(abs, range(10))
    assert job.wait(120)
    with pytest.raises(JobCrashedError, match="__main__"):
        job.result()
    monkeypatch.undo()
    assert job.retry().result(120) == list(range(10))


# --- cancel, timeout ------------------------------------------------------------------------------------------------


def block_in_c(seconds):
    """Hold the interpreter's lock, so that neither a signal nor another thread has a chance."""
    ctypes.PyDLL(None).sleep(seconds)


def test_cancel_ends_what_runs_and_tells_it_as_cancelled(gate):
    block = block_in_c

    def work(x):
        gate.note(x)
        block(60)

    job = in_processes.map(work, range(100))
    gate.wait_for(2)
    pids = worker_pids()
    started = time.monotonic()
    job.cancel()
    assert job.wait(120)
    assert time.monotonic() - started < 5
    assert set(kinds_of(job)) == {"cancelled"}
    texts = [str(one.error) for one in job.outcomes()]
    assert sum("was stopped by the cancel while it ran" in text for text in texts) == 2
    eventually(lambda: not any(psutil.pid_exists(one) for one in pids))
    assert job.retry(lambda x: x).result(120) == list(range(100))


def test_what_ends_soon_after_a_cancel_is_kept(gate):
    job = in_processes.map(gate, range(50))
    gate.wait_for(2)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert job.counts.completed >= 2
    assert job.counts.completed + job.counts.cancelled == 50
    with pytest.raises(ItemCancelledError, match=r"job\.retry\(\)"):
        job[49].result()


@pytest.mark.parametrize("work", [block_in_c, time.sleep], ids=["in C", "interruptible"])
def test_an_item_that_runs_too_long_is_ended_and_the_others_complete(work):
    job = alone.options(timeout=0.3).map(lambda x, work: work(60) if x == 1 else x, range(5), nbf.unmapped(work))
    started = time.monotonic()
    assert job.wait(120)
    assert time.monotonic() - started < 15
    assert job.values() == [0, None, 2, 3, 4]
    assert isinstance(job[1].exception(), ItemTimeoutError)
    assert "0.3 s" in str(job[1].exception())


def test_a_slow_item_does_not_hold_back_those_behind_it(gate):
    job = in_processes.map(lambda x: gate(x) if x == 2 else x, range(40))
    eventually(lambda: job.counts.completed == 39)
    gate.open()
    assert job.result(120) == list(range(40))


# --- warm processes -------------------------------------------------------------------------------------------------


def test_a_second_job_runs_in_the_processes_of_the_first():
    first = in_processes.map(lambda x: (time.sleep(0.05), os.getpid())[1], range(20)).result(60)
    second = in_processes.map(lambda x: (time.sleep(0.05), os.getpid())[1], range(20)).result(60)
    assert len(set(first)) == 2
    assert set(second) == set(first)


def test_processes_have_random_numbers_of_their_own():
    def work(x):
        import random

        import numpy as np

        time.sleep(0.1)
        return os.getpid(), random.random(), float(np.random.default_rng().random()), float(np.random.rand())  # noqa: NPY002 - it is what may be shared

    pool.close()
    rows = in_processes.map(work, range(8)).result(120)
    assert len({row[0] for row in rows}) == 2
    assert all(len({row[column] for row in rows}) == 8 for column in (1, 2, 3))


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_a_prefect_task_runs_in_processes_and_is_observed_there():
    @task(retries=1)
    def work(x):
        print("task", x)
        if x == 0:
            raise ValueError("zero")
        return os.getpid()

    before = time.time()
    job = in_processes.map(work, range(3))
    assert job.wait(120)
    bad, good, _ = job.outcomes()
    assert kinds_of(job) == ["failed", "completed", "completed"]
    assert good.value != os.getpid()
    assert [one.attempts for one in (bad, good)] == [2, 1]
    assert good.output.stdout == "task 1\n"
    assert good.worker in {"process 1", "process 2"}
    assert before - 1 < good.queued <= good.started <= good.ended < time.time() + 1
    assert good.cpu_seconds is not None
    assert 'raise ValueError("zero")' in job.failure(0).traceback
    assert len({one.task_run_id for one in job.outcomes()}) == 3


def test_a_task_that_ends_its_process_fails_alone_and_cancel_stops_what_runs(gate):
    @task
    def work(x):
        gate.note(x)
        if x == 0:
            os._exit(1)
        if x > 1:
            time.sleep(60)
        return x

    job = alone.map(work, range(10))
    eventually(lambda: job.counts.settled == 2 and 2 in gate.came)
    assert kinds_of_settled(job) == ["failed", "completed"]
    assert isinstance(job[0].exception(), WorkerDiedError)
    started = time.monotonic()
    job.cancel()
    assert job.wait(120)
    assert time.monotonic() - started < 5
    assert kinds_of(job)[2:] == ["cancelled"] * 8
    assert "was stopped by the cancel while it ran" in str(job[2].exception())


def kinds_of_settled(job):
    return [one.kind.value for one in job.outcomes() if one is not None]


def test_what_a_task_cannot_be_sent_with_is_named():
    lock = threading.Lock()

    @task
    def uses_lock(x):
        return lock

    @task
    def same(x):
        return x

    @task
    def gives_lock(x):
        return threading.Lock()

    for fn, argument, told in (
        (uses_lock, 1, "variable 'lock' that uses_lock uses"),
        (same, lock, "argument 'x' of item 0"),
        (gives_lock, 1, "Item 0 ran, but its value cannot be sent back"),
    ):
        job = in_processes.map(fn, [argument])
        assert job.wait(120)
        with pytest.raises(PicklingError, match=told):
            job.result()


# --- more -----------------------------------------------------------------------------------------------------------


def test_an_item_may_start_a_job_of_its_own():
    def outer(x):
        return sum(nbf.options(workers=2).map(lambda y: x * y, range(4)).result(120))

    assert in_processes.map(outer, [1, 2]).result(120) == [6, 12]


def test_a_function_that_is_run_as_a_flow_has_its_tasks_in_processes():
    @task
    def where(x):
        return os.getpid()

    def both():
        return [future.result() for future in where.map([1, 2])]

    found = in_processes.run(both).result(240)
    assert os.getpid() not in found


def test_batches_are_task_runs():
    job = in_processes.options(batch=4).map(abs, range(10))
    assert job.result(120) == list(range(10))
    runs = [one.task_run_id for one in job.outcomes()]
    assert max(runs.count(one) for one in runs) <= 4
    assert len(set(runs)) >= 3


# --- the end of a kernel ----------------------------------------------------------------------------------------------

KERNEL = """
import os, signal, sys, time
import nbfutures as nbf
in_processes = nbf.options(runner="processes", workers=2)
job = in_processes.map(lambda x: (time.sleep(0.05), os.getpid())[1], range(8))
print(*set(job.result(240)), flush=True)
"""


def test_a_kernel_that_ends_leaves_no_process_and_says_nothing(start_kernel):
    kernel = start_kernel(KERNEL)
    workers = [int(one) for one in kernel.read().split()]
    status, _ = kernel.end()
    assert status == 0
    assert kernel.stderr == ""
    eventually(lambda: not any(map(psutil.pid_exists, workers)))


def test_a_kernel_that_is_killed_takes_its_workers_along(start_kernel):
    kernel = start_kernel(KERNEL + "in_processes.map(time.sleep, [100] * 4)\nsys.stdin.readline()")
    workers = [int(one) for one in kernel.read().split()]
    assert all(map(psutil.pid_exists, workers))
    kernel.kill()
    eventually(lambda: not any(map(psutil.pid_exists, workers)))


def test_an_interrupt_of_the_kernel_is_not_for_its_workers(start_kernel):
    kernel = start_kernel(
        KERNEL
        + """
job = in_processes.map(lambda x: (time.sleep(0.2), os.getpid())[1], range(8))
while not job.counts.running:
    time.sleep(0.01)
try:
    os.killpg(0, signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    pass
print(*set(job.result(240)), flush=True)
"""
    )
    workers = set(kernel.read().split())
    assert set(kernel.read().split()) == workers
    assert kernel.end()[0] == 0
    assert kernel.stderr == ""


def test_a_kernel_ends_also_when_a_process_died_while_it_held_the_lock_of_prefects_messages(start_kernel):
    kernel = start_kernel(
        KERNEL
        + """
def die(x):
    import gc, multiprocessing.queues
    for one in gc.get_objects():
        if isinstance(one, multiprocessing.queues.Queue):
            one._wlock.acquire()
    os._exit(1)

job = in_processes.map(die, [1])
print(job.wait(120), job.counts.failed, flush=True)
"""
    )
    kernel.read()
    assert kernel.read() == "True 1"
    assert kernel.end(30)[0] == 0
