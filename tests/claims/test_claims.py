"""Claims that a user can check. Each comes from a complaint about a program of the same kind.

5, 6, 8, 11 and 15 are about notebooks and what a browser shows; their tests are with these. Of 14, Dask is to come.
"""

# ruff: noqa: T201 - items print

from __future__ import annotations

import os
import sys
import time

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from tests.support import eventually

import nbfutures as nbf


def test_1_a_failing_item_does_not_stop_the_count():
    """60 items, item 5 fails: the bar reaches 60/60 with 1 failed."""

    def work(x):
        if x == 5:
            raise ValueError("five")
        return x

    job = nbf.options(workers=4).map(work, range(60))
    assert job.wait(120)
    assert job.snapshot.counts.settled == 60
    assert (job.counts.completed, job.counts.failed) == (59, 1)
    assert "1 of 60 failed" in repr(job)


def test_2_a_slow_first_item_does_not_hold_back_the_count(gate):
    """Item 0 takes 5 s, the others 10 ms: the count moves at once."""

    def work(x):
        if x == 0:
            return gate(x)
        time.sleep(0.01)
        return x

    job = nbf.options(workers=2).map(work, range(40))
    seen = set()
    eventually(lambda: seen.add(job.snapshot.counts.completed) or job.snapshot.counts.completed == 39, interval=0.02)
    assert len(seen) > 5, "the count moved in steps, while item 0 was running"
    assert gate.inside == 1
    gate.open()
    assert job.result(120) == list(range(40))


@pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])
def test_4_a_cancelled_job_is_idle_after_one_items_time(make, gate):
    """Cancel with 1,000 items queued: the pool is idle within one item's time, and all are accounted for."""

    def work(x):
        if x == 1:
            raise ValueError("one")
        return gate(x)

    job = nbf.options(workers=4).map(make(work), range(1000))
    gate.wait_for(4)
    eventually(lambda: job.counts.failed == 1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert sorted(gate.came) == [0, 2, 3, 4]
    counts = job.counts
    assert (counts.completed, counts.failed, counts.cancelled) == (4, 1, 995)
    assert (job.frame()["outcome"] == "cancelled").sum() == 995


def test_7_what_an_item_prints_is_found_with_the_item_and_nowhere_else(gate, capsys):
    """What an item prints never lands in another cell; it is found with its item."""

    def work(x):
        print("before", x)
        gate(x)
        print("after", x, file=sys.stderr)
        if x == 2:
            raise ValueError("two")

    job = nbf.options(workers=3).map(work, range(3))
    gate.wait_for(3)
    print("another cell")
    gate.open()
    assert job.wait(120)
    print("a later cell")
    assert capsys.readouterr() == ("another cell\na later cell\n", "")
    for x, outcome in enumerate(job.outcomes()):
        assert outcome.output == (f"before {x}\n", f"after {x}\n")
    assert "before 2" in repr(job.failure(2))


def test_9_ten_thousand_small_items_are_few_task_runs_and_each_failure_its_own_row():
    """10,000 no-op items with batching: seconds, and each failure is still its own row."""

    def work(x):
        if x % 1000 == 7:
            raise ValueError(f"bad {x}")
        return x

    job = nbf.options(workers=2).map(work, range(10_000))
    assert job.wait(120)
    failed = job.failed
    assert failed.index.tolist() == list(range(7, 10_000, 1000))
    assert failed["message"].tolist() == [f"bad {x}" for x in range(7, 10_000, 1000)]
    assert failed["input"].tolist() == [str(x) for x in range(7, 10_000, 1000)]
    assert job.errors()["count"].tolist() == [10]
    assert len({one.task_run_id for one in job.outcomes()}) < 100
    one_by_one = nbf.options(workers=2).map(task(lambda x: x), range(100))
    assert one_by_one.wait(120)
    assert job.snapshot.rate > 5 * one_by_one.snapshot.rate


DISTURBED = """
import sys, time
import nbfutures as nbf

def work(x):
    time.sleep(0.1)
    return x * x

def read_note(job, trouble):
    while trouble not in job.snapshot.note:
        time.sleep(0.01)
    return job.snapshot.note

for mode in sys.stdin:
    # What was asked in the moment of the change is told as "cut off" first.
    trouble = {"busy": "HTTP 503", "stall": "timed out"}[mode.strip()]
    job = nbf.options(workers=2).map(work, range(40))
    next(job.as_completed())
    print("running", flush=True)
    print(read_note(job, trouble), flush=True)
    print(job.wait(120), job.result() == [x * x for x in range(40)], flush=True)

    job = nbf.map(work, range(4))
    read_note(job, trouble)
    print("another", job.counts.waiting, flush=True)
    print(job.result(120), repr(job.snapshot.note), flush=True)
"""


def test_10_when_prefect_is_slow_or_busy_the_job_says_so_and_goes_on(proxy, server, start_kernel):
    """The Prefect server is slow or answers 503: it says so within a second; no item is lost."""
    kernel = start_kernel(DISTURBED, PREFECT_API_URL=proxy.api_url, PREFECT_API_AUTH_STRING=server.lease.address.auth)
    for mode in ("busy", "stall"):
        kernel.say(mode)
        assert kernel.read() == "running"
        proxy.switch(mode)
        switched = time.monotonic()
        assert "not answering" in kernel.read()
        assert time.monotonic() - switched < 60
        assert kernel.read() == "True True", "all items have ended with the right values, with Prefect still away"
        assert kernel.read() == "another 4", "what is submitted meanwhile waits and says so, too"
        proxy.switch("pass")
        assert kernel.read() == "[0, 1, 4, 9] ''"
    assert kernel.end() == (0, [])
    assert kernel.stderr == ""


INTERRUPTED = """
import os, signal, sys, threading, time
import nbfutures as nbf

def interrupt_when_waiting():
    "A real signal, as soon as the main thread is blocked in nbfutures."
    main = threading.main_thread().ident
    while True:
        frame = sys._current_frames()[main]
        while frame is not None:
            if frame.f_globals.get("__name__") == "nbfutures.engine.job_waiting":
                os.kill(os.getpid(), signal.SIGINT)
                return
            frame = frame.f_back
        time.sleep(0.005)

def work(x):
    time.sleep(0.1)
    return x

for how in ("wait", "result"):
    job = nbf.options(workers=2).map(work, range(300))
    while job.counts.completed < 2:
        time.sleep(0.005)
    threading.Thread(target=interrupt_when_waiting).start()
    try:
        getattr(job, how)()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(job.wait(120), job.counts.completed >= 2, job.counts.cancelled > 200, job.counts.settled, flush=True)
    print(job.outcomes()[-1].error, flush=True)
print(nbf.map(work, range(3)).result(120), flush=True)
print(len(job.retry(lambda x: -x).result(120)), min(job.values()), flush=True)
"""


def test_12_an_interrupted_cell_leaves_partial_results_and_a_kernel_that_works(start_kernel):
    """Interrupting a blocked cell cancels what waits and leaves a usable kernel and partial results."""
    kernel = start_kernel(INTERRUPTED)
    for _ in ("wait", "result"):
        assert kernel.read() == "interrupted"
        assert kernel.read() == "True True True 300"
        assert kernel.read() == "Cancelled by an interrupt. Run it with job.retry()."
    assert kernel.read() == "[0, 1, 2]"
    assert kernel.read() == "300 -299"
    assert kernel.end() == (0, [])
    assert kernel.stderr == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_13_a_parent_that_maps_children_on_a_small_pool_ends(workers):
    """A parent task that maps child tasks on a small pool ends (no deadlock)."""

    @task
    def child(x):
        return x + 1

    @task
    def parent(x):
        return sum(child.map(range(x)).result())

    @task
    def grandparent(x):
        return parent.submit(x).result()

    assert nbf.options(workers=workers).map(grandparent, [1, 2, 3, 4]).result(120) == [1, 3, 6, 10]


SCRIPT = """
import builtins, time
import nbfutures as nbf
from prefect import task

del builtins.__IPYTHON__  # a script, no notebook

def square(x):
    time.sleep(0.02)
    return x * x

jobs = [nbf.map(square, range(50)), nbf.map(task(square), range(5))]
while not all(job.url for job in jobs):
    time.sleep(0.01)
print(*[job._run.flow_run_id for job in jobs], flush=True)
"""

NOTEBOOK = """
import sys, time
import nbfutures as nbf

job = nbf.options(workers=2).map(lambda x: time.sleep(0.2), range(1000))
while not job.counts.completed:
    time.sleep(0.01)
print(job._run.flow_run_id, flush=True)
sys.stdin.readline()
"""


def test_16_kernels_share_a_server_and_one_that_leaves_does_not_disturb_the_others(gate, start_kernel):
    """Two notebooks at once share one Prefect server; closing one does not disturb the other."""
    script, notebook = start_kernel(SCRIPT), start_kernel(NOTEBOOK)
    mine = nbf.options(workers=2).map(gate, range(10))
    gate.wait_for(2)

    cancelled = notebook.read()
    completed, of_tasks = script.read().split()
    assert script.end() == (0, []), "a script ends when its work does"
    notebook.say()
    assert notebook.end() == (0, []), "a notebook that is closed cancels what waits"
    assert (script.stderr, notebook.stderr) == ("", "")

    # What they did is recorded to the end, though they left at once.
    with get_client(sync_client=True) as client:

        def states(flow_run_id, least):
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_run_id]}))
            final = [run.state for run in runs if run.state and run.state.is_final()]
            return final if len(final) == len(runs) >= least else None

        assert client.read_flow_run(completed).state.message == "50 completed"
        assert client.read_flow_run(of_tasks).state.is_completed()
        assert client.read_flow_run(cancelled).state.is_cancelled()
        assert eventually(lambda: states(completed, 1))
        assert len(eventually(lambda: states(of_tasks, 5))) == 5
        assert eventually(lambda: states(cancelled, 1))

    gate.open()
    assert mine.result(120) == list(range(10))
    assert nbf.map(abs, [-1]).result(120) == [1]


def test_14_what_a_notebook_defines_works_in_processes_with_nothing_copied_to_a_file():
    """`map` over a function, with a class, a global and an import of the notebook's, in other processes."""
    cell = {"__name__": "__main__"}
    exec(
        """
import os, statistics
FACTOR = 3

class Reading:
    def __init__(self, x):
        self.x = x

def work(x):
    return Reading(statistics.mean([x, x]) * FACTOR), os.getpid()
""",
        cell,
    )
    rows = nbf.options(runner="processes").map(cell["work"], range(4)).result(240)
    assert [reading.x for reading, _ in rows] == [0, 3, 6, 9]
    assert all(type(reading) is cell["Reading"] for reading, _ in rows)
    assert os.getpid() not in {pid for _, pid in rows}
