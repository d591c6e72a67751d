"""The runner `inline`: items one after the other in the thread that asks for them."""

# ruff: noqa: T201, T100 - items print, and stop in the debugger

from __future__ import annotations

import _thread
import asyncio
import io
import pdb
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect import flow, get_client, task
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import ItemCancelledError, ItemTimeoutError
from nbfutures.model.events import JobPhase

inline = nbf.options(runner="inline")


def kinds_of(job):
    return [one.kind.value for one in job.outcomes()]


def test_items_run_in_order_in_the_thread_that_asks_and_the_job_is_done_then(kind):
    seen = []

    def work(x):
        seen.append(x)
        return threading.current_thread()

    job = inline.options(workers=4, in_flight=8).map(kind(work), range(20))
    assert job.is_done
    assert seen == list(range(20))
    assert set(job.result()) == {threading.main_thread()}
    assert {one.worker for one in job.outcomes()} == {"main thread"}


def test_in_another_thread_items_run_there(kind):
    made = []

    def ask():
        made.append(inline.map(kind(lambda _: threading.current_thread()), range(3)))

    asking = threading.Thread(target=ask, name="asking")
    asking.start()
    asking.join(120)
    (job,) = made
    assert set(job.result()) == {asking}
    assert {one.worker for one in job.outcomes()} == {"asking"}


def test_a_job_is_one_flow_run(join):
    job = inline.options(name="looked at", tags=["slow"]).map(lambda x: 1 / x, [1, 0])
    join()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(job._run.flow_run_id)
    assert run.name == "looked at"
    assert run.tags == ["slow"]
    assert run.state.message == "1 completed, 1 failed"


# --- interrupts -----------------------------------------------------------------------------------------------------


def interrupt():
    """Interrupt the main thread as a kernel is interrupted, and wait there for it to arrive."""
    _thread.interrupt_main()
    for _ in range(10_000):
        time.sleep(0.001)


def interrupted(call):
    """Make a call that is interrupted, and return the job, which the session knows."""
    with pytest.raises(KeyboardInterrupt, match="is the job, and its retry"):
        call()
    [job, *_] = [one for one in nbf.api.session_jobs() if one.counts.cancelled]
    return job


async def interrupt_async():
    threading.Timer(0.1, _thread.interrupt_main).start()
    await asyncio.sleep(10)


@pytest.mark.parametrize("is_task", [False, True], ids=["function", "task"])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_an_interrupt_cancels_the_item_and_the_rest_and_a_retry_runs_them(is_async, is_task):
    is_calm = []

    def work(x):
        if x == 2 and not is_calm:
            interrupt()
        return x

    async def work_async(x):
        if x == 2 and not is_calm:
            await interrupt_async()
        return x

    made = work_async if is_async else work
    job = interrupted(lambda: inline.options(retries=3).map(task(made) if is_task else made, range(6)))
    assert job.is_done
    assert kinds_of(job) == ["completed"] * 2 + ["cancelled"] * 4
    assert job.values() == [0, 1, None, None, None, None]
    with pytest.raises(ItemCancelledError, match="Interrupted while it ran") as caught:
        job.result()
    # A debugger finds the place that the interrupt met.
    assert made.__code__ in [frame.frame.code.raw for frame in caught.traceback]
    is_calm.append(True)
    assert job.retry().is_done
    assert job.result() == list(range(6))


def test_an_interrupt_between_items_cancels_the_rest():
    job = interrupted(
        lambda: inline.options(rate=0.01).map(lambda x: threading.Timer(0.3, _thread.interrupt_main).start(), range(3))
    )
    assert kinds_of(job) == ["completed", "cancelled", "cancelled"]


def test_an_interrupt_while_it_waits_for_another_job_cancels_it(gate):
    other = nbf.submit(gate, 1)
    gate.wait_for(1)
    threading.Timer(0.3, _thread.interrupt_main).start()
    job = interrupted(lambda: inline.options(wait_for=other).map(lambda x: x, range(3)))
    assert kinds_of(job) == ["cancelled"] * 3
    gate.open()


def test_an_interrupt_within_a_job_of_an_item_ends_both():
    inner = []

    def work(x):
        inner.append(inline.map(lambda y: interrupt() if y == 1 else y, range(3)))

    def outer(x):
        if x == 1:
            work(x)
        return x

    job = interrupted(lambda: inline.map(outer, range(3)))
    assert kinds_of(job) == ["completed", "cancelled", "cancelled"]
    assert not inner


def test_a_second_interrupt_leaves_a_job_that_does_not_end(gate):
    # Prefect calls it in the thread of its engine, which nothing interrupts.
    def hang(*_):
        threading.Timer(0.2, _thread.interrupt_main).start()
        eventually(lambda: nbf.api.session_jobs()[-1].phase is JobPhase.CANCELLING)
        threading.Timer(0.2, _thread.interrupt_main).start()
        gate(0)

    @task(on_completion=[hang])
    def work(x):
        return x

    with pytest.raises(KeyboardInterrupt):
        inline.map(work, range(3))
    job = nbf.api.session_jobs()[-1]
    assert not job.is_done
    gate.open()
    assert job.wait(120)
    assert kinds_of(job) == ["completed", "cancelled", "cancelled"]
    assert inline.map(abs, [1]).result() == [1]


# --- debugging ------------------------------------------------------------------------------------------------------


