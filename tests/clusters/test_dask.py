"""Jobs on Dask: what is particular to it. What holds for every runner is in tests/api/test_runners.py."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack

import dask
import distributed
import pytest
from prefect import task
from tests.clusters.conftest import hanging, python, started, told
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import (
    ClusterUnreachableError,
    InvalidOptionError,
    ItemTimeoutError,
    PicklingError,
    WorkerDiedError,
)

on_dask = nbf.options(runner="dask", workers=2)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """A scheduler with two workers, each a process of its own that nobody starts again; its address."""
    place = tmp_path_factory.mktemp("dask")
    with ExitStack() as stack:
        log = place / "scheduler.log"
        command = python("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        process = stack.enter_context(started(*command, log=log))
        address = told(log, r"Scheduler at:\s+(tcp://\S+)", process)[1]
        for number in range(2):
            worker = python("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
            stack.enter_context(started(*worker, log=place / f"worker{number}.log"))
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield address


def test_a_worker_that_is_killed_in_mid_run_costs_no_item(scheduler, gate):
    place = gate

    def work(x):
        place(x)
        return x, os.getpid()

    job = nbf.options(runner="dask", address=scheduler).map(work, range(20))
    gate.wait_for(2)
    with distributed.Client(scheduler, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())
    os.kill(pids[0], signal.SIGKILL)
    gate.open()
    assert job.wait(240)
    assert [value for value, _ in job.result()] == list(range(20))
    assert {pid for _, pid in job.result()} <= set(pids)
    # Prefect's own tasks go on too, on the worker that is left.
    assert nbf.options(runner="dask", address=scheduler).map(task(lambda x: x + 1), range(3)).result(240) == [1, 2, 3]


def test_a_job_asks_for_as_many_workers_as_the_cluster_has_and_a_client_tells_where_it_is(scheduler, gate):
    place = gate
    with distributed.Client(scheduler, set_as_default=False) as client:
        workers = len(client.nthreads())
        job = nbf.options(runner="dask", address=client).map(lambda x: (place(x), os.getpid())[1], range(50))
        # A worker that has an item leaves the next one to the others.
        gate.wait_for(workers)
        gate.open()
        assert set(job.result(120)) <= set(client.run(os.getpid).values())
        assert job.frame()["worker"].nunique() == workers


def test_items_that_run_too_long_hold_up_no_other_on_a_cluster_of_somebody_elses(scheduler):
    job = nbf.options(runner="dask", address=scheduler, timeout=0.3).map(
        lambda x: time.sleep(2 if x in (5, 15) else 0.01) or x, range(60)
    )
    # A worker hears nothing for 60 s before it takes the kernel for gone.
    assert job.wait(45)
    assert [one.index for one in job.outcomes() if one.kind.value != "completed"] == [5, 15]


def test_the_notebooks_own_client_is_used_where_there_is_one(scheduler):
    with distributed.Client(scheduler) as client:
        pids = set(client.run(os.getpid).values())
        assert set(nbf.options(runner="dask").map(lambda x: os.getpid(), range(20)).result(120)) <= pids


def test_an_address_at_which_nobody_answers_ends_the_job_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr("nbfutures.prefect.runners.dask._CONNECT_SECONDS", 0.5)
    job = nbf.options(runner="dask", address="tcp://127.0.0.1:9").map(abs, range(3))
    assert job.wait(120)
    with pytest.raises(ClusterUnreachableError, match=r"No Dask scheduler answers at tcp://127.0.0.1:9.*leave address"):
        raise job[0].exception().__cause__ or job[0].exception()
    with pytest.raises(InvalidOptionError, match="address is for the runners dask and ray"):
        nbf.options(address="tcp://127.0.0.1:9").map(abs, range(3))


def test_a_runner_that_is_not_installed_is_told_at_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"%pip install 'nbfutures\[dask\]'"):
        on_dask.map(abs, range(3))


# --- a cluster of this machine --------------------------------------------------------------------------------------


def test_the_second_job_runs_in_the_workers_of_the_first_and_the_card_leads_to_the_dashboard(gate):
    place = gate
    first = on_dask.map(lambda x: (place(x), os.getpid())[1], range(2))
    gate.wait_for(2)
    gate.open()
    assert len(set(first.result(120))) == 2
    second = on_dask.map(lambda x: os.getpid(), range(50))
    assert set(second.result(120)) <= set(first.result())
    address = dict(second._run.state.links)["Dask dashboard"]
    assert address.startswith("http://127.0.0.1:")


def test_a_task_that_cannot_be_sent_is_named_and_the_others_complete():
    job = on_dask.map(task(lambda x: x, name="same"), [1, threading.Lock(), 3])
    assert job.wait(120)
    assert job.values() == [1, None, 3]
    with pytest.raises(PicklingError, match="argument 'x' of item 1"):
        job[1].result()


def test_cancel_ends_what_runs(gate):
    job = on_dask.map(hanging(gate), range(100))
    gate.wait_for(2)
    started = time.monotonic()
    job.cancel()
    assert job.wait(120)
    assert time.monotonic() - started < 10
    assert job.counts.cancelled == 100
    assert on_dask.map(lambda x: x, range(10)).result(120) == list(range(10))


def test_an_item_that_runs_too_long_is_ended_and_the_others_complete():
    job = on_dask.options(timeout=0.3).map(lambda x: time.sleep(60) if x == 1 else x, range(5))
    assert job.wait(120)
    assert job.values() == [0, None, 2, 3, 4]
    assert isinstance(job[1].exception(), ItemTimeoutError)


def test_an_item_that_ends_its_worker_again_and_again_fails_alone(gate):
    place = gate

    def work(x):
        if x == 7:
            place.note(x)
            os._exit(1)
        return x

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        job = on_dask.map(work, range(20))
        assert job.wait(240)
    assert [one.index for one in job.outcomes() if one.kind.value != "completed"] == [7]
    with pytest.raises(WorkerDiedError, match="The Dask worker that ran item 7 ended under it"):
        job[7].result()
    # Dask says that a worker died, not of which item: another of the chunk may have been blamed first.
    assert 2 <= len(gate.came) <= 4


def test_an_argument_that_cannot_be_sent_fails_its_item_and_no_other():
    job = on_dask.map(str, [1, threading.Lock(), 3])
    assert job.wait(120)
    assert job.values() == ["1", None, "3"]
    assert "argument" in str(job[1].exception())


def test_a_job_that_finds_no_worker_says_that_it_waits(tmp_path):
    log = tmp_path / "scheduler.log"
    command = python("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    with started(*command, log=log) as process:
        address = told(log, r"Scheduler at:\s+(tcp://\S+)", process)[1]
        job = nbf.options(runner="dask", address=address, workers=1).map(abs, range(3))
        eventually(lambda: job._run.state.note == "waiting for a free Dask worker")
        worker = python("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        with started(*worker, log=tmp_path / "worker.log"):
            assert job.result(240) == [0, 1, 2]
        assert job._run.state.note == ""
