"""Each call in another process starts from what was given, whatever other calls have done with theirs."""

import functools

import numpy as np
import pandas as pd
import pytest
from prefect import task, unmapped

import nbfutures as nbf

N = 24
FIRST = list(range(N))
CELL = """
appended = []
class Bag:
    made = 0
    def __init__(self):
        self.items = []
    def put(self, x):
        self.items.append(x)
        return len(self.items)
    __call__ = put
def put(x, bag):
    return bag.put(x)
def count_in_class(bag):
    type(bag).made += 1
    return type(bag).made
"""


@pytest.fixture(scope="module")
def cell():
    namespace = {"__name__": "__main__"}
    exec(CELL, namespace)
    return namespace


def append(x, to):
    to.append(x)
    return len(to)


def nest(x, to):
    to["a"].append(x)
    return len(to["a"])


def add(x, to):
    to += 1
    return float(to.ravel()[0]), float(to.ravel()[-1])


def add_to_frame(x, to):
    to.iloc[0, 0] += 1
    to["more"] = 1
    return float(to.iloc[0, 0]), to.shape[1]


def put_twice(first, second):
    first.append(1)
    second.append(1)
    return len(first), len(second)


def flags(x, to):
    return to.flags.writeable, float(to[0])


def test_no_call_sees_what_others_changed(remote, cell):
    shared, inner = [], []
    bag = cell["Bag"]()
    small, large = np.zeros(3), np.zeros((300, 1000))
    fixed = np.ones(200_000)
    fixed.flags.writeable = False
    cases = [
        (append, (FIRST, unmapped([])), 1),
        (nest, (FIRST, unmapped({"a": []})), 1),
        (add, (FIRST, unmapped(small)), (1.0, 1.0)),
        (add, (FIRST, unmapped(large)), (1.0, 1.0)),
        (add, (FIRST, unmapped(large.T)), (1.0, 1.0)),
        (flags, (FIRST, unmapped(fixed)), (False, 1.0)),
        (add_to_frame, (FIRST, unmapped(pd.DataFrame({"a": np.zeros(100_000)}))), (1.0, 2)),
        (cell["put"], (FIRST, unmapped(bag)), 1),
        (bag.put, (FIRST,), 1),
        (bag, (FIRST,), 1),
        (functools.partial(append, to=[]), (FIRST,), 1),
        (append, (FIRST, [shared] * N), 1),
        (nest, (FIRST, [{"a": inner, "b": number} for number in FIRST]), 1),
        (put_twice, ([[] for _ in FIRST], [shared] * N), (1, 1)),
        (add, ([large] * N, [large] * N), (1.0, 1.0)),
    ]
    jobs = [remote.map(fn, *given) for fn, given, _ in cases]
    for job, (fn, _, expected) in zip(jobs, cases, strict=True):
        assert job.result(240) == [expected] * N, fn
    assert (shared, inner, bag.items, small.sum(), large.sum()) == ([], [], [], 0, 0)


@pytest.mark.parametrize("make", [task, "async"], ids=["task", "async function"])
def test_tasks_and_coroutines_start_from_what_was_given_too(remote, make):
    async def append_async(x, to):
        to.append(x)
        return len(to)

    fn = append_async if make == "async" else make(append)
    assert remote.map(fn, range(6), unmapped([])).result(240) == [1] * 6


def test_a_retry_starts_from_what_was_given(remote, tmp_path):
    def second_time(x, seen, path):
        seen.append(x)
        mark = path / str(x)
        if not mark.exists():
            mark.touch()
            raise ValueError(x)
        return len(seen), len(x)

    job = remote.options(retries=1).map(second_time, ["a", "b"], unmapped([]), unmapped(tmp_path))
    assert job.result(120) == [(1, 1), (1, 1)]


def test_globals_and_classes_are_there_once_in_each_worker():
    # As with an executor of processes: a model that is loaded in a cell is not sent with each call.
    one = nbf.options(runner="processes", workers=1)
    namespace = {"__name__": "__main__"}
    exec(CELL + "def note(x):\n    appended.append(x)\n    return len(appended)\n", namespace)
    assert one.map(namespace["note"], range(50)).result(120) == list(range(1, 51))
    assert namespace["appended"] == []
    bags = [namespace["Bag"]() for _ in range(50)]
    assert one.map(namespace["count_in_class"], bags).result(120) == list(range(1, 51))
    assert namespace["Bag"].made == 0
    # The next job starts from what the kernel has.
    assert one.map(namespace["note"], range(2)).result(120) == [1, 2]
    assert one.map(namespace["count_in_class"], bags[:2]).result(120) == [1, 2]
