"""Worker processes that serve tasks of the notebook."""

from __future__ import annotations

import os
import signal

import pytest
from tests.background.conftest import define
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError, WorkerDiedError

FIRST = """
from prefect import task

@task
def answer(x):
    return x, "first"

@task
def hold(gate, x):
    return gate(x)
"""


def living(serving):
    return [one.workers for one in serving.statuses()]


@pytest.fixture
def serve():
    made = []

    def serve(*tasks, **options):
        made.append(nbf.serve(*tasks, **options))
        return made[-1]

    yield serve
    for serving in made:
        serving.stop()


def test_serving_again_after_an_edit_takes_over_and_stop_ends_all(serve, background, gate):
    """The old workers end with what they run; what is asked now is done by the new code."""
    old = define(FIRST)
    first = serve(old["answer"], old["hold"])
    assert repr(first) == "answer, hold: starting"
    assert first.wait(120), first
    holding = background.map(old["hold"], nbf.unmapped(gate), [1])
    gate.wait_for(1)
    eventually(lambda: repr(first) == "answer, hold: 1 worker; 0 done; running hold-0")
    new = define(FIRST.replace('"first"', '"second"'))
    serve(new["answer"])
    outdated = background.map(old["answer"], [1])
    job = background.map(new["answer"], [1, 2])
    assert job.result(120) == [(1, "second"), (2, "second")]
    note = eventually(lambda: outdated.snapshot.note)
    assert note.startswith("waiting for a worker: answer is served with other code than this job's.")
    assert "job.cancel(), then job.retry(answer)" in note
    outdated.cancel()
    gate.open()
    assert holding.result(60) == [1]
    eventually(lambda: living(first) == [])
    # The task that was served beside it is served on.
    again = background.map(old["hold"], nbf.unmapped(gate), [2])
    assert again.result(60) == [2]
    assert {name for one in nbf.serve().statuses() for name in one.names} >= {"answer", "hold"}
    assert nbf.stop_serving("answer", "hold") == ["answer", "hold"]
    assert not {name for one in nbf.serve().statuses() for name in one.names} & {"answer", "hold"}


def test_what_a_worker_ran_that_died_or_was_stopped_fails_and_runs_by_retry(serve, background, gate):
    tasks = define(FIRST)
    serving = serve(tasks["hold"], limit=1)
    assert serving.wait(120), serving
    job = background.map(tasks["hold"], nbf.unmapped(gate), [1, 2])
    gate.wait_for(1)
    [pid] = serving.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: job.counts.failed == 1)
    [error] = [one.error for one in job.outcomes() if one is not None]
    assert isinstance(error, WorkerDiedError)
    assert "not served: its processes ended by themselves" in repr(serving)

    other = serve(tasks["hold"], limit=1)
    gate.wait_for(2)
    other.stop()
    assert job.wait(30)
    assert job.counts.failed == 2
    assert "Its worker was stopped" in str(job.outcomes()[1].error)
    gate.open()
    serve(tasks["hold"])
    assert job.retry().result(120) == [1, 2]


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 1.5}, {"limit": 0}])
def test_numbers_have_to_be_some(options):
    with pytest.raises(InvalidOptionError, match="must be a whole number of at least 1"):
        nbf.serve(define(FIRST)["answer"], **options)


def test_what_is_no_task_is_refused():
    with pytest.raises(MapArgumentsError, match="put @task above it"):
        nbf.serve("answer")


def test_a_task_that_nobody_serves_cannot_be_stopped():
    with pytest.raises(NbfuturesError, match=r"Nobody serves nothing\. Served tasks: "):
        nbf.stop_serving("nothing")


def test_a_task_that_cannot_be_sent_is_told_with_the_variable_that_is_to_blame():
    tasks = define(
        "import threading\nfrom prefect import task\nlock = threading.Lock()\n@task\ndef locked(x):\n    return lock"
    )
    with pytest.raises(nbf.NbfuturesError, match="the variable 'lock'"):
        nbf.serve(tasks["locked"])
