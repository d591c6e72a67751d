"""Worker processes that serve tasks of the notebook."""

from __future__ import annotations

import os
import re
import signal

import pytest
from tests.background.conftest import define
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError, WorkerDiedError
from nbfutures.prefect.background import service

FIRST = """
from prefect import task

@task
def answer(x):
    return x, "first"

@task
def hold(gate, x):
    return gate(x)
"""

DYING = """
import os
import signal
import time
from prefect import task

@task
def die(x):
    if x in (7, 77, 777):
        os._exit(3)
    return x

@task
def fall_silent_and_die(x):
    # Nothing more is heard of what this process does.
    from prefect import task_engine
    if x == 3:
        os._exit(3)
    task_engine.emit_task_run_state_change_event = lambda **_: None
    return x

@task
def resign(gate, x):
    gate.note(x)
    if x == 5:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    time.sleep(0.05)
    return x

class Slow:
    def __init__(self, gate):
        self.gate = gate

    def __reduce__(self):
        return unpack, (self.gate,)

def unpack(gate):
    return gate(0)

@task
def take(x):
    return x
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
    assert first.wait(240), first
    holding = background.map(old["hold"], nbf.unmapped(gate), [1])
    gate.wait_for(1)
    eventually(lambda: repr(first) == "answer, hold: 1 worker; 0 done; running hold-0")
    new = define(FIRST.replace('"first"', '"second"'))
    serve(new["answer"])
    outdated = background.map(old["answer"], [1])
    job = background.map(new["answer"], [1, 2])
    assert job.result(240) == [(1, "second"), (2, "second")]
    note = eventually(lambda: outdated.snapshot.note)
    assert note.startswith("waiting for a worker: answer is served with other code than this job's.")
    assert "job.cancel(), then job.retry(answer)" in note
    outdated.cancel()
    gate.open()
    assert holding.result(120) == [1]
    eventually(lambda: living(first) == [])
    # The task that was served beside it is served on.
    again = background.map(old["hold"], nbf.unmapped(gate), [2])
    assert again.result(120) == [2]
    assert {name for one in nbf.serve().statuses() for name in one.names} >= {"answer", "hold"}
    assert nbf.stop_serving("answer", "hold") == ["answer", "hold"]
    assert not {name for one in nbf.serve().statuses() for name in one.names} & {"answer", "hold"}


def test_what_a_worker_ran_that_died_or_was_stopped_fails_and_runs_by_retry(serve, background, gate):
    tasks = define(FIRST)
    serving = serve(tasks["hold"], limit=1)
    assert serving.wait(240), serving
    job = background.map(tasks["hold"], nbf.unmapped(gate), [1, 2])
    gate.wait_for(1)
    [pid] = serving.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: job.counts.failed == 1)
    [error] = [one.error for one in job.outcomes() if one is not None]
    assert isinstance(error, WorkerDiedError)
    # It is started again, and goes on with the rest.
    gate.wait_for(2)
    serving.stop()
    assert job.wait(120)
    assert job.counts.failed == 2
    # Prefect hands them out in any order.
    [other] = [one.error for one in job.outcomes() if one.error is not error]
    assert "Its worker was stopped" in str(other)
    gate.open()
    serve(tasks["hold"])
    assert job.retry().result(240) == [1, 2]


def test_a_worker_that_dies_fails_its_item_only_and_is_started_again(serve, background):
    die = define(DYING)["die"]
    serving = serve(die, workers=2, limit=1)
    assert serving.wait(240), serving
    before = set(serving.pids())
    job = background.map(die, range(20))
    assert job.wait(240)
    assert (job.counts.completed, job.counts.failed) == (19, 1)
    error = job.outcomes()[7].error
    assert isinstance(error, WorkerDiedError)
    assert re.match(
        r"Item 7: Worker process [12] of die \(process id \d+\) ended \(exit code 3\) while it ran die-7\.", str(error)
    )
    assert serving.wait(120), serving
    assert repr(serving).startswith("die: 2 workers; ")
    assert len(before & set(serving.pids())) == 1


def test_what_a_worker_had_run_is_known_though_it_died_before_prefect_heard_of_it(serve, background):
    task = define(DYING)["fall_silent_and_die"]
    serving = serve(task, workers=1, limit=1)
    assert serving.wait(240), serving
    job = background.map(task, range(4))
    assert job.wait(240)
    assert job.values() == [0, 1, 2, None]


def test_a_worker_that_dies_again_and_again_is_given_up_and_says_so(serve, background, monkeypatch):
    monkeypatch.setattr(service, "RESTARTS", 1)
    die = define(DYING)["die"]
    serving = serve(die, workers=1, limit=1)
    assert serving.wait(240), serving
    job = background.map(die, [7, 77, 777])
    eventually(lambda: "not served: worker 1 ended 2 times within a minute" in repr(serving), timeout=120)
    eventually(lambda: job.counts.failed == 2)
    job.cancel()
    assert job.wait(120)


def test_patience_ends_with_the_fourth_end_in_a_minute_that_brought_nothing():
    now = 0.0
    one = service.Patience(lambda: now)
    assert [one.allows(has_worked=False) for _ in range(4)] == [True, True, True, False]
    assert one.allows(has_worked=True)
    now = 61.0
    assert [one.allows(has_worked=False) for _ in range(4)] == [True, True, True, False]


def test_a_worker_that_is_told_to_end_begins_nothing_more_and_loses_nothing(serve, background, gate):
    resign = define(DYING)["resign"]
    assert serve(resign, workers=1, limit=3).wait(240)
    job = background.map(resign, nbf.unmapped(gate), range(30))
    assert job.wait(240), job
    failed = [one for one in job.outcomes() if one.error is not None]
    assert 5 in {one.index for one in failed}
    assert len(failed) <= 3
    assert all("Its worker was stopped" in str(one.error) for one in failed)
    # Nothing was begun twice.
    assert gate.came == list(range(30))


def test_what_a_worker_had_not_begun_when_it_was_stopped_runs_in_another(serve, background, gate):
    tasks = define(DYING)
    first = serve(tasks["take"], workers=1, limit=1)
    assert first.wait(240), first
    job = background.map(tasks["take"], [tasks["Slow"](gate)])
    gate.wait_for(1)
    first.stop()
    gate.open()
    assert serve(tasks["take"], workers=1, limit=1).wait(240)
    assert job.result(120) == [0]


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
