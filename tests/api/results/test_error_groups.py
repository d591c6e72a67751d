"""Errors that are groups of others."""

import asyncio
import gc
import weakref

import pytest

import nbfutures as nbf


@pytest.fixture
def grouped(runner):
    """A job of eight items that fail with groups around two causes, in different orders."""

    async def member(x, *, is_missing):
        if is_missing:
            raise KeyError("name")
        raise ValueError(f"bad value {x}")

    async def work(x):
        if x == 7:
            raise ExceptionGroup("nested", [ExceptionGroup("deeper", [ValueError(x), TimeoutError("slow")])])
        async with asyncio.TaskGroup() as group:
            for _ in range(1 + x % 3):
                group.create_task(member(x, is_missing=x % 2))
            if x == 6:
                group.create_task(member(x, is_missing=True))

    job = runner.map(work, range(8))
    assert job.wait(240)
    return job


def test_groups_are_counted_by_what_they_are_groups_of(grouped):
    table = grouped.errors()
    assert table["count"].tolist() == [3, 3, 1, 1]
    assert set(table["error"]) == {"ExceptionGroup"}
    assert sorted(table["message"]) == [
        "nested: TimeoutError: slow; ValueError: 7",
        "unhandled errors in a TaskGroup: KeyError: 'name'",
        "unhandled errors in a TaskGroup: KeyError: 'name'; ValueError: bad value 6",
        "unhandled errors in a TaskGroup: ValueError: bad value N",
    ]
    assert "KeyError: 'name'" in grouped.failure(1).headline
    assert "KeyError" in grouped.failed.loc[1, "message"]


def test_a_retry_takes_a_group_for_what_its_members_are(grouped):
    async def mended(x):
        return x

    grouped.retry(mended, errors=(KeyError, "TimeoutError"))
    assert grouped.wait(120)
    assert grouped.values() == [None, 1, None, 3, None, 5, 6, 7]


@pytest.mark.parametrize("runner", ["threads"], indirect=True)
def test_the_variables_of_what_belongs_to_an_error_are_let_go_of(runner, kind):
    class Big:
        pass

    alive = weakref.WeakSet()

    def raising(error, *inner):
        big = Big()
        alive.add(big)
        try:
            for one in inner:
                one()
        finally:
            raise error

    def caught(*args):
        try:
            raising(*args)
        except BaseException as error:
            return error

    def work(x):
        big = Big()
        alive.add(big)
        members = [caught(ValueError(x)), caught(KeyError(x))]
        error = ExceptionGroup("both", [*members, ExceptionGroup("inner", [caught(OSError(x))])])
        error.__cause__, error.__context__ = caught(IndexError(x)), caught(TypeError(x))
        raise error

    job = runner.map(kind(work), range(3))
    assert job.wait(120)
    assert job.counts.failed == 3
    assert "both" in job.errors()["message"][0]
    gc.collect()
    assert not alive
    assert "raise error" in job.failure(0).traceback
    assert isinstance(job[0].exception().__context__, TypeError)


def test_the_traceback_of_a_group_has_those_of_its_members_without_the_machinery(jobs):
    async def member():
        raise ValueError("one of several")

    async def work(x):
        async with asyncio.TaskGroup() as group:
            group.create_task(member())

    job = nbf.map(work, [1])
    assert job.wait(120)
    text = job.failure(0).traceback
    assert "one of several" in text
    assert 'raise ValueError("one of several")' in text
    assert "nbfutures/engine" not in text
    assert "nbfutures/prefect" not in text
