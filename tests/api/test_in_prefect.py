"""What Prefect's interface shows of a job: its flow run, how that ended, its summary; and a cancel from there."""

from __future__ import annotations

import threading
import time

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.states import Cancelled, Cancelling
from tests.support import eventually

import nbfutures as nbf
from nbfutures.api import find_job
from nbfutures.engine.dispatcher import Dispatcher
from nbfutures.prefect.flow_runs import flow_watch
from nbfutures.prefect.flow_runs.summaries import flush_summaries


@pytest.fixture
def in_prefect(join):
    """Return the flow run of a job that is done, as Prefect has it."""

    def read(job):
        join()
        with get_client(sync_client=True) as client:
            return client.read_flow_run(job._run.flow_run_id)

    return read


@pytest.fixture
def summaries(join):
    """Return the artifacts below the flow runs of a job that is done."""

    def read(job):
        join()
        flush_summaries(30)
        asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=job._run.flow_run_ids))
        with get_client(sync_client=True) as client:
            # Prefect has some of its own, for results.
            return [one for one in client.read_artifacts(artifact_filter=asked) if one.type == "markdown"]

    return read


@pytest.fixture
def quick_watch(monkeypatch):
    monkeypatch.setattr(flow_watch, "WATCH_SECONDS", 0.1)


