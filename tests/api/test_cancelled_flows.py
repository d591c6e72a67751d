"""Jobs of flows that are cancelled: what has not begun never begins, and the job ends, whatever the flow waits for."""

import asyncio
import threading

import prefect.futures
import pytest
from prefect import flow, get_client, task
from prefect.states import Cancelling
from tests.file_gate import FileGate
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import ItemCancelledError


@task
def unserved(x):
    return x


@flow
async def awaits_workers(n):
    futures = [unserved.delay(x) for x in range(n)]
    return await asyncio.gather(*(future.result_async() for future in futures))


@flow
def waits_for_workers(n):
    return [future.result() for future in [unserved.delay(x) for x in range(n)]]


@flow
def waits_in_async_code(n):
    async def collect():
        return await awaits_workers(n)

    return asyncio.run(collect())


def cancel_by_job(job):
    job.cancel()


def cancel_in_prefect(job):
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(job._run.flow_run_id, Cancelling(), force=True)


CANCELS = pytest.mark.parametrize("cancel", [cancel_by_job, cancel_in_prefect])


def prefect_state(job):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(job._run.flow_run_id).state


@pytest.fixture
def tag():
    """A tag with one slot, which another program holds."""
    nbf.limit("hoist", 1, tag=True)
    with get_client(sync_client=True) as client:
        lease = client.increment_concurrency_slots_with_lease(["tag:hoist"], 1, "concurrency", 60).json()["lease_id"]
        given_back = threading.Event()

        def give_back():
            if not given_back.is_set():
                given_back.set()
                client.release_concurrency_slots_with_lease(lease)

        yield give_back
        give_back()
    nbf.delete_limit("hoist", tag=True)


@pytest.mark.parametrize(
    ("target", "cancel"),
    [
        (awaits_workers, cancel_by_job),
        (awaits_workers, cancel_in_prefect),
        (waits_for_workers, cancel_by_job),
        (waits_in_async_code, cancel_by_job),
    ],
)
def test_a_flow_that_waits_for_workers_says_so_and_ends_when_it_is_cancelled(target, cancel):
    job = nbf.run(target, 2)
    eventually(lambda: job.snapshot.note == "waiting for a worker: %serve unserved")
    assert "waiting for a worker: %serve unserved" in repr(job)
    cancel(job)
    assert job.wait(120)
    assert [one.kind.value for one in job.outcomes()] == ["cancelled"] * 2
    assert f"{job.name}: cancelled" in repr(job)
    assert "waiting" not in repr(job)
    with pytest.raises(ItemCancelledError, match="The flow was cancelled"):
        job.result()
    eventually(lambda: prefect_state(job).is_cancelled())


def test_the_thread_of_an_async_flow_ends_with_its_job(join):
    job = nbf.run(awaits_workers, 1)
    eventually(lambda: len(job) == 1)
    thread = job._run.thread
    job.cancel()
    assert job.wait(120)
    thread.join(120)
    assert not thread.is_alive()


def test_a_flow_that_was_left_in_its_thread_calls_nothing_more(tmp_path):
    # Prefect pickles what the flow refers to with the arguments of what it delays.
    file_gate = FileGate(tmp_path)
    after = []

    @flow
    def hangs():
        unserved.delay(1)
        file_gate(1)
        try:
            unserved(2)
        except ItemCancelledError as error:
            after.append(error)

    job = nbf.run(hangs)
    file_gate.wait_for(1)
    thread = job._run.thread
    job.cancel()
    assert job.wait(120)
    file_gate.open()
    thread.join(120)
    assert not thread.is_alive()
    assert len(after) == 1
    assert len(job) == 1
    assert f"{job.name}: cancelled" in repr(job)


@CANCELS
def test_task_runs_of_a_flow_that_wait_for_a_tag_do_not_run_later(tag, cancel):
    ran = []

    @task(tags=["hoist"])
    def lift(x):
        ran.append(x)
        return x

    @flow
    def lifts(n):
        return lift.map(range(n)).result()

    job = nbf.run(lifts, 4)
    eventually(lambda: len(job) == 4)
    thread = job._run.thread
    cancel(job)
    assert job.wait(120)
    assert job.counts.cancelled == 4
    # Prefect gives the slot to those that waited.
    tag()
    thread.join(120)
    assert not thread.is_alive()
    assert ran == []
    assert f"{job.name}: cancelled" in repr(job)
    eventually(lambda: prefect_state(job).is_cancelled())


def test_a_task_that_waits_for_a_tag_where_it_is_called_does_not_run_later(tag):
    ran = []

    @task(tags=["hoist"])
    def lift(x):
        ran.append(x)

    @flow
    def lifts():
        lift(1)
        lift(2)

    job = nbf.run(lifts)
    eventually(lambda: len(job) == 1)
    thread = job._run.thread
    job.cancel()
    assert job.wait(120)
    assert job.counts.cancelled == 1
    tag()
    thread.join(120)
    assert not thread.is_alive()
    assert ran == []


@CANCELS
def test_a_flow_that_is_cancelled_in_the_middle_says_cancelled(gate, cancel):
    @task
    def step(x):
        return gate(x)

    @flow
    def steps(n):
        return [step(x) for x in range(n)]

    job = nbf.run(steps, 5)
    gate.wait_for(1)
    cancel(job)
    eventually(job._run.stopped.is_set)
    gate.open()
    assert job.wait(120)
    told = repr(job)
    assert told.startswith("steps: cancelled in ")
    assert "ItemCancelledError" not in told
    assert not job.snapshot.crashed
    eventually(lambda: prefect_state(job).is_cancelled())


def test_a_flow_that_is_cancelled_before_it_begins_says_cancelled(gate):
    first = nbf.submit(gate, 1)
    began = []
    job = nbf.options(wait_for=[first]).run(flow(lambda: began.append(1), name="later"))
    job.cancel()
    assert job.wait(120)
    gate.open()
    assert repr(job).startswith("later: cancelled")
    assert "Run it again" in job.snapshot.note
    with pytest.raises(ItemCancelledError):
        job.result()
    assert began == []


def test_no_number_of_workers_is_told_of_what_other_code_runs(gate):
    job = nbf.run(flow(lambda: prefect.futures.wait(task(abs).map([1, -2, 3])), name="counts"))
    assert job.wait(120)
    tracked = nbf.track([nbf.map(abs, [-1, -2])[0]])
    assert tracked.wait(120)
    assert job.snapshot.workers == tracked.snapshot.workers == 0
    assert "worker" not in repr(job) + repr(tracked)


def test_a_deployment_that_does_not_exist_is_told_with_what_to_do():
    from prefect.deployments import run_deployment

    @task
    def ask():
        return run_deployment("no/such", _sync=True)

    @flow
    def asks():
        ask(return_state=True)
        return run_deployment("no/such", _sync=True)

    job = nbf.run(asks)
    assert job.wait(120)
    assert "ObjectNotFound: Prefect knows no such deployment" in job.snapshot.note
    assert "nbf.serve(flow, name=...)" in str(job.failure(0).error)
    assert "Prefect knows no such deployment" in job.errors().to_string()
