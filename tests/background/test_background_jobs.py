"""A job whose items are run by task workers."""

from __future__ import annotations

import asyncio
import os
import re

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from tests.background.conftest import SOURCE
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, ItemCancelledError, MapArgumentsError, NbfuturesError, PicklingError
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.background.api_loop import api_loop

pytestmark = pytest.mark.usefixtures("served")


def task_runs(job):
    """Return what Prefect knows of the task runs of a job."""

    async def read():
        client = await api_loop().client()
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[job._run.flow_run_id]))
        return await client.read_task_runs(flow_run_filter=wanted)

    return api_loop().run(read(), 20)


def test_values_come_back_in_order(background, notebook):
    job = background.map(notebook.double, range(10))
    assert job.result(120) == [2 * x for x in range(10)]
    frame = job.frame()
    assert frame["seconds"].notna().all()
    assert frame["task_run_id"].nunique() == 10
    assert (frame["attempts"] == 1).all()
    assert frame["worker"].str.fullmatch(r"worker [12] \(\d+\)").all()


def test_items_run_in_both_workers_and_equal_ones_each_for_itself(background, notebook):
    job = background.map(notebook.pick, [1] * 12)
    values = job.result(120)
    assert len({token for _, token in values}) == 12
    processes = {pid for pid, _ in values}
    assert len(processes) == 2
    assert [int(name.split("(")[1][:-1]) for name in job.frame()["worker"]] == [pid for pid, _ in values]
    assert os.getpid() not in processes


def test_an_interrupt_of_the_kernel_does_not_reach_the_workers(background, notebook):
    [(pid, _)] = background.map(notebook.pick, [1]).result(120)
    assert os.getpgid(pid) != os.getpgrp()
    assert os.getsid(pid) != os.getsid(0)


def test_a_failing_item_is_data_and_has_the_error_that_it_raised(background, notebook):
    job = background.map(notebook.invert, [1, 0, 2])
    assert job.wait(120)
    assert job.values() == [1.0, None, 0.5]
    assert job.failed["error"].tolist() == ["ZeroDivisionError"]
    with pytest.raises(ZeroDivisionError):
        job.result()


@pytest.mark.parametrize("name", ["fail_deep", "fail_async"])
def test_a_failure_shows_the_frames_of_the_worker_from_the_function_on(background, notebook, name):
    job = background.map(getattr(notebook, name), [3])
    assert job.wait(120)
    told = job.failure(0).traceback
    assert f'File "<cell>", line {notebook_line(name)}, in {name}' in told
    assert ", in raise_own" in told
    assert told.endswith("OwnError: 3: own")
    assert ("ZeroDivisionError: division by zero" in told) == (name == "fail_deep")
    assert "prefect" not in told
    assert "nbfutures" not in told
    assert "<cell>" in job.errors()["where"].iloc[0]


def notebook_line(name):
    """Return the line of a cell in which a function calls the one that raises."""
    lines = SOURCE.split("\n")
    start = next(number for number, line in enumerate(lines) if f"def {name}(" in line)
    return next(number for number in range(start, len(lines)) if lines[number].strip() == "raise_own(x)") + 1


def test_what_failed_runs_again_by_retry(background, notebook, gate):
    job = background.map(notebook.fail_once, nbf.unmapped(gate), [1, 2])
    assert job.wait(120)
    assert job.counts.failed == 2
    assert job.retry().result(120) == [1, 2]


def test_a_function_becomes_a_task(background, notebook):
    assert background.map(notebook.triple, [1, 2]).result(120) == [3, 6]


def test_async_tasks_run_too(background, notebook):
    assert background.map(notebook.double_async, [1, 2]).result(120) == [2, 4]


def test_a_single_call_is_one_value(background, notebook):
    assert background.submit(notebook.double, 4).result(120) == 8


def test_the_values_of_another_job_are_taken(background, notebook):
    first = nbf.map(lambda x: x + 1, [1, 2])
    assert background.map(notebook.double, first).result(120) == [4, 6]