def test_a_debugger_in_an_item_reads_and_prints_where_the_cell_does(monkeypatch, capsys, kind):
    monkeypatch.setattr(sys, "stdin", io.StringIO("p 'secret is', x * 111\nprint('said', x)\nc\n"))
    monkeypatch.setattr(sys, "breakpointhook", lambda: pdb.Pdb().set_trace(sys._getframe(1)))

    def work(x):
        print("before", x)
        if x == 3:
            breakpoint()
        print("after", x)
        return x

    job = inline.map(kind(work), [1, 3])
    assert job.result() == [1, 3]
    printed = capsys.readouterr().out
    assert "('secret is', 333)" in printed
    assert "said 3" in printed
    assert "before" not in printed
    assert "before 3\n" in job[1].outcome.output.stdout
    assert "secret" not in job[1].outcome.output.stdout


def test_the_variables_of_an_item_that_failed_are_there_after_result(kind):
    def work(x):
        place = f"somewhere {x}"
        raise ValueError(place)

    job = inline.map(kind(work), [7])
    with pytest.raises(ValueError, match="somewhere 7") as caught:
        job.result()
    frame = next(entry.frame.raw for entry in caught.traceback if entry.frame.code.raw is work.__code__)
    assert frame.f_locals["place"] == "somewhere 7"
    assert Path(job[0].outcome.traceback.tb_frame.f_code.co_filename).parent == Path(__file__).parent


# --- a notebook's thread has an event loop that runs -----------------------------------------------------------------


def test_coroutines_and_what_runs_a_loop_of_its_own_work_below_a_running_loop(kind):
    async def cell():
        task_before = asyncio.current_task()
        job = inline.map(kind(lambda x: asyncio.run(asyncio.sleep(0, x)) if not kind.is_async else x), range(3))
        assert asyncio.current_task() is task_before
        await asyncio.sleep(0)
        return job

    assert asyncio.run(cell()).result() == [0, 1, 2]


def test_what_is_bound_to_the_loop_of_an_item_works_in_later_jobs(kind):
    if not kind.is_async:
        return
    kept = {}

    async def work(x):
        lock = kept.setdefault("lock", asyncio.Lock())
        kept.setdefault("loop", asyncio.get_running_loop())
        async with lock:
            await asyncio.sleep(0)
        return asyncio.get_running_loop() is kept["loop"]

    made = task(work) if kind.is_task else work
    assert inline.map(made, range(3)).result() == [True] * 3
    assert inline.map(made, range(2)).result() == [True] * 2


# --- options --------------------------------------------------------------------------------------------------------


def sleep_long(x):
    time.sleep(30 if x == 1 else 0)
    return x


async def sleep_long_async(x):
    await asyncio.sleep(30 if x == 1 else 0)
    return x


@pytest.mark.parametrize("fn", [sleep_long, sleep_long_async, task(sleep_long), task(sleep_long_async)])
def test_a_timeout_interrupts_also_what_sleeps(fn):
    began = time.monotonic()
    job = inline.options(timeout=0.3).map(fn, range(3))
    assert job.values() == [0, None, 2]
    assert isinstance(job[1].exception(), ItemTimeoutError)
    assert time.monotonic() - began < 20


def test_an_item_can_cancel_its_job():
    def work(x):
        if x == 2:
            nbf.api.session_jobs()[-1].cancel()
        return x

    job = inline.map(work, range(5))
    assert kinds_of(job) == ["completed"] * 3 + ["cancelled"] * 2


def test_an_item_may_wait_for_jobs_of_its_own(kind):
    def work(x):
        return sum(inline.map(abs, range(x)).result()) + sum(nbf.map(abs, range(x)).result(120))

    assert inline.map(kind(work), [2, 3]).result() == [2, 6]


def test_the_button_runs_a_retry_beside_so_that_the_card_answers():
    is_calm = []

    def work(x):
        if not is_calm:
            raise ValueError(x)
        return threading.current_thread() is threading.main_thread()

    job = inline.map(work, range(2))
    is_calm.append(True)
    job.card_subject.actions.do("retry")
    assert eventually(lambda: job.values() == [False, False])


# --- flows ----------------------------------------------------------------------------------------------------------


@task
def add(x, y):
    return x + y, threading.current_thread()


@task
async def add_async(x, y):
    await asyncio.sleep(0)
    return x + y, threading.current_thread()


@pytest.mark.parametrize("adding", [add, add_async], ids=["plain", "async"])
def test_a_function_runs_as_a_flow_with_its_tasks_at_once(adding):
    order = []

    def work():
        first = adding.submit(1, 2)
        order.append("between")
        second = adding.submit(3, 4)
        return [first.result()[0], second.result()[0]], threading.current_thread()

    job = inline.run(work)
    assert job.is_done
    assert job.result() == ([3, 7], threading.main_thread())
    assert [value[1] for value in job.values()] == [threading.main_thread()] * 2


def test_an_async_function_runs_as_a_flow():
    async def work():
        return [one[0] for one in add.map([1, 2], 3).result()] + [add_async.submit(4, 5).result()[0]]

    assert inline.run(work).result() == [4, 5, 9]


def test_a_flow_of_the_users_runs_here_where_inline_is_the_sessions_runner(server):
    @flow
    def work():
        return threading.current_thread(), add.submit(1, 2).result()[0]

    before = server.defaults
    server.defaults = before.replace(runner="inline")
    try:
        assert nbf.run(work).result() == (threading.main_thread(), 3)
    finally:
        server.defaults = before


def test_futures_are_followed_in_the_background_where_inline_is_the_sessions_runner(gate):
    first = nbf.submit(gate, 1)
    job = inline.track(list(first))
    assert not job.is_done
    gate.open()
    assert job.result(120) == [1]
