"""A job that outlives the kernel that began it."""

from __future__ import annotations

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.sorting import TaskRunSort
from prefect.states import Pending
from prefect.utilities.engine import emit_task_run_state_change_event
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures.errors import NbfuturesError
from nbfutures.prefect.background import attach
from nbfutures.prefect.background.api_loop import api_loop

KERNEL = """
import sys
sys.path.insert(0, {root!r})
import nbfutures as nbf
from prefect import task
from tests.file_gate import FileGate

@task
def visit(gate, x):
    if x == 3:
        raise ValueError("three")
    return gate(x) if x > 3 else 10 * x

gate = FileGate({place!r})
if {serves}:
    serving = nbf.serve(visit, workers=1, limit=4, keep={keep})
    assert serving.wait(240), serving
job = nbf.options(background=True, name={name!r}).map(visit, nbf.unmapped(gate), range(6))
while (job.counts.settled, job.counts.running) != (4, 2) and {serves}:
    job.wait(0.05)
while not ({serves} or job.snapshot.note.startswith("waiting for a worker")):
    job.wait(0.05)
print(*(serving.pids() if {serves} else []), flush=True)
input()
"""


SUBMITTING = """
import sys
sys.path.insert(0, {root!r})
import nbfutures as nbf
from prefect import task
from tests.file_gate import FileGate

@task
def visit(gate, x):
    return gate(x)

gate = FileGate({place!r})
serving = nbf.serve(visit, workers=1, limit=2, keep=True)
assert serving.wait(240), serving
job = nbf.options(background=True, name={name!r}, in_flight={in_flight}).map(visit, nbf.unmapped(gate), range({items}))
print("begun", flush=True)
input()
"""


def waiting_of(flow_run_id):
    """Return those of them that do not run."""
    return [one for one in submitted(flow_run_id) if not one.state.is_running()]


def submitted(flow_run_id):
    """Return the task runs of a flow run that Prefect has."""

    async def read():
        client = await api_loop().client()
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        read = []
        while page := await client.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.ID_DESC, offset=len(read)):
            read += page
        return read

    return api_loop().run(read(), 20)


@pytest.fixture
def submit(start_kernel, tmp_path, request):
    """Start a kernel that submits items, at most so many at once, to a worker that is busy with the first two."""

    def submit(name, items, in_flight):
        root = str(request.config.rootpath)
        made = start_kernel(
            SUBMITTING.format(root=root, place=str(tmp_path), name=name, items=items, in_flight=in_flight)
        )
        assert made.read(180) == "begun"
        return made

    yield submit
    if any("visit" in one.names for one in nbf.serve().statuses()):
        nbf.stop_serving("visit")


@pytest.fixture
def begin(start_kernel, tmp_path, request):
    def begin(name, *, serves=True, keep=False):
        root = str(request.config.rootpath)
        place = str(tmp_path)
        return start_kernel(KERNEL.format(root=root, place=place, serves=serves, keep=keep, name=name))

    yield begin
    for one in nbf.serve().statuses():
        if "visit" in one.names:
            nbf.stop_serving("visit")
            break


def test_a_job_goes_on_without_its_kernel_and_is_attached_with_every_outcome(begin, gate):
    kernel = begin("survivor", keep=True)
    kernel.read(180)
    kernel.kill()
    job = nbf.attach("survivor")
    assert len(job) == 6
    eventually(lambda: job.counts.settled == 4 and job.counts.running == 2)
    assert job.values() == [0, 10, 20, None, None, None]
    assert job.errors()["error"].tolist() == ["ValueError"]
    assert nbf.attach("survivor") is job
    gate.open()
    assert job.wait(120)
    assert job.values() == [0, 10, 20, None, 4, 5]
    frame = job.frame()
    assert frame["seconds"].notna().all()
    assert [one["x"] for one in (job[index]._run.item(index).arguments for index in range(6))] == list(range(6))
    # The calls came back with it.
    assert job.retry().wait(120)
    assert job.counts.failed == 1
    assert job.outcomes()[3].round == 1


