"""`map` and `submit`: values in order, and what is known of each item."""

# ruff: noqa: T201 - items print

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
import time

import prefect
import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.context import TagsContext

import nbfutures as nbf
from nbfutures.model.outcome import OutcomeKind


def test_values_come_in_the_order_of_the_items_whichever_ends_first(kind):
    others = threading.Event()

    def square(x):
        if x == 0:
            assert others.wait(120)
        return x * x

    done = []
    job = nbf.options(workers=4, in_flight=4).map(kind(square), range(12)) if not kind.is_async else None
    if job is None:
        # A coroutine must not block its loop: item 0 does not wait for the others.
        others.set()
        job = nbf.map(kind(square), range(12))
    else:
        for outcome in job.as_completed(timeout=120):
            done.append(outcome.index)
            if len(done) == 11:
                others.set()
        assert done[-1] == 0
    assert job.result(timeout=120) == [x * x for x in range(12)]
    assert [one.result() for one in job] == job.values()


def test_a_job_is_called_after_what_it_calls():
    def parse(text):
        return int(text)

    jobs = [nbf.map(fn, ["1", "2"]) for fn in (parse, functools.partial(parse), int)]
    assert [job.result(120) for job in jobs] == [[1, 2]] * 3
    assert [job.name for job in jobs] == ["parse", "parse", "int"]


def test_submit_gives_the_one_value():
    job = nbf.submit(divmod, 7, 2)
    assert job.result(120) == (3, 1)
    assert len(job) == 1


def test_options_do_not_collide_with_the_functions_own_arguments():
    def greet(name, workers, self="-"):
        return f"{name} {workers} {self}"

    job = nbf.options(name="greeting", workers=2).map(greet, name=["a", "b"], workers=[1, 2], self=nbf.unmapped("s"))
    assert job.result(120) == ["a 1 s", "b 2 s"]
    assert job.name == "greeting"


def test_a_map_over_nothing_is_done_at_once():
    job = nbf.map(str, [])
    assert job.is_done
    assert job.result() == []
    assert list(job.as_completed()) == []
    assert job.frame().empty


@pytest.mark.parametrize("runner", ["threads", "inline"])
def test_items_see_the_context_of_the_cell_and_not_what_others_set_in_theirs(kind, runner):
    place = contextvars.ContextVar("place", default="nowhere")
    place.set("the cell")

    def move(x):
        found = place.get()
        place.set(f"item {x}")
        return found

    # One worker, so that the items run in the same thread.
    job = nbf.options(runner=runner, workers=1).map(kind(move), range(10))
    assert job.result(120) == ["the cell"] * 10
    assert place.get() == "the cell"


@pytest.mark.parametrize("runner", ["threads", "inline"])
def test_prefects_tags_of_the_cell_hold_for_its_items(kind, runner):
    with prefect.tags("of the cell"):
        job = nbf.options(runner=runner, tags=["nightly"]).map(kind(lambda x: TagsContext.get().current_tags), [1, 2])
    assert job.result(120) == [{"of the cell", "nightly"}] * 2
    job = nbf.options(runner=runner).map(kind(lambda x: TagsContext.get().current_tags), [1])
    assert job.result(120) == [set()]


# --- what is known of an item ---------------------------------------------------------------------------------------


def busy_sleepy_or_bad(what):
    print("working on", what)
    print("a warning about", what, file=sys.stderr)
    if what == "busy":
        until = time.thread_time() + 0.15
        while time.thread_time() < until:
            pass
    elif what == "sleepy":
        time.sleep(0.2)
    else:
        raise ValueError(f"not good: {what}")
    return what


@pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])
def test_an_items_record_tells_what_it_did(make, capsys):
    before = time.time()
    job = nbf.options(workers=2).map(make(busy_sleepy_or_bad), ["busy", "sleepy", "bad"])
    assert job.wait(120)
    after = time.time()
    busy, sleepy, bad = job.outcomes()

    assert [one.kind for one in (busy, sleepy, bad)] == [OutcomeKind.COMPLETED] * 2 + [OutcomeKind.FAILED]
    assert [one.value for one in (busy, sleepy, bad)] == ["busy", "sleepy", None]
    for one in (busy, sleepy, bad):
        assert before - 1 < one.queued <= one.started <= one.ended < after + 1
        assert one.attempts == 1
        assert one.worker in {"thread 1", "thread 2"}
        assert one.task_run_id is not None
    assert busy.cpu_seconds > 0.1
    assert sleepy.cpu_seconds < busy.cpu_seconds / 2
    assert sleepy.seconds >= 0.2

    assert busy.output == ("working on busy\n", "a warning about busy\n")
    assert bad.output == ("working on bad\n", "a warning about bad\n")
    printed = capsys.readouterr()
    assert "working on" not in printed.out + printed.err
    assert "warning" not in printed.out + printed.err

    trace = bad.error.__traceback__
    assert trace.tb_frame.f_code is busy_sleepy_or_bad.__code__
    assert trace.tb_next is None
    failure = job.failure(2)
    assert 'raise ValueError(f"not good: {what}")' in failure.traceback
    assert failure.input == {"what": "bad"}
    with pytest.raises(ValueError, match="not good: bad"):
        failure.reproduce()

    table = job.frame()
    assert table["outcome"].tolist() == ["completed", "completed", "failed"]
    assert table["input"].tolist() == ["'busy'", "'sleepy'", "'bad'"]
    assert table.loc[2, ["error", "message"]].tolist() == ["ValueError", "not good: bad"]
    assert job.summary()["count"].tolist() == [2, 1, 0, 0]
    assert job.failed.index.tolist() == [2]
    assert job.errors()["first"].tolist() == [2]


def test_a_failure_that_goes_through_a_library_points_at_the_users_line():
    def parse(text):
        import json

        return json.loads(text)

    job = nbf.map(parse, ["[1]", "{"])
    assert job.wait(120)
    assert job[1].exception().__traceback__.tb_frame.f_code is parse.__code__
    assert "json.loads(text)" in job.failure(1).traceback


def test_an_async_item_prints_into_its_own_output(capsys):
    async def talk(x):
        import asyncio

        for _ in range(3):
            print("item", x)
            await asyncio.sleep(0.001)

    job = nbf.map(talk, range(5))
    assert job.result(120) == [None] * 5
    assert [one.output.stdout for one in job.outcomes()] == [f"item {x}\n" * 3 for x in range(5)]
    assert capsys.readouterr().out == ""


def test_prints_of_a_cell_go_to_the_cell_while_items_run(gate, capsys):
    job = nbf.map(gate, [1, 2])
    gate.wait_for(2)
    print("from the cell")
    with contextlib.redirect_stdout(sys.stderr):
        print("redirected")
    gate.open()
    assert job.wait(120)
    assert capsys.readouterr() == ("from the cell\n", "redirected\n")


# --- in Prefect -----------------------------------------------------------------------------------------------------


def test_a_job_is_one_flow_run_with_its_name_tags_and_counts(join):
    def fetch(x):
        return 1 / x

    with prefect.tags("of the cell"):
        job = nbf.options(tags=["nightly", "small"]).map(fetch, [1, 2, 0])
    assert job.wait(120)
    join()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(job._run.flow_run_id)
    assert run.name == "fetch"
    assert set(run.tags) == {"of the cell", "nightly", "small"}
    assert run.state.is_failed()
    assert run.state.message == "2 completed, 1 failed"
    assert job.url.endswith(str(run.id))


def test_a_job_whose_items_all_complete_is_a_completed_flow_run(join):
    job = nbf.map(abs, [-1, -2])
    assert job.result(120) == [1, 2]
    join()
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(job._run.flow_run_id).state.is_completed()


# --- nested ---------------------------------------------------------------------------------------------------------


def test_an_item_may_wait_for_a_job_of_its_own():
    def outer(x):
        return sum(nbf.options(workers=1).map(lambda y: x * y, range(4)).result(120))

    assert nbf.options(workers=1).map(outer, [1, 2]).result(120) == [6, 12]


def test_items_may_submit_prefect_tasks():
    @task
    def child(x):
        return x + 1

    def parent(x):
        return sum(child.map(range(x)).result())

    assert nbf.options(workers=1).map(parent, [2, 3]).result(120) == [3, 6]


def test_a_function_may_have_parameters_named_as_those_of_map():
    assert nbf.map(lambda fn, flow: fn + flow, fn=[1, 2], flow=10).result(120) == [11, 12]
    assert nbf.submit(lambda fn: fn, fn=1).result(120) == 1