def cancel_in_prefect(job, state=None):
    """Do what the button in Prefect's interface does."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(job._run.flow_run_id, state or Cancelling())


def fails_at_two(x):
    if x == 2:
        raise ValueError("two")
    return x


def same(x):
    return x


# --- what the run is called -----------------------------------------------------------------------------------------


def test_a_job_is_a_flow_run_with_its_name_its_tags_and_its_parameters_in_short(in_prefect):
    def scale(x, factor, label, table):
        return x * factor

    job = nbf.options(tags=["blue", "green"], workers=3).map(scale, range(20), 2, "secret text", nbf.unmapped([1, 2]))
    assert job.wait(120)
    run = in_prefect(job)
    assert run.name == "scale"
    assert set(run.tags) == {"blue", "green"}
    assert {name: run.parameters[name] for name in ("function", "items", "arguments", "runner", "workers")} == {
        "function": "scale",
        "items": 20,
        "arguments": "x: 20 values; factor: 2; label: str of 11; table: list of 2",
        "runner": "threads",
        "workers": 3,
    }
    assert "secret" not in str(run.parameters)


def test_a_retry_is_a_flow_run_of_its_own_that_says_so(in_prefect):
    job = nbf.map(fails_at_two, range(4))
    assert job.wait(120)
    first = in_prefect(job)
    job.retry(same)
    assert job.wait(120)
    assert first.state.is_failed()
    again = in_prefect(job)
    assert again.name == "fails_at_two (retry 1)"
    assert again.state.message == "4 completed"
    assert job._run.flow_run_ids == [first.id, again.id]


def test_task_runs_have_names(in_prefect):
    @task(task_run_name="no {x}")
    def named(x):
        return x

    plain, tasks = nbf.map(abs, range(3)), nbf.map(named, range(3))
    assert plain.wait(120)
    assert tasks.wait(120)

    def names(job):
        asked = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[in_prefect(job).id]))
        with get_client(sync_client=True) as client:
            return sorted(one.name for one in client.read_task_runs(task_run_filter=asked))

    assert eventually(lambda: len(names(tasks)) == 3)
    assert names(tasks) == ["no 0", "no 1", "no 2"]
    assert eventually(lambda: names(plain))[0] == "abs 1"


# --- how it ended ---------------------------------------------------------------------------------------------------


def test_the_state_has_the_counts_in_its_message(in_prefect):
    good, bad = nbf.map(abs, range(5)), nbf.map(fails_at_two, range(5))
    assert good.wait(120)
    assert bad.wait(120)
    assert (in_prefect(good).state.type.value, in_prefect(good).state.message) == ("COMPLETED", "5 completed")
    assert (in_prefect(bad).state.type.value, in_prefect(bad).state.message) == ("FAILED", "4 completed, 1 failed")


def test_a_job_that_somebody_cancels_is_cancelled_also_where_items_failed_before(in_prefect, gate):
    def work(x):
        return fails_at_two(2) if x == 0 else gate(x)

    job = nbf.options(workers=1).map(work, range(10))
    gate.wait_for(1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    state = in_prefect(job).state
    assert (state.type.value, state.message) == ("CANCELLED", "1 completed, 1 failed, 8 cancelled")


def test_a_job_that_its_first_failure_stops_has_failed(in_prefect):
    job = nbf.options(workers=1, fail_fast=True).map(fails_at_two, range(10))
    assert job.wait(120)
    state = in_prefect(job).state
    assert (state.type.value, state.message) == ("FAILED", "2 completed, 1 failed, 7 cancelled")


def test_a_job_that_cannot_go_on_is_crashed(in_prefect, monkeypatch):
    def break_down(self, window):
        raise LookupError("lost")

    monkeypatch.setattr(Dispatcher, "_close_if_done", break_down)
    job = nbf.map(abs, range(3))
    assert job.wait(120)
    state = in_prefect(job).state
    assert state.type.value == "CRASHED"
    assert "LookupError: lost" in state.message


def test_a_flow_that_is_cancelled_is_cancelled_in_prefect(in_prefect, gate):
    step = task(gate.__call__)

    @flow
    def steps():
        for x in range(10):
            step.submit(x).result()

    job = nbf.run(steps)
    gate.wait_for(1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert in_prefect(job).state.is_cancelled()


# --- cancelled in Prefect -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_watch")
@pytest.mark.kinds("function", "async function", "task")
def test_a_cancel_in_prefect_cancels_the_job(kind, in_prefect, gate):
    job = nbf.options(workers=2, in_flight=2).map(kind.gated(gate), range(50))
    gate.wait_for(2)
    cancel_in_prefect(job)
    eventually(lambda: job.counts.cancelled == 48)
    gate.open()
    assert job.wait(120)
    assert job.counts.completed == 2
    assert "in Prefect" in str(job.outcomes()[-1].error)
    state = in_prefect(job).state
    assert (state.type.value, state.message) == ("CANCELLED", "2 completed, 48 cancelled")


@pytest.mark.usefixtures("quick_watch")
def test_a_job_whose_items_all_run_when_it_is_cancelled_in_prefect_does_not_stay_cancelling(in_prefect, gate):
    job = nbf.options(workers=2).map(gate, range(2))
    gate.wait_for(2)
    cancel_in_prefect(job)
    eventually(lambda: job.phase.value == "cancelling")
    gate.open()
    assert job.result(120) == [0, 1]
    assert in_prefect(job).state.is_cancelled()


def test_a_cancel_in_the_last_moment_does_not_leave_the_run_cancelling(in_prefect, gate):
    job = nbf.options(workers=1).map(gate, range(1))
    gate.wait_for(1)
    cancel_in_prefect(job)
    gate.open()
    assert job.result(120) == [0]
    assert in_prefect(job).state.is_cancelled()


@pytest.mark.usefixtures("quick_watch")
def test_a_flow_is_cancelled_from_prefect_too(in_prefect, gate):
    step = task(gate.__call__)

    @flow
    def steps():
        return [step.submit(x).result() for x in range(10)]

    job = nbf.run(steps)
    gate.wait_for(1)
    cancel_in_prefect(job)
    eventually(lambda: job.phase.value == "cancelling")
    gate.open()
    assert job.wait(120)
    assert gate.came == [0]
    assert in_prefect(job).state.is_cancelled()


@pytest.mark.usefixtures("quick_watch")
def test_a_job_that_was_cancelled_in_prefect_can_be_retried(in_prefect, gate):
    job = nbf.options(workers=1).map(gate, range(5))
    gate.wait_for(1)
    cancel_in_prefect(job, Cancelled())
    eventually(lambda: job.counts.cancelled == 4)
    gate.open()
    assert job.wait(120)
    assert in_prefect(job).state.is_cancelled()
    job.retry()
    assert job.result(120) == [0, 1, 2, 3, 4]
    assert in_prefect(job).state.is_completed()


@pytest.mark.usefixtures("quick_watch")
def test_other_jobs_go_on(gate):
    one, other = nbf.options(name="one").map(gate, range(2)), nbf.options(name="other").map(gate, range(2))
    gate.wait_for(4)
    cancel_in_prefect(one)
    eventually(lambda: one.phase.value == "cancelling")
    assert other.phase.value == "running"


@pytest.mark.usefixtures("quick_watch")
def test_all_running_jobs_are_asked_for_in_one_request(gate, requests_to_prefect):
    jobs = [nbf.options(name=f"job {number}").map(gate, range(1)) for number in range(4)]
    gate.wait_for(4)
    eventually(lambda: all(job._run.flow_run_id for job in jobs))
    requests_to_prefect.clear()
    eventually(lambda: sum("/flow_runs/filter" in one for one in requests_to_prefect) >= 2)
    asked = [one for one in requests_to_prefect if "/flow_runs/" in one]
    assert all("/flow_runs/filter" in one for one in asked)
    gate.open()
    assert all(job.wait(120) for job in jobs)
    eventually(lambda: "nbfutures flow runs" not in {thread.name for thread in threading.enumerate()})


# --- its summary ----------------------------------------------------------------------------------------------------


def test_a_job_leaves_a_summary_below_its_flow_run(summaries):
    job = nbf.map(fails_at_two, range(4))
    assert job.wait(120)
    [summary] = summaries(job)
    assert summary.type == "markdown"
    assert summary.key == "nbfutures-fails-at-two"
    assert "| completed | 3 | 75.0% |" in summary.data
    assert "| 1 | ValueError | two |" in summary.data
    assert summary.flow_run_id == job._run.flow_run_id


def test_each_retry_leaves_one_and_a_name_without_letters_is_no_trouble(summaries):
    job = nbf.options(name="《图》").map(fails_at_two, range(4))
    assert job.wait(120)
    job._run.thread.join(120)
    job.retry(same)
    assert job.wait(120)
    assert [one.key for one in summaries(job)] == ["nbfutures-job"] * 2


def test_a_flow_leaves_one_too(summaries):
    @flow
    def steps():
        task(same).map([1, 2]).result()

    job = nbf.run(steps)
    assert job.wait(120)
    [summary] = summaries(job)
    assert "| completed | 2 | 100.0% |" in summary.data


def test_a_dry_run_leaves_none(summaries):
    job = nbf.options(dry_run=True).map(abs, range(10))
    assert job.wait(120)
    assert summaries(job) == []


def test_a_summary_that_cannot_be_made_is_no_error_of_the_job(summaries):
    def fail():
        raise RuntimeError("no summary")

    job = nbf.map(abs, range(3))
    job._run.summarize = fail
    assert job.result(120) == [0, 1, 2]
    assert summaries(job) == []
    assert job.is_done


def test_the_summary_is_one_request(requests_to_prefect, join):
    flush_summaries(30)
    requests_to_prefect.clear()
    assert nbf.map(abs, range(3)).result(120) == [0, 1, 2]
    join()
    flush_summaries(30)
    assert sum("/artifacts/" in one for one in requests_to_prefect) == 1
    assert find_job("abs").is_done


def test_small_jobs_that_follow_one_another_do_not_wait_for_summaries(requests_to_prefect, summaries):
    flush_summaries(30)
    requests_to_prefect.clear()
    began = time.monotonic()
    jobs = [nbf.map(same, [number]) for number in range(3)]
    for job in jobs:
        assert job.wait(120)
    begun = [number for number, one in enumerate(requests_to_prefect) if "/flow_runs/ " in one and " 201 " in one]
    sent = [number for number, one in enumerate(requests_to_prefect) if "/artifacts/" in one]
    assert len(begun) == 3
    # On a machine that is this slow there was calm between the jobs, in which a summary may go.
    assert not sent or max(begun) < min(sent) or time.monotonic() - began > 0.5
    assert len(summaries(jobs[0])) == 1


def test_a_summary_comes_by_itself(join):
    job = nbf.map(same, [1])
    assert job.wait(120)
    join()
    asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=job._run.flow_run_ids))
    with get_client(sync_client=True) as client:
        assert eventually(lambda: client.read_artifacts(artifact_filter=asked))


# --- the kernel is killed ---------------------------------------------------------------------------------------------

KILLED = """
import time
import nbfutures as nbf

quick = nbf.map(abs, range(3))
quick.wait()
begun = nbf.map(time.sleep, [600])
while not begun.counts.running:
    time.sleep(0.05)
print(quick._run.flow_run_id, begun._run.flow_run_id, flush=True)
time.sleep(600)
"""


def test_the_run_of_a_kernel_that_was_killed_is_crashed(start_kernel):
    kernel = start_kernel(KILLED)
    quick, begun = kernel.read(240).split()
    kernel.kill()
    with get_client(sync_client=True) as client:
        eventually(lambda: client.read_flow_run(begun).state.is_crashed())  # noqa: PLW0108 - read anew each time
        assert client.read_flow_run(begun).state.message == "The kernel ended while the job ran."
        assert client.read_flow_run(quick).state.is_completed()