def test_futures_can_be_awaited(background, notebook):
    async def gather():
        job = background.map(notebook.double, range(4))
        return await asyncio.gather(*(future.result_async() for future in job))

    assert asyncio.run(gather()) == [0, 2, 4, 6]


def test_the_futures_of_delay_can_be_tracked_and_awaited(notebook):
    async def gather():
        job = nbf.track([notebook.double.with_options(name=f"item {x}").delay(x) for x in range(3)])
        return job, await asyncio.gather(*(future.result_async() for future in job))

    job, values = asyncio.run(gather())
    assert values == [0, 2, 4]
    assert job.wait(120)
    assert (job.frame()["outcome"] == "completed").all()


def test_a_tracked_future_that_failed_is_data(notebook):
    job = nbf.track([notebook.invert.delay(0), notebook.invert.delay(1)])
    assert job.wait(120)
    assert job.errors()["error"].tolist() == ["ZeroDivisionError"]


def test_task_runs_belong_to_the_flow_run_and_have_the_name_that_the_task_was_given(background, notebook):
    job = background.map(notebook.double.with_options(name="page"), range(2))
    assert job.result(120) == [0, 2]
    assert sorted(one.name for one in task_runs(job)) == ["page-0", "page-1"]


def test_what_waits_is_cancelled_at_once_and_never_runs(background, notebook, gate):
    job = background.map(notebook.wait_in, nbf.unmapped(gate), range(20))
    gate.wait_for(4)
    eventually(lambda: job.counts.running == 4)
    job.cancel()
    assert eventually(lambda: job.counts.cancelled == 16)
    gate.open()
    assert job.wait(120)
    assert job.counts.completed == 4
    # What was in Prefect's queue is taken from it, and left out.
    after = background.map(notebook.double, range(4))
    assert after.result(120) == [0, 2, 4, 6]
    assert gate.came == sorted(outcome.index for outcome in job.outcomes() if outcome.kind is OutcomeKind.COMPLETED)


def test_what_was_cancelled_runs_by_retry(background, notebook, gate):
    job = background.map(notebook.wait_in, nbf.unmapped(gate), range(6))
    gate.wait_for(4)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert job.retry().result(120) == list(range(6))


def test_a_retry_while_a_cancel_goes_on_runs_what_was_cancelled(background, notebook, gate):
    job = background.map(notebook.wait_in, nbf.unmapped(gate), range(6))
    gate.wait_for(4)
    job.cancel()
    eventually(lambda: job.counts.cancelled)
    job.retry()
    gate.open()
    assert job.result(120) == list(range(6))


def test_the_first_failure_cancels_what_waits(notebook, gate):
    job = nbf.options(background=True, fail_fast=True, in_flight=1).map(notebook.invert, [0, *range(1, 5)])
    assert job.wait(120)
    assert job.counts.failed == 1
    assert job.counts.cancelled >= 3


def test_a_job_that_nobody_serves_says_so_and_can_be_cancelled(background):
    from prefect import task

    @task
    def unserved(x):
        return x

    job = background.map(unserved, range(3))
    assert eventually(lambda: job.snapshot.note) == "waiting for a worker: %serve unserved"
    assert "waiting for a worker: %serve unserved" in repr(job)
    assert re.search(r"\d workers?\b", repr(job)) is None
    job.cancel()
    assert job.wait(120)
    assert job.counts.cancelled == 3
    with pytest.raises(ItemCancelledError):
        job[0].result()


def test_a_job_says_how_many_processes_serve_its_task(background, notebook, gate):
    job = background.map(notebook.wait_in, nbf.unmapped(gate), range(3))
    assert "worker" not in repr(job)
    eventually(lambda: "(2 workers" in repr(job))
    gate.open()
    assert job.wait(120)
    assert job.snapshot.workers == 2


def test_a_job_cannot_be_paused_and_says_why(background, notebook, gate):
    job = background.map(notebook.wait_in, nbf.unmapped(gate), [1])
    with pytest.raises(NbfuturesError, match=r"cannot be paused.*job\.retry"):
        job.pause()
    assert job.card_subject.actions.available() == ["cancel"]


