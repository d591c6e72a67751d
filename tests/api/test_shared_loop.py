"""Coroutines of all jobs share an event loop that lives as long as the kernel."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time

import pytest
from prefect import task
from prefect.context import TagsContext
from tests.support import eventually

import nbfutures as nbf
from nbfutures.engine.shared_loop import BoundedLoop, SharedLoop, shared_loop
from nbfutures.errors import ItemTimeoutError

asynchronous = pytest.mark.kinds("async function", "async task")
kinds = pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])


async def loop_of(x):
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


@kinds
def test_items_of_all_jobs_run_in_one_loop(make):
    first = nbf.map(make(loop_of), range(5)).result(120)
    second = nbf.options(batch=2).map(loop_of, range(5)).result(120)
    assert len({*first, *second}) == 1


@kinds
def test_what_is_bound_to_the_loop_works_in_later_items_and_later_jobs(make):
    kept = {}

    async def work(x):
        if "lock" not in kept:
            kept["lock"], kept["server"] = asyncio.Lock(), await asyncio.start_server(answer, "127.0.0.1", 0)
            port = kept["server"].sockets[0].getsockname()[1]
            kept["connection"] = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = kept["connection"]
        async with kept["lock"]:
            writer.write(b"%d\n" % x)
            return int(await reader.readline())

    async def answer(reader, writer):
        while line := await reader.readline():
            writer.write(line)

    async def end(x):
        kept["connection"][1].close()
        kept["server"].close()

    made = make(work)
    assert nbf.submit(made, 7).result(120) == 7
    assert nbf.map(made, range(5)).result(120) == list(range(5))
    nbf.submit(end, 0).result(120)


@pytest.mark.parametrize(("make", "count"), [(lambda fn: fn, 1000), (task, 200)], ids=["function", "task"])
def test_so_many_that_wait_at_once_need_hardly_a_thread(make, count):
    before = threading.active_count()
    inside = []
    most = []

    async def wait(x):
        inside.append(x)
        while len(inside) < count:  # noqa: ASYNC110 - until all are inside
            await asyncio.sleep(0.02)
        most.append(threading.active_count())
        return x

    assert nbf.options(in_flight=count).map(make(wait), range(count)).result(240) == list(range(count))
    assert max(most) - before < 50


@asynchronous
def test_no_more_run_at_once_than_are_allowed_and_all_of_those_do(kind, gate):
    job = nbf.options(in_flight=7).map(kind.gated(gate), range(20))
    gate.wait_for(7)
    eventually(lambda: job.counts.running == 7)
    gate.open()
    assert job.result(120) == list(range(20))
    assert gate.most == 7


@asynchronous
def test_a_cancel_lets_what_runs_end_and_starts_nothing_more(kind, gate):
    job = nbf.options(in_flight=5).map(kind.gated(gate), range(50))
    gate.wait_for(5)
    job.cancel()
    eventually(lambda: job.counts.cancelled == 45)
    gate.open()
    assert job.wait(120)
    assert job.counts.completed == 5
    assert len(gate.came) == 5


# --- what blocks the loop -------------------------------------------------------------------------------------------


@asynchronous
def test_an_item_that_blocks_the_loop_is_given_up_on_and_others_have_another_loop(kind):
    unblock = threading.Event()

    async def work(x):
        if x == 0:
            unblock.wait(120)
        return x

    made = task(work) if kind.is_task else work
    job = nbf.options(timeout=0.5, workers=1, in_flight=1).map(made, range(5))
    assert job.wait(120)
    assert job.values() == [None, 1, 2, 3, 4]
    assert isinstance(job[0].exception(), ItemTimeoutError)
    assert "to_thread" in str(job[0].exception())
    assert nbf.map(made, [1, 2]).result(120) == [1, 2]
    unblock.set()


def test_an_item_that_blocks_without_a_timeout_does_not_hold_up_other_jobs(monkeypatch):
    for module in ("shared_loop", "lane_window"):
        monkeypatch.setattr(f"nbfutures.engine.{module}.PATIENCE_SECONDS", 0.5)
    unblock, blocks = threading.Event(), threading.Event()

    async def block(x):
        blocks.set()
        unblock.wait(120)

    async def quick(x):
        return x

    blocking = nbf.submit(block, 0)
    assert blocks.wait(120)
    eventually(lambda: shared_loop().silent_for == 0)
    assert nbf.map(quick, range(3)).result(120) == [0, 1, 2]
    assert nbf.map(task(quick), range(3)).result(120) == [0, 1, 2]
    assert not blocking.is_done
    unblock.set()
    assert blocking.result(120) is None


@kinds
def test_an_item_may_block_on_a_job_of_coroutines_of_its_own(make):
    async def outer(x):
        return sum(nbf.map(make(inner), range(x)).result(120))

    async def inner(x):
        await asyncio.sleep(0)
        return x

    assert nbf.map(make(outer), [3, 4]).result(120) == [3, 6]


def test_a_task_may_block_on_async_tasks_that_it_submits():
    @task
    async def child(x):
        await asyncio.sleep(0)
        return x + 1

    @task
    async def parent(x):
        return sum(child.map(range(x)).result())

    assert nbf.options(in_flight=2).map(parent, [2, 3, 4]).result(120) == [3, 6, 10]


def test_async_tasks_of_a_flow_wait_for_each_other_and_keep_to_its_workers(gate):
    @task
    async def first(x):
        return await gate.pass_async(x)

    @task
    async def second(x, y=None):
        return x * 10

    def flow():
        ahead = [first.submit(x) for x in range(6)]
        after = [second.submit(one) for one in ahead]
        last = second.submit(7, wait_for=after)
        gate.wait_for(3)
        gate.open()
        return [one.result() for one in after], last.result()

    job = nbf.options(workers=3).run(flow)
    assert job.result(120) == ([0, 10, 20, 30, 40, 50], 70)
    assert gate.most == 3


def test_what_is_bound_to_the_loop_works_in_a_failure_that_is_reproduced():
    async def work(x):
        raise ValueError(id(asyncio.get_running_loop()))

    job = nbf.submit(work, 1)
    assert job.wait(120)
    with pytest.raises(ValueError, match=str(job[0].exception())):
        job.failure(0).reproduce()


# --- the loop itself ------------------------------------------------------------------------------------------------


@pytest.fixture
def loop():

    made = SharedLoop(depth=100)
    yield made
    made.retire()


async def value_of(x):
    await asyncio.sleep(0)
    return x


def test_what_asks_to_end_the_process_ends_neither_the_loop_nor_others(loop):
    async def end(kind):
        raise kind

    async def leave_behind():
        asyncio.get_running_loop().create_task(end(SystemExit))

    for kind in (KeyboardInterrupt, SystemExit):
        with pytest.raises(kind):
            loop.submit(end(kind)).result(120)
    loop.submit(leave_behind()).result(120)
    assert loop.submit(value_of(3)).result(120) == 3


def test_a_retired_loop_ends_what_runs_and_sends_the_rest_elsewhere(loop):
    opened = threading.Event()

    async def wait():
        while not opened.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.005)
        return threading.current_thread()

    running = loop.submit(wait())
    eventually(running.running)
    loop.retire()
    elsewhere = loop.submit(value_of(threading.current_thread())).result(120)
    assert elsewhere is threading.current_thread()
    opened.set()
    thread = running.result(120)
    thread.join(120)
    assert not thread.is_alive()


def test_what_is_cancelled_before_its_turn_does_not_run():

    bounded = BoundedLoop(1)
    opened = threading.Event()
    came = []

    async def wait(x):
        came.append(x)
        while not opened.is_set():  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.005)

    futures = [concurrent.futures.Future() for _ in range(3)]
    for x, future in enumerate(futures):
        bounded.submit(lambda x=x: wait(x), future)
    eventually(lambda: came == [0])
    assert futures[1].cancel()
    assert not futures[0].cancel()
    opened.set()
    assert futures[2].result(120) is None
    assert came == [0, 2]
    bounded.close()


def test_a_loop_tells_how_long_it_is_blocked(loop):
    async def block():
        time.sleep(0.5)  # noqa: ASYNC251 - what it is about

    assert loop.silent_for == 0
    running = loop.submit(block())
    eventually(lambda: loop.silent_for > 0.2, interval=0.01)
    running.result(120)
    eventually(lambda: loop.silent_for == 0)


def test_tags_of_the_cell_reach_coroutines_and_leave_no_trace_in_the_loop():
    import prefect

    async def tags(x):
        return set(TagsContext.get().current_tags)

    with prefect.tags("one"):
        assert nbf.submit(tags, 1).result(120) == {"one"}
    assert nbf.submit(tags, 1).result(120) == set()
