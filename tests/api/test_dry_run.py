"""`dry_run=True` runs three items and says how all of them would run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect import task
from tests.support import holds_for

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, NbfuturesError

DRY = nbf.options(dry_run=True)


def compute(x):
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass
    return x


def wait_a_little(x):
    time.sleep(0.03)
    return x


def ended(job):
    assert job.wait(120)
    return job.dry_run


def test_only_the_first_the_middle_and_the_last_item_run(kind):
    ran = []
    job = DRY.map(kind(lambda x: ran.append(x) or x * x), range(101))
    report = ended(job)
    assert ran == [0, 50, 100]
    assert job.result() == [0, 2_500, 10_000]
    assert [job[index].result() for index in range(3)] == job.values()
    assert [item.position for item in report.items] == [0, 50, 100]
    assert report.total == 101
    assert "Only 3 of 101 items ran" in repr(job)
    assert all(item.cpu_seconds is not None for item in report.items)


@pytest.mark.parametrize("total", [0, 1, 2, 3])
def test_of_a_few_items_all_run(total):
    job = DRY.map(wait_a_little, range(total))
    assert ended(job).total == total
    assert job.result() == list(range(total))


def test_items_run_one_after_the_other_whatever_the_options_say(gate):
    job = nbf.options(dry_run=True, workers=4, runner="processes", in_flight=10).map(gate, range(10))
    gate.wait_for(1)
    with pytest.raises(NbfuturesError, match=r"job.wait\(\)"):
        _ = job.dry_run
    assert holds_for(lambda: gate.inside == 1, 0.3)
    gate.open()
    report = ended(job)
    assert gate.most == 1
    assert report.plan.at_once == {"threads": 4, "processes": 4}


def test_an_ordinary_job_has_no_report():
    job = nbf.map(wait_a_little, range(3))
    assert job.dry_run is None
    assert job.wait(120)
    assert job.dry_run is None
    assert "Use runner" not in repr(job)


@pytest.mark.kinds("function", "task")
def test_items_that_compute_go_to_processes(kind):
    report = ended(nbf.options(dry_run=True, workers=4).map(kind(compute), range(100_000)))
    assert report.cpu_share > 0.7
    assert report.is_picklable
    # On a machine with one CPU there is nothing to gain.
    assert report.runner == ("processes" if report.plan.cpus > 1 else "threads")


def test_items_that_wait_go_to_threads(kind):
    if kind.is_async:

        async def wait(x):
            await asyncio.sleep(0.03)
            return x

        work = task(wait) if kind.is_task else wait
    else:
        work = kind(wait_a_little)
    report = ended(DRY.map(work, range(1_000)))
    assert report.cpu_share < 0.5
    assert report.runner == "threads"
    assert report.expected["threads"] < report.expected["inline"]


def test_coroutines_run_many_at_once_in_one_thread():
    async def wait(x):
        await asyncio.sleep(0.01)

    report = ended(DRY.options(in_flight=50).map(wait, range(1_000)))
    assert report.plan.at_once["threads"] == 50
    assert report.plan.is_async


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("work", "items", "statics", "named"),
    [
        (lambda x: LOCK.locked(), range(10), {}, "variable 'LOCK' that"),
        (lambda x: 1, [1, 2, threading.Lock()], {}, "argument 'x' of item 2"),
        (lambda x, lock: 1, range(10), {"lock": threading.Lock()}, "argument 'lock' of"),
        (lambda x: threading.Lock(), range(10), {}, r"value (lock)"),
    ],
    ids=["variable", "argument", "static", "value"],
)
def test_what_cannot_be_pickled_is_named_and_threads_are_recommended(monkeypatch, work, items, statics, named):
    # As a function of a notebook, which is sent by value.
    monkeypatch.setattr(work, "__module__", "__main__")
    report = ended(job := DRY.map(work, items, **statics))
    assert not report.is_picklable
    assert named in report.obstacle
    assert "retry" not in report.obstacle
    assert report.runner == "threads"
    assert "processes" not in report.expected
    assert named in repr(job)


def test_an_item_that_computes_does_so_also_where_no_cpu_is_free():
    if not Path("/proc/thread-self/schedstat").exists():
        pytest.skip("only Linux tells how long a thread waited for a CPU")
    code = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        report = ended(DRY.map(compute, range(100)))
    finally:
        for one in others:
            one.kill()
            one.wait()
    assert report.cpu_share > 0.7


def test_large_arguments_and_values_are_told_and_not_pickled_whole():
    large = bytes(200_000_000)
    started = time.monotonic()
    report = ended(job := DRY.map(lambda x: large, range(10)))
    assert not report.sending.is_whole
    assert "more than" in repr(job)
    assert time.monotonic() - started < 20


def test_small_arguments_and_values_are_not_worth_a_word():
    job = DRY.map(len, ["a"] * 10)
    assert 0 < ended(job).sending.bytes < 1_000
    assert "MB" not in repr(job)


def test_what_failed_is_counted_and_a_retry_makes_the_report_anew():
    job = nbf.options(dry_run=True, fail_fast=True).map(lambda x: 1 / x, range(10))
    report = ended(job)
    assert job.counts.failed == 1
    assert job.counts.completed == 2
    assert report.failed == 1
    assert "1 failed: the times come from the rest" in repr(job)
    job.retry(lambda x: x)
    assert ended(job).failed == 0


def test_a_sample_that_fails_as_a_whole_predicts_nothing():
    def fail(x):
        raise ValueError(x)

    job = DRY.map(fail, range(10))
    report = ended(job)
    assert report.runner is None
    assert report.expected == {}
    assert "No prediction: all 3 items that ran failed" in repr(job)


def test_a_cancelled_dry_run_predicts_nothing(gate):
    job = DRY.map(gate, range(10))
    gate.wait_for(1)
    job.cancel()
    gate.open()
    report = ended(job)
    assert job.counts.cancelled == 2
    assert len(report.completed) == 1


def test_a_single_call_runs():
    job = DRY.submit(divmod, 7, 2)
    assert ended(job).total == 1
    assert job.result() == (3, 1)


def test_items_whose_number_another_job_decides_are_sampled_too():
    inputs = nbf.submit(lambda: list(range(50)))
    job = DRY.map(wait_a_little, inputs)
    assert ended(job).total == 50
    assert job.result() == [0, 24, 49]


def test_items_that_are_futures_wait_for_their_own_only(gate):
    upstream = nbf.options(workers=6).map(lambda x: gate(x) if x == 1 else x, range(5))
    job = DRY.map(wait_a_little, upstream)
    assert ended(job).total == 5
    assert job.result() == [0, 2, 4]
    gate.open()
    assert upstream.wait(120)


def test_a_flow_has_no_dry_run_and_says_what_to_do_instead():
    with pytest.raises(InvalidOptionError, match=r"dry_run=True\).map\(task"):
        DRY.run(lambda: 1)
    assert nbf.options(dry_run=False).run(lambda: 1).result(120) == 1


def test_the_name_says_that_it_is_a_dry_run():
    job = nbf.options(dry_run=True, name="parse").map(len, ["a"])
    assert job.name == "parse (dry run)"
    assert job.wait(120)