def test_values_come_back_where_no_event_is_heard(background, notebook, monkeypatch):
    from nbfutures.prefect.background import watcher

    def refuse(**_):
        raise ConnectionError

    monkeypatch.setattr(watcher, "get_events_subscriber", refuse)
    monkeypatch.setattr(watcher, "_current", None)
    assert background.map(notebook.double, range(3)).result(120) == [0, 2, 4]


def test_events_that_are_told_twice_count_as_one_attempt(background, notebook, monkeypatch):
    from nbfutures.prefect.background.watcher import RunWatcher

    take = RunWatcher._take_event

    def take_twice(watcher, event):
        take(watcher, event)
        take(watcher, event)

    monkeypatch.setattr(RunWatcher, "_take_event", take_twice)
    job = background.map(notebook.double, range(6))
    assert job.wait(120)
    assert job.frame()["attempts"].tolist() == [1] * 6


def test_an_end_that_prefect_did_not_hear_of_is_told_again(background, notebook):
    assert background.map(notebook.fall_silent, [7]).result(120) == [7]


def test_an_argument_that_cannot_be_pickled_is_named(background, notebook):
    import threading

    job = background.map(notebook.double, [1, threading.Lock()])
    assert job.wait(120)
    assert job.values()[0] == 2
    assert isinstance(job.outcomes()[1].error, PicklingError)
    assert "the argument 'x' of item 1" in str(job.outcomes()[1].error)


def test_a_value_that_cannot_be_kept_is_told_as_such(background, notebook):
    job = background.map(notebook.keep_lock, [1])
    assert job.wait(120)
    assert "cannot be read from Prefect's result storage" in str(job.outcomes()[0].error)


def test_of_an_error_that_cannot_be_kept_whole_the_rest_is(background, notebook):
    job = background.map(notebook.fail_with_lock, [1])
    assert job.wait(120)
    error = job.outcomes()[0].error
    assert (type(error).__name__, str(error)) == ("Bad", "no luck")
    assert "lock" in repr(error.lock)


def test_a_lambda_cannot_be_served_and_is_refused(background):
    with pytest.raises(MapArgumentsError, match="found by its name, and a lambda has none"):
        background.map(lambda x: x, [1])


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"retries": 2}, "@task(retries=2)"),
        ({"timeout": 2}, "@task(timeout_seconds=30)"),
        ({"runner": "processes"}, "%serve starts some"),
        ({"workers": 4}, "nbf.serve(fetch, workers=2)"),
        ({"batch": 4}, "a task run of its own"),
        ({"dry_run": True}, "Leave background out"),
    ],
)
def test_options_that_workers_cannot_follow_are_refused(options, advice):
    with pytest.raises(InvalidOptionError) as caught:
        nbf.options(background=True, **options)
    assert advice in str(caught.value)


def test_a_flow_is_refused_and_what_to_write_is_told(background):
    from prefect import flow

    @flow
    def load(batch):
        return batch

    with pytest.raises(MapArgumentsError, match=r"flows have no \.delay\(\)[\s\S]*@task\n    def load_task"):
        background.map(load, [1])
    with pytest.raises(InvalidOptionError, match=r"no \.delay\(\)"):
        background.run(load, 1)
    with pytest.raises(MapArgumentsError, match=r"flows have no \.delay\(\)"):
        nbf.serve(load)


def test_the_defaults_of_other_jobs_do_not_hold(notebook):
    from nbfutures import api

    before = api.session_defaults()
    api.set_session_defaults(before.replace(runner="processes", retries=3, workers=2))
    try:
        assert nbf.options(background=True).map(notebook.double, [1]).result(120) == [2]
    finally:
        api.set_session_defaults(before)


def test_flow_run_ends_as_the_job_did(background, notebook):
    job = background.map(notebook.invert, [1, 0])
    assert job.wait(120)
    job._run.thread.join(120)

    async def read():
        return (await (await api_loop().client()).read_flow_run(job._run.flow_run_id)).state

    state = api_loop().run(read(), 20)
    assert state.is_failed()
    assert state.message == "1 completed, 1 failed"
