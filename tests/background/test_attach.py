"""A job that outlives the kernel that began it."""

from __future__ import annotations

import pytest
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import NbfuturesError

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
    assert serving.wait(120), serving
job = nbf.options(background=True, name={name!r}).map(visit, nbf.unmapped(gate), range(6))
while job.counts.running < 2 if {serves} else not job.snapshot.note.startswith("waiting for a worker"):
    job.wait(0.05)
while job.counts.settled < 4 and {serves}:
    job.wait(0.05)
print(*(serving.pids() if {serves} else []), flush=True)
input()
"""


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
    assert job.wait(60)
    assert job.values() == [0, 10, 20, None, 4, 5]
    frame = job.frame()
    assert frame["seconds"].notna().all()
    assert [one["x"] for one in (job[index]._run.item(index).arguments for index in range(6))] == list(range(6))
    # The calls came back with it.
    assert job.retry().wait(60)
    assert job.counts.failed == 1
    assert job.outcomes()[3].round == 1


def test_workers_end_with_their_kernel_and_what_is_left_runs_by_others(begin, gate):
    kernel = begin("orphan")
    [pid] = kernel.read(180).split()
    kernel.kill()
    eventually(lambda: not _is_alive(int(pid)))
    job = nbf.attach("orphan")
    assert job.wait(60)
    assert job.counts.completed == 3
    assert job.counts.failed == 3
    assert "ended with the kernel" in str(job.outcomes()[4].error)
    gate.open()
    assert nbf.serve(job._run.work.target).wait(120)
    assert job.retry().wait(60)
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
    assert job.wait(30)
    assert job.counts.cancelled == 6


def test_a_name_that_prefect_does_not_know_is_told_with_those_that_it_knows(served, background, notebook):
    nbf.options(background=True, name="well known").map(notebook.double, [1]).result(60)
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
    assert job.wait(60)
    assert sorted(job.values()) == [0, 2, 4]
    with pytest.raises(NbfuturesError, match="cannot be made again"):
        job.retry()


def _is_alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
