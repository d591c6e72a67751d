"""Flows in the background, and futures that other code made: what runs in them is seen."""

# ruff: noqa: T201 - items print

from __future__ import annotations

import asyncio
import os
import sys
import threading

import prefect.futures
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.task_runners import ProcessPoolTaskRunner
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import MapArgumentsError, NbfuturesError


@task
def double(x):
    return 2 * x


@task
def invert(x):
    return 1 / x


def test_a_flow_runs_in_the_background_and_its_task_runs_are_seen(join):
    @flow(name="report")
    def report(n, offset=0):
        doubled = double.map(range(n))
        one = invert.submit(4)
        return sum(doubled.result()) + one.result() + offset

    job = nbf.run(report, 3, offset=10)
    assert job.result(120) == 16.25
    assert len(job) == 4
    table = job.frame()
    assert table["outcome"].tolist() == ["completed"] * 4
    assert table["value"].tolist() == [0, 2, 4, 0.25]
    assert "double" in table.loc[0, "input"]
    assert (table["started"] <= table["ended"]).all()
    assert [future.result() for future in job] == [0, 2, 4, 0.25]
    join()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(job._run.flow_run_id)
    assert run.state.is_completed()
    assert run.name == "report"


def test_an_async_flow_runs_in_the_background():
    @task
    async def slow(x):
        await asyncio.sleep(0.01)
        return x

    @flow
    async def collect(n):
        futures = [slow.submit(x) for x in range(n)]
        await asyncio.sleep(0)
        return [future.result() for future in futures]

    job = nbf.run(collect, 3)
    assert job.result(120) == [0, 1, 2]
    assert job.values() == [0, 1, 2]


def test_a_function_becomes_a_flow():
    def collect(n):
        return prefect.futures.wait(double.map(range(n))).done

    job = nbf.options(name="collected").run(collect, 3)
    assert job.result(120) == {0, 2, 4}
    assert job.name == "collected"
    assert len(job) == 3


def test_a_flow_without_task_runs_has_a_result():
    job = nbf.run(flow(lambda: None, name="nothing"))
    assert job.result(120) is None
    assert len(job) == 0
    assert job.is_done


def test_a_flow_that_raises_gives_its_error_and_keeps_its_task_runs():
    @flow
    def fails():
        first = double.submit(1).result()
        raise LookupError(f"after {first}")

    job = nbf.run(fails)
    with pytest.raises(LookupError, match="after 2"):
        job.result(120)
    assert job.is_done
    assert job.values() == [2]
    assert "LookupError: after 2" in job.snapshot.note


def test_a_task_run_that_fails_is_data_if_the_flow_goes_on():
    @flow
    def survives():
        states = [invert.submit(x, return_state=True) for x in (1, 0)]
        return [state.is_completed() for state in states]

    job = nbf.run(survives)
    assert job.result(120) == [True, False]
    assert [one.kind.value for one in job.outcomes()] == ["completed", "failed"]
    assert isinstance(job[1].exception(), ZeroDivisionError)
    assert "return 1 / x" in job.failure(1).traceback


def test_task_runs_of_a_flow_print_into_their_own_output(capsys):
    @task
    def talk(x):
        print("talking", x)

    @flow
    def talks():
        talk.map([1, 2]).wait()

    job = nbf.run(talks)
    assert job.wait(120)
    assert [one.output.stdout for one in job.outcomes()] == ["talking 1\n", "talking 2\n"]
    assert "talking" not in capsys.readouterr().out


def test_what_depends_on_a_failure_in_a_flow_is_skipped():
    @flow
    def chain():
        return double.submit(invert.submit(0), return_state=True).name

    job = nbf.run(chain)
    assert job.wait(120)
    assert [one.kind.value for one in job.outcomes()] == ["failed", "skipped"]


def test_a_cancelled_flow_starts_nothing_more(gate):
    @task
    def work(x):
        return gate(x)

    after = []

    @flow(task_runner=prefect.task_runners.ThreadPoolTaskRunner(max_workers=1))
    def many():
        futures = work.map(range(5))
        prefect.futures.wait(futures[:1])
        after.append("reached")
        work.submit(5)
        after.append("not reached")

    job = nbf.run(many)
    gate.wait_for(1)
    eventually(lambda: len(job) == 5)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert after == ["reached"]
    assert gate.came == [0]
    assert [one.kind.value for one in job.outcomes()] == ["completed"] + ["cancelled"] * 4
    with pytest.raises(NbfuturesError, match="cancelled"):
        job.result()


