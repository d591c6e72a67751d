"""Whatever an item raises ends that item as failed, and nothing else."""

import asyncio

import pytest

import nbfutures as nbf
from nbfutures.errors import ItemExitedError

KINDS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, MemoryError, StopAsyncIteration]


def test_whatever_an_item_raises_it_alone_has_failed(runner, kind):
    class OfOnesOwn(BaseException):
        pass

    def work(x):
        if isinstance(x, type):
            raise x("enough")
        return x

    kinds = [*KINDS, OfOnesOwn]
    if not kind.is_async:
        # Of a coroutine, Python makes a RuntimeError of it.
        kinds.append(StopIteration)
    items = [one for pair in enumerate(kinds) for one in pair]
    job = runner.options(retries=1).map(kind(work), items)
    assert job.wait(240)
    assert job.values() == [None if isinstance(one, type) else one for one in items]
    errors = [job[index].exception() for index in range(1, len(items), 2)]
    assert [type(one).__name__ for one in errors] == [one.__name__ for one in kinds]
    assert {one.kind.value for one in job.outcomes()[1::2]} == {"failed"}
    assert {str(one) for one in errors} == {"enough"}
    # As in Prefect, only what is an Exception is tried again.
    tries = [job[index].outcome.attempts for index in range(1, len(items), 2)]
    assert tries == [2 if issubclass(one, Exception) else 1 for one in kinds]


def test_what_a_task_of_a_coroutine_raises_ends_no_other_item(runner):
    async def work(x):
        async def inner():
            if isinstance(x, type):
                raise x("enough")
            return x

        return await asyncio.create_task(inner())

    job = runner.map(work, [0, SystemExit, 1, KeyboardInterrupt, 2])
    assert job.wait(120)
    assert job.values() == [0, None, 1, None, 2]
    assert [type(job[index].exception()) for index in (1, 3)] == [SystemExit, KeyboardInterrupt]


def test_a_generator_task_that_exits_on_processes_ends_its_item(jobs):
    from prefect import task

    @task
    def work(x):
        yield x
        raise SystemExit(x)

    job = nbf.options(runner="processes", workers=1).map(work, [1, 2])
    assert job.wait(120)
    assert job.counts.failed == 2


def test_an_item_that_raises_keyboardinterrupt_cancels_nothing(runner, kind):
    def work(x):
        if x == 1:
            raise KeyboardInterrupt("by a library")
        return x

    job = runner.map(kind(work), range(4))
    with pytest.raises(KeyboardInterrupt, match="by a library"):
        job.result(120)
    assert job.wait(120)
    assert job.values() == [0, None, 2, 3]
    assert (job.counts.failed, job.counts.cancelled) == (1, 0)


def test_the_value_of_an_item_that_exited_raises_an_error_that_names_it(runner, kind):
    def work(x):
        if x == 1:
            raise SystemExit(3)
        return x

    job = runner.map(kind(work), range(3))
    with pytest.raises(ItemExitedError, match=r"Item 1 called sys.exit\(3\)") as raised:
        job.result(120)
    assert isinstance(raised.value.__cause__, SystemExit)
    with pytest.raises(ItemExitedError, match="Item 1"):
        job[1].result(120)
    assert job.wait(120)
    assert job.errors()["error"].tolist() == ["SystemExit"]
    job.retry(kind(lambda x: x), errors=SystemExit)
    assert job.result(120) == [0, 1, 2]


SCRIPT = """
import sys
import nbfutures as nbf

def work(x):
    if x == 2:
        sys.exit(0)
    return x

if __name__ == "__main__":
    nbf.map(work, range(3)).result()
"""


def test_a_script_whose_item_exits_with_0_does_not_end_as_if_all_were_well(start_kernel):
    kernel = start_kernel(SCRIPT)
    status, _ = kernel.end()
    assert status == 1
    assert "Item 2 called sys.exit(0)" in kernel.stderr


def test_a_flow_that_exits_is_said_to_have_done_so(jobs):
    def leave():
        raise SystemExit(0)

    job = nbf.run(leave)
    with pytest.raises(ItemExitedError, match=r"The flow 'leave' called sys.exit\(0\)"):
        job.result(120)