def test_workers_end_with_their_kernel_and_what_is_left_runs_by_others(begin, gate):
    kernel = begin("orphan")
    [pid] = kernel.read(180).split()
    kernel.kill()
    eventually(lambda: not _is_alive(int(pid)))
    job = nbf.attach("orphan")
    assert job.wait(120)
    assert job.counts.completed == 3
    assert job.counts.failed == 3
    assert "ended with the kernel" in str(job.outcomes()[4].error)
    gate.open()
    assert nbf.serve(job._run.work.target).wait(240)
    assert job.retry().wait(120)
    assert job.values() == [0, 10, 20, None, 4, 5]


def test_a_kernel_that_ends_does_not_cancel_its_background_job(begin):
    kernel = begin("left", serves=False)
    kernel.read(180)
    kernel.say()
    status, _ = kernel.end()
    assert status == 0, kernel.stderr
    job = nbf.attach("left")
    assert eventually(lambda: job.snapshot.note) == "waiting for a worker: %serve visit"
    assert job.counts.waiting == 6
    job.cancel()
    assert job.wait(120)
    assert job.counts.cancelled == 6


def test_a_name_that_prefect_does_not_know_is_told_with_those_that_it_knows(served, background, notebook):
    nbf.options(background=True, name="well known").map(notebook.double, [1]).result(120)
    with pytest.raises(NbfuturesError, match=r"knows no background job 'unheard'.*well known"):
        nbf.attach("unheard")


def test_task_runs_that_a_flow_of_the_users_gave_to_workers_are_attached(served, notebook):
    from prefect import flow

    double = notebook.double

    @flow(name="fan out", flow_run_name="fan out by hand", persist_result=False)
    def fan_out():
        return len([double.delay(x) for x in range(3)])

    assert fan_out() == 3
    job = nbf.attach("fan out by hand")
    assert job.wait(120)
    assert sorted(job.values()) == [0, 2, 4]
    with pytest.raises(NbfuturesError, match="cannot be made again"):
        job.retry()


def test_only_what_was_never_submitted_is_told_so_and_only_once_its_kernel_is_gone(submit, gate, monkeypatch):
    monkeypatch.setattr(attach, "_LATE_SECONDS", 1.0)
    kernel = submit("hundreds", items=320, in_flight=230)
    gate.wait_for(2)
    job = nbf.attach("hundreds")
    [flow_run] = job._run.work.found.flow_runs
    # Submitting goes on after the job was found.
    there = len(job._run.work.found.task_runs)
    assert there < 200
    eventually(lambda: len(submitted(flow_run.id)) == 230, timeout=120)
    eventually(lambda: "to submit 90 of its items" in job.snapshot.note, timeout=120)
    assert holds_for(lambda: job.counts.cancelled == 0, 2.0)
    kernel.kill()
    eventually(lambda: job.counts.settled)
    assert job.counts.cancelled == 90
    assert {str(one.error) for one in job.outcomes() if one is not None} == {
        "Its kernel ended before it was submitted. Run it with job.retry()."
    }
    assert job.snapshot.note == ""
    gate.open()
    assert job.wait(240)
    assert (job.counts.completed, job.counts.cancelled) == (230, 90)


def test_what_waits_in_a_worker_of_prefects_is_not_told_as_never_submitted(submit, gate, monkeypatch):
    monkeypatch.setattr(attach, "_LATE_SECONDS", 0.0)
    kernel = submit("held", items=12, in_flight=12)
    gate.wait_for(2)
    [flow_run] = attach.find_job("held").found.flow_runs
    eventually(lambda: len(submitted(flow_run.id)) == 12)
    waiting = eventually(lambda: len(found := waiting_of(flow_run.id)) == 10 and found)
    kernel.kill()
    # As Prefect's own workers do with what they take before they can begin it.
    for task_run in waiting:
        emit_task_run_state_change_event(task_run, task_run.state, Pending())
    eventually(lambda: len(submitted(flow_run.id)) == 2)
    job = nbf.attach("held")
    assert len(job._run.work.found.task_runs) == 12
    gate.open()
    assert job.wait(120)
    assert job.counts.completed == 12


def _is_alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
