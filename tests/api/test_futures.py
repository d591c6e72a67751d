"""`job[i]`: one item as a real Prefect future, which knows how it ended without asking anybody."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import prefect.futures
import pytest
from prefect.events.worker import EventsWorker
from prefect.futures import PrefectFuture, resolve_futures_to_results, resolve_futures_to_states
from prefect.states import State
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import ItemCancelledError, ItemSkippedError


class Wrong(Exception):
    pass


def work(x):
    if x == "wrong":
        raise Wrong("item")
    return x


@pytest.fixture(scope="module")
def ended(server):
    """A job with a value, None as a value, and a failure."""
    job = nbf.map(work, ["value", None, "wrong"])
    assert job.wait(120)
    return job


@pytest.fixture
def cancelled(gate):
    job = nbf.options(workers=1).map(gate, range(2))
    gate.wait_for(1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    return job[1]


@pytest.fixture
def skipped(ended):
    job = nbf.map(work, [ended[2]])
    assert job.wait(120)
    return job[0]


def test_nothing_is_asked_of_prefect_to_learn_how_items_ended(join, requests_to_prefect):
    job = nbf.options(workers=2).map(work, ["value", None, "wrong"] * 20)
    assert job.wait(120)
    join()
    EventsWorker.instance().wait_until_empty()
    assert requests_to_prefect, "the flow run was made by requests, so that they are seen here"
    requests_to_prefect.clear()
    futures = list(job)
    assert [one.state.is_completed() for one in futures] == [True, True, False] * 20
    assert [one.result(raise_on_failure=False) for one in futures[:2]] == ["value", None]
    assert [one.done() for one in futures] == [True] * 60
    assert prefect.futures.wait(futures).not_done == set()
    assert set(prefect.futures.as_completed(futures)) == set(futures)
    assert set(nbf.as_completed(job)) == set(futures)
    assert len(resolve_futures_to_states(futures)) == 60
    assert job.summary()["count"].tolist() == [40, 20, 0, 0]
    assert len(job.frame()) == 60
    assert requests_to_prefect == []


def test_a_state_is_final_as_soon_as_the_item_has_ended(gate):
    job = nbf.options(workers=2).map(lambda x: x and gate(x), range(3))
    first, second, third = job
    first.wait()
    assert first.state.is_completed()
    assert first.state.result() == 0
    gate.wait_for(2)
    eventually(lambda: job[1].state.name == "Running")
    assert not second.done()
    gate.open()
    assert job.wait(120)
    assert second.state.is_completed()
    assert third.state is third.state


def test_a_future_that_waits_is_pending(gate):
    job = nbf.options(workers=1).map(gate, range(2))
    gate.wait_for(1)
    assert job[1].state.is_pending()
    assert (job[1].done(), job[1].cancelled(), job[1].outcome) == (False, False, None)
    assert "waiting" in repr(job[1])
    gate.open()


def test_none_is_a_value(ended):
    future = ended[1]
    assert future.result() is None
    assert future.state.result() is None
    assert resolve_futures_to_results([future]) == [None]


def test_a_failed_future_raises_the_error_itself(ended):
    future = ended[2]
    with pytest.raises(Wrong, match="item") as first:
        future.result()
    with pytest.raises(Wrong) as second:
        future.state.result()
    assert first.value is second.value is future.exception()
    assert future.result(raise_on_failure=False) is first.value
    assert future.state.is_failed()
    assert "failed" in repr(future)


def test_a_cancelled_future_says_so(cancelled):
    assert cancelled.cancelled()
    assert cancelled.state.is_cancelled()
    assert cancelled.state.is_final()
    with pytest.raises(ItemCancelledError):
        cancelled.result()
    assert isinstance(cancelled.exception(), ItemCancelledError)


def test_a_skipped_future_says_so(skipped):
    assert skipped.state.name == "Skipped"
    assert skipped.state.is_final()
    assert not skipped.cancelled()
    with pytest.raises(ItemSkippedError, match="Retry that job first"):
        skipped.result()


def test_an_item_that_has_not_ended_in_time_is_told_with_what_to_do(gate):
    job = nbf.map(gate, [1])
    with pytest.raises(TimeoutError, match=r"Item 0 of .* did not end within 0\.05 s; it goes on"):
        job[0].result(timeout=0.05)
    with pytest.raises(TimeoutError):
        job[0].exception(timeout=0)
    assert job[0].wait(timeout=0.01) is None
    gate.open()
    assert job[0].result(120) == 1


# --- Prefect's functions over futures -------------------------------------------------------------------------------


def test_prefects_wait_and_as_completed_take_futures_that_run(gate):
    job = nbf.options(workers=2).map(lambda x: x or gate(x), range(6))
    done, not_done = prefect.futures.wait(list(job)[1:], timeout=120)
    assert (len(done), not_done) == (5, set())
    # With a timeout it would arm an alarm in this thread.
    order = []
    reader = threading.Thread(target=lambda: order.extend(prefect.futures.as_completed(list(job), timeout=120)))
    reader.start()
    eventually(lambda: len(order) == 5)
    gate.open()
    reader.join(120)
    assert order[-1] is job[0]
    assert set(order) == set(job)


def test_states_and_results_are_put_where_the_futures_were(ended):
    states = resolve_futures_to_states({"a": [ended[0]], "b": (ended[2], 3)})
    assert states["a"][0].is_completed()
    assert states["b"][0].is_failed()
    assert states["b"][1] == 3
    assert isinstance(states["a"][0], State)
    assert resolve_futures_to_results({"a": [ended[0], ended[1]]}) == {"a": ["value", None]}


def test_a_future_can_be_awaited(gate):
    job = nbf.map(gate, [5])

    async def main():
        asyncio.get_running_loop().call_later(0.05, gate.open)
        return await job[0], await job[0].result_async(60)

    assert asyncio.run(main()) == (5, 5)


def test_awaiting_a_failed_future_raises_its_error(ended):
    async def main():
        await ended[2]

    with pytest.raises(Wrong):
        asyncio.run(main())


# --- callbacks ------------------------------------------------------------------------------------------------------


def test_a_callback_is_called_once_whenever_it_was_added(gate):
    called = []
    job = nbf.map(gate, range(3))
    for future in job:
        future.add_done_callback(called.append)
    gate.open()
    assert job.wait(120)
    for future in job:
        future.add_done_callback(called.append)
    eventually(lambda: len(called) == 6)
    assert sorted(one.index for one in called) == [0, 0, 1, 1, 2, 2]
    assert all(one is job[one.index] for one in called)


def test_a_callback_is_not_called_again_by_a_retry():
    called = []
    job = nbf.map(lambda x: 1 / x, [0])
    job[0].add_done_callback(called.append)
    assert job.wait(120)
    eventually(lambda: len(called) == 1)
    assert job.retry(lambda x: x).result(120) == [0]
    done = []
    job[0].add_done_callback(done.append)
    assert done == [job[0]]
    assert called == done


def test_callbacks_that_are_added_while_items_end_are_each_called_once():
    total = 3000
    called = []
    job = nbf.options(workers=2, batch=100).map(abs, range(total))
    futures = list(job)
    threads = [
        threading.Thread(target=lambda: [one.add_done_callback(called.append) for one in futures]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert job.wait(120)
    eventually(lambda: len(called) == 2 * total)
    assert sorted(one.index for one in called) == sorted([*range(total)] * 2)


def test_a_callback_is_not_called_on_the_thread_that_waits(gate):
    threads = []
    job = nbf.map(gate, [1])
    job[0].add_done_callback(lambda _: threads.append(threading.current_thread()))
    gate.open()
    assert job.wait(120)
    eventually(lambda: threads)
    assert threads[0] is not threading.current_thread()


# --- getting them ---------------------------------------------------------------------------------------------------


def test_futures_are_got_as_from_a_list(ended):
    futures = list(ended)
    assert [one.index for one in futures] == [0, 1, 2]
    assert ended[-1] is futures[2]
    assert ended[1:] == futures[1:]
    assert ended[::-1] == futures[::-1]
    assert len(ended) == 3
    assert all(isinstance(one, PrefectFuture) for one in futures)
    for index in (3, -4):
        with pytest.raises(IndexError):
            ended[index]
    with pytest.raises(TypeError):
        ended["0"]


def test_an_items_future_is_one_and_the_same_and_equal_to_none_of_another_job(ended):
    assert ended[0] is ended[0]
    assert ended[0] != ended[1]
    other = nbf.map(work, ["value"])
    assert other[0] != ended[0]
    number = hash(ended[0])
    gc.collect()
    assert hash(ended[0]) == number
    assert other.wait(120)


def test_a_future_knows_its_task_run(ended):
    assert ended[0].task_run_id == ended[0].outcome.task_run_id
    assert ended[0].state.state_details.task_run_id == ended[0].task_run_id


def test_a_future_keeps_its_job_after_the_user_has_dropped_it(jobs):
    future = nbf.map(work, ["value"])[0]
    time.sleep(0)
    gc.collect()
    assert future.result(120) == "value"