@pytest.mark.parametrize(
    ("target", "args", "message"),
    [
        (double, (), r"'double' is a Prefect task; run\(\) takes a flow"),
        (7, (), r"must be a Prefect flow or a function, got int\. Write run\(my_flow, \.\.\.\)"),
        (flow(lambda x: x, name="f"), (1, 2), "cannot be called like that"),
    ],
)
def test_what_is_no_flow_or_does_not_fit_is_refused(target, args, message, jobs):
    with pytest.raises(MapArgumentsError, match=message):
        nbf.run(target, *args)
    assert jobs == []


# --- track ------------------------------------------------------------------------------------------------------------


def in_a_flow(body):
    """Call a function inside a flow run of its own, in another thread."""
    made = []

    @flow(name="elsewhere")
    def elsewhere():
        made.append(body())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(120)
    return made[0]


def test_futures_that_other_code_made_are_followed_to_their_end(gate):
    @task
    def work(x):
        return 1 / gate(x)

    def body():
        job = nbf.options(name="theirs").track(work.map([1, 2, 0]))
        gate.wait_for(3)
        eventually(lambda: len(job) == 3)
        assert job.counts.settled == 0
        gate.open()
        assert job.wait(120)
        return job

    job = in_a_flow(body)
    assert job.name == "theirs"
    assert [one.kind.value for one in job.outcomes()] == ["completed", "completed", "failed"]
    assert job.values() == [1.0, 0.5, None]
    assert isinstance(job[2].exception(), ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        job.result()


def test_futures_of_a_job_can_be_tracked_too():
    first = nbf.map(abs, [-1, -2])
    assert nbf.track([first[1], first[0]]).result(120) == [2, 1]


def test_tracking_nothing_is_done_at_once():
    job = nbf.track([])
    assert job.wait(120)
    assert job.result() == []


@pytest.mark.parametrize("what", [3, "text", [1, 2], None])
def test_tracking_what_is_no_future_is_refused(what):
    with pytest.raises(MapArgumentsError, match=r"track\(\) takes Prefect futures"):
        nbf.track(what)


# --- both -------------------------------------------------------------------------------------------------------------


def test_task_runs_that_other_code_made_cannot_be_retried():
    @flow
    def fails():
        return invert.submit(0, return_state=True)

    for job in (nbf.run(fails), nbf.track([nbf.map(abs, [-1])[0]])):
        assert job.wait(120)
        with pytest.raises(NbfuturesError, match=r"cannot be run again one by one.*nbf\.run\(flow"):
            job.retry()
        assert job.is_done


def test_a_parent_fans_batches_out_each_a_subflow_on_a_process_pool(monkeypatch):
    # As `%reset` leaves it, which Prefect's own process pools do not expect.
    monkeypatch.delattr(sys.modules["__main__"], "__spec__", raising=False)

    @task
    def cpu_bound(x):
        return x * x, os.getpid()

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def local_parallel(batch):
        return [future.result() for future in [cpu_bound.submit(x) for x in batch]]

    @task
    def run_batch(batch):
        return local_parallel(batch)

    @flow
    def parent(batches):
        futures = [run_batch.with_options(name=f"batch-{i}").submit(batch) for i, batch in enumerate(batches)]
        return [item for future in futures for item in future.result()]

    job = nbf.run(parent, [[1, 2], [3, 4]])
    pairs = job.result(240)
    assert [value for value, _ in pairs] == [1, 4, 9, 16]
    assert os.getpid() not in {pid for _, pid in pairs}
    table = job.frame()
    assert sorted(table["input"].astype(str))[:2] == ["task='batch-0', batch=[1, 2]", "task='batch-1', batch=[3, 4]"]
    inner = table[table["input"].astype(str).str.contains("cpu_bound")]
    assert sorted(value for value, _ in inner["value"]) == [1, 4, 9, 16]
    # What runs in the processes of the flow's own pools is seen there.
    assert (inner["started"] < inner["ended"]).all()
    assert set(inner["worker"]) == {f"process {pid}" for _, pid in pairs}
    assert len(table) == 6
