"""However much the arguments hold, the cell returns at once, and futures in them are found where they are to be."""

from __future__ import annotations

import time

import pytest
from prefect import task
from prefect.utilities.annotations import quote

import nbfutures as nbf


@pytest.fixture(scope="module")
def first(server):
    """A job that has ended: from now on, there are futures to look for."""
    job = nbf.map(lambda x: x * 10, [1, 2, 3])
    job.result(120)
    return job


def document(depth):
    return {"parts": [document(depth - 1) for _ in range(8)]} if depth else list(range(8))


SMALL = [[0], [0], [0]]
SHAPES = {
    "lists of numbers": lambda run, fn: run.map(fn, [[0] * 10_000 for _ in range(1000)]),
    "lists of lists": lambda run, fn: run.map(fn, [[[0] * 1000 for _ in range(1000)] for _ in range(10)]),
    "a list for all": lambda run, fn: run.map(fn, [1, 2], nbf.unmapped([0] * 10_000_000)),
    "documents": lambda run, fn: run.map(fn, [document(6) for _ in range(2)]),
    "a submitted list": lambda run, fn: run.submit(fn, [0] * 10_000_000),
    "a submitted dict": lambda run, fn: run.submit(fn, dict.fromkeys(range(2_000_000))),
    "a submitted set": lambda run, fn: run.submit(fn, set(range(2_000_000))),
    "rows": lambda run, fn: run.starmap(fn, [([0] * 10_000, 1) for _ in range(1000)]),
}


@pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])
def test_the_call_does_not_take_longer_for_much_data(make, first, gate):
    blocker = nbf.map(gate, [1])
    run = nbf.options(wait_for=[blocker])
    fn = make(lambda x, y=None: x)
    small = min(timed(lambda: run.map(fn, SMALL)) for _ in range(3))
    # To look at each of the millions of values takes seconds, or a quarter of one in C alone.
    slow = {
        name: passed for name, shape in SHAPES.items() if (passed := made_and_timed(run, fn, shape)) > 0.15 + 3 * small
    }
    assert slow == {}


def timed(call):
    before = time.perf_counter()
    job = call()
    passed = time.perf_counter() - before
    job.cancel()
    return passed


def made_and_timed(run, fn, shape):
    """Return how long the call itself takes, without what it takes to make its arguments."""
    passed = []

    class Timed:
        def __getattr__(self, name):
            def call(*args):
                passed.append(min(timed(lambda: getattr(run, name)(*args)) for _ in range(3)))

            return call

    shape(Timed(), fn)
    return passed[0]


def test_what_is_given_is_not_copied(first):
    inner = [1, 2, 3]
    whole = {"inner": inner}
    job = nbf.map(lambda x, y: (x is inner, y is whole, y["inner"] is inner), [inner, inner], nbf.unmapped(whole))
    assert job.result(120) == [(True, True, True)] * 2
    # Not where another argument is a future, either.
    job = nbf.map(lambda x, y, z: (x, y is inner, z is whole), first, [inner] * 3, nbf.unmapped(whole))
    assert job.result(120) == [(10, True, True), (20, True, True), (30, True, True)]


def test_futures_are_found_as_arguments_and_in_containers_and_those_inside_of_them(first, runner):
    job = runner.map(
        lambda alone, listed, keyed, tupled, fixed: (alone, listed, keyed, tupled, fixed),
        [first[0], 5],
        [[*range(3), first[1]], [1]],
        [{"a": first[2], "b": [first[0]]}, {}],
        [(first[0], first[1]), ()],
        nbf.unmapped([first[0]]),
    )
    assert job.result(120) == [(10, [0, 1, 2, 20], {"a": 30, "b": [10]}, (10, 20), [10]), (5, [1], {}, (), [10])]


def test_a_future_behind_many_numbers_is_found(first):
    job = nbf.map(lambda x: x[-1], [[*range(5000), first[2]], [7]])
    assert job.result(120) == [30, 7]
    job = nbf.map(lambda x: x[-1], [[*range(500_000), first[2]]])
    assert job.result(120) == [30]


def test_futures_in_the_depth_of_an_argument_are_found_for_tasks(first):
    nested = {"a": [{"b": (first[0], [first[1]])}]}
    assert nbf.map(task(lambda x: x), [nested]).result(120) == [{"a": [{"b": (10, [20])}]}]
    assert nbf.submit(task(lambda x: x), nested).result(120) == {"a": [{"b": (10, [20])}]}


def test_what_a_future_gives_is_not_searched_but_passed_on_as_it_is(first):
    made = [{"x": [1, 2]}]
    source = nbf.submit(lambda: made)
    assert nbf.submit(lambda x: x is made, source).result(120) is True
    assert nbf.map(lambda x: x, nbf.map(lambda x: {"x": [x]}, [1, 2])).result(120) == [{"x": [1]}, {"x": [2]}]


def test_what_is_quoted_is_left_alone(first):
    job = nbf.map(lambda x, y: (x, y[0] is first[0]), [1, 2], nbf.unmapped(quote([first[0]])))
    assert job.result(120) == [(1, True), (2, True)]


@pytest.mark.kinds("function", "async function")  # Prefect's own look into arguments of tasks does not end.
def test_a_structure_that_holds_itself_is_an_argument(first, kind):
    ring = [1]
    ring.append(ring)
    assert nbf.map(kind(lambda x: x[1] is ring), [ring, ring]).result(120) == [True, True]
