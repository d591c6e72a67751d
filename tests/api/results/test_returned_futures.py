"""What a flow returns: its futures and states become values, whatever holds them, and the first failure is raised."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import pydantic
import pytest
from prefect import flow, task
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner

import nbfutures as nbf


@task
def double(x):
    return 2 * x


@task
def refuse_odd(x):
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


@task
def in_a_list(x):
    return [x]


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    values: Any
    title: str = "t"


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    value: Any
    title: str = "t"


@flow
def inner():
    return [double.submit(1), double.submit(2)]


UNTOUCHED = [object()]
SHAPES = {
    "single": (lambda: double.submit(1), 2),
    "list": (lambda: [double.submit(1), 7, None], [2, 7, None]),
    "mapped": (lambda: double.map(range(3)), [0, 2, 4]),
    "tuple": (lambda: (double.submit(1), UNTOUCHED), (2, UNTOUCHED)),
    "set": (lambda: {double.submit(1), double.submit(2)}, {2, 4}),
    "frozenset": (lambda: frozenset([double.submit(1)]), frozenset([2])),
    "set of what no set can hold": (lambda: {in_a_list.submit(1)}, [[1]]),
    "nested": (lambda: {"a": [double.submit(1), {"b": (double.map([2]),)}]}, {"a": [2, {"b": ([4],)}]}),
    "ordered": (lambda: collections.OrderedDict(a=double.submit(1)), collections.OrderedDict(a=2)),
    "named tuple": (lambda: Pair(double.submit(1), [double.submit(2)]), Pair(2, [4])),
    "dataclass": (lambda: Report([double.submit(1)]), Report([2])),
    "model": (lambda: Model(value=double.submit(1)), Model(value=2)),
    "states": (lambda: [double(1, return_state=True), double.submit(2)], [2, 4]),
    "states made by hand": (lambda: [Completed(data=1), Completed()], [1, None]),
    "state made by hand": (lambda: Completed(message="all there"), None),
    "flow": (inner, [2, 4]),
    "state of a flow": (lambda: {"all": inner(return_state=True)}, {"all": [2, 4]}),
    "nothing": (lambda: None, None),
}


def test_futures_and_states_become_values_wherever_they_stand():
    @flow(name="shapes")
    def shapes(key):
        return SHAPES[key][0]()

    with_values = {}
    for key in SHAPES:
        with_values[key] = nbf.run(shapes, key)
    for key, (_, expected) in SHAPES.items():
        value = with_values[key].result(120)
        assert (key, value, type(value)) == (key, expected, type(expected))
    # What holds no future is the object that the flow returned.
    assert with_values["tuple"].result()[1] is UNTOUCHED


def test_what_a_flow_yields_is_a_list_of_values():
    @flow
    def yields():
        yield double.submit(1)
        yield [double.submit(2), 3]

    @flow
    async def yields_async():
        yield double.submit(1)
        yield 3

    first, second = nbf.run(yields), nbf.run(yields_async)
    assert first.result(120) == [2, [4, 3]]
    assert len(first) == 2
    assert second.result(120) == [2, 3]


@pytest.mark.parametrize("runner", ["threads", "inline"])
def test_functions_and_async_functions_as_flows_return_values(runner):
    def plain():
        return {"a": double.submit(1)}

    async def waits():
        return {"a": double.submit(1)}

    for one in (plain, waits):
        assert nbf.options(runner=runner).run(one).result(120) == {"a": 2}


def test_the_first_failure_is_raised_as_the_error_of_the_user():
    @flow
    def fails(key):
        failing = refuse_odd.map([0, 3, 1])
        if key == "behind":
            return double.submit(failing[2])
        if key == "by hand":
            return Failed(message="not good enough")
        if key == "of a flow":
            return [fails("list", return_state=True)]
        return {"list": list(failing), "dict": {"a": failing[0], "b": failing[1]}, "mapped": failing}[key]

    messages = {"list": "3 is odd", "dict": "3 is odd", "mapped": "3 is odd", "of a flow": "3 is odd"}
    jobs = {key: nbf.run(fails, key) for key in [*messages, "behind", "by hand"]}
    for key, message in messages.items():
        with pytest.raises(ValueError, match=message):
            jobs[key].result(120)
    # What did not run raises why it did not.
    with pytest.raises(ValueError, match="is odd"):
        jobs["behind"].result(120)
    with pytest.raises(Exception, match="not good enough"):
        jobs["by hand"].result(120)
    assert jobs["list"].counts.failed == 2


def test_values_and_failures_of_processes_come_the_same_way():
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def elsewhere(numbers):
        return {"doubled": [double.submit(1)], "checked": refuse_odd.map(numbers)}

    good, bad = nbf.run(elsewhere, [2, 4]), nbf.run(elsewhere, [2, 3])
    assert good.result(240) == {"doubled": [2], "checked": [2, 4]}
    with pytest.raises(ValueError, match="3 is odd"):
        bad.result(240)
