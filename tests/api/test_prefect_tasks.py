"""A Prefect task keeps its own settings when a job calls it."""

from __future__ import annotations

from uuid import uuid4

from prefect import allow_failure, flow, task
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import ItemTimeoutError
from nbfutures.model.outcome import OutcomeKind


def recorded_task_runs(job, count):
    """The task runs of a job as the server knows them: it records them up to a second late."""
    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter(id={"any_": [job._run.flow_run_id]})

        def final():
            runs = client.read_task_runs(flow_run_filter=wanted)
            return runs if len(runs) == count and all(run.state and run.state.is_final() for run in runs) else None

        return eventually(final)


def test_a_task_retries_as_it_says_and_the_job_may_say_otherwise():
    calls = []

    @task(retries=1)
    def work(x):
        calls.append(x)
        raise ValueError(x)

    assert nbf.map(work, [1]).wait(120)
    assert len(calls) == 2
    job = nbf.options(retries=0).map(work, [1])
    assert job.wait(120)
    assert len(calls) == 3
    assert job[0].outcome.attempts == 1


def test_a_tasks_own_timeout_holds():
    @task(timeout_seconds=0.2)
    def work(x):
        while x:
            pass
        return x

    job = nbf.map(work, [0, 1])
    assert job.wait(120)
    assert isinstance(job[1].exception(), ItemTimeoutError)
    assert job[0].result() == 0


def test_task_runs_have_the_names_and_tags_that_the_task_gives_them():
    @task(task_run_name="square of {x}", tags=["numbers"])
    def square(x):
        if x == 3:
            raise ValueError(x)
        return x * x

    job = nbf.map(square, [2, 3])
    assert job.wait(120)
    by_name = {run.name: run for run in recorded_task_runs(job, 2)}
    assert set(by_name) == {"square of 2", "square of 3"}
    assert {run.id for run in by_name.values()} == {future.task_run_id for future in job}
    assert by_name["square of 2"].state.is_completed()
    assert by_name["square of 3"].state.is_failed()
    assert by_name["square of 2"].tags == ["numbers"]


def test_a_cached_value_is_given_and_the_function_not_called():
    calls = []
    salt = str(uuid4())

    @task(cache_policy=INPUTS, persist_result=True)
    def work(x, salt):
        calls.append(x)
        return None if x == 0 else {"x": x}

    assert nbf.map(work, range(3), salt).result(120) == [None, {"x": 1}, {"x": 2}]
    job = nbf.map(work, range(4), salt)
    assert job.result(120) == [None, {"x": 1}, {"x": 2}, {"x": 3}]
    assert sorted(calls) == [0, 1, 2, 3]
    assert [one.kind for one in job.outcomes()] == [OutcomeKind.COMPLETED] * 4
    assert [one.attempts for one in job.outcomes()] == [0, 0, 0, 1]
    assert all(future.state.is_completed() for future in job)


def test_a_tasks_hooks_run():
    seen = []

    def note(task, run, state):
        seen.append((run.name, state.name))

    @task(on_completion=[note], on_failure=[note], task_run_name="{x}")
    def work(x):
        return 1 / x

    assert nbf.map(work, [0, 1]).wait(120)
    assert sorted(seen) == [("0", "Failed"), ("1", "Completed")]


def test_the_users_task_is_not_changed_by_a_job():
    def work(x):
        return x

    mine = task(work)
    assert nbf.options(retries=3).map(mine, [1]).result(120) == [1]
    assert mine.fn is work
    assert mine.retries == 0


def test_a_task_with_a_state_for_a_value_ends_as_the_state_says():
    from prefect.states import Completed, Failed

    @task
    def work(x):
        return Completed(data=x) if x else Failed(message="as I say")

    job = nbf.map(work, [0, 1])
    assert job.wait(120)
    assert [one.kind.value for one in job.outcomes()] == ["failed", "completed"]
    assert "as I say" in str(job[0].exception())
    assert job[1].result() == 1


def test_futures_of_a_job_go_into_tasks_of_another_flow():
    @task
    def double(x):
        return x * 2

    @task
    def told(error):
        return repr(error)

    job = nbf.map(lambda x: 6 // x, [1, 2, 0])
    assert job.wait(120)

    @flow
    def report():
        doubled = double.map([job[0], job[1]])
        after = double.submit(10, wait_for=[job[0]])
        failed = told.submit(allow_failure(job[2]))
        skipped = double.submit(job[2])
        skipped.wait()
        return doubled.result(), after.result(), failed.result(), skipped.state.name

    doubled, after, failed, skipped = nbf.run(report).result(120)
    assert doubled == [12, 6]
    assert after == 20
    assert "division" in failed
    assert skipped == "NotReady"
