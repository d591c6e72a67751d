"""From a signature and its type hints to what a form asks for."""

from __future__ import annotations

import enum
import functools
import inspect
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import pandas as pd
import prefect
import pytest

from nbfutures.errors import NbfuturesError
from nbfutures.launcher.fields import Kind, is_alike, read_target


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Size(enum.IntEnum):
    S = 1


class Url(str):
    __slots__ = ()


Count = NewType("Count", int)


def field_of(hint, default=inspect.Parameter.empty):
    def fn(x): ...

    fn.__annotations__ = {} if hint is None else {"x": hint}
    fn.__defaults__ = None if default is inspect.Parameter.empty else (default,)
    [field] = read_target(fn).fields
    return field


@pytest.mark.parametrize(
    ("hint", "kind", "is_optional"),
    [
        (int, Kind.INTEGER, False),
        (Count, Kind.INTEGER, False),
        (Annotated[int, "positive"], Kind.INTEGER, False),
        (int | None, Kind.INTEGER, True),
        (Optional[int], Kind.INTEGER, True),  # noqa: UP045 - people write it
        (float, Kind.NUMBER, False),
        (int | float, Kind.NUMBER, False),
        (bool, Kind.BOOLEAN, False),
        (str, Kind.TEXT, False),
        ("str", Kind.TEXT, False),
        (Path, Kind.PATH, False),
        (os.PathLike, Kind.PATH, False),
        (Union[str, Path], Kind.PATH, False),  # noqa: UP007 - people write it
        (Literal["a", 1], Kind.CHOICE, False),
        (Colour, Kind.CHOICE, False),
        (Size | None, Kind.CHOICE, True),
        (bool | None, Kind.CHOICE, True),
        (list[int], Kind.LIST, False),
        (Sequence[str], Kind.LIST, False),
        (Iterable[str] | None, Kind.LIST, True),
        (tuple[int, ...], Kind.LIST, False),
        (pd.DataFrame, Kind.TABLE, False),
        (pd.DataFrame | None, Kind.TABLE, True),
        (dict[str, int], Kind.ANY, False),
        (Url, Kind.ANY, False),
        (TypedDict("Row", {"a": int}), Kind.ANY, False),
        (int | str, Kind.ANY, False),
        (Any, Kind.ANY, False),
        ("NotDefinedAnywhere", Kind.ANY, False),
        ("1 +", Kind.ANY, False),
        (None, Kind.ANY, False),
    ],
    ids=str,
)
def test_a_hint_says_what_is_asked_for(hint, kind, is_optional):
    field = field_of(hint)
    assert (field.kind, field.is_optional, field.is_required) == (kind, is_optional, True)


@pytest.mark.parametrize(
    ("default", "kind"),
    [
        (True, Kind.BOOLEAN),
        ("a", Kind.TEXT),
        (Path("a"), Kind.PATH),
        (Colour.RED, Kind.CHOICE),
        (1, Kind.NUMBER),
        (1.5, Kind.NUMBER),
        ((1, 2), Kind.ANY),
        (None, Kind.ANY),
        (object(), Kind.ANY),
    ],
    ids=lambda one: str(one).partition(" at 0x")[0],
)
def test_without_a_hint_the_default_says_it(default, kind):
    assert field_of(None, default).kind is kind


@pytest.mark.parametrize(
    ("hint", "choices"),
    [
        (Literal["a", 1], ("a", 1)),
        (Literal["a", None], ("a", None)),  # noqa: PYI061 - people write it
        (Literal["a", "b"], ("a", "b")),
        (Literal["a"] | None, ("a", None)),
        (Colour, (Colour.RED, Colour.GREEN)),
        (bool | None, (True, False, None)),
    ],
    ids=str,
)
def test_choices_are_those_of_the_hint(hint, choices):
    assert field_of(hint).choices == choices


def test_a_hint_that_cannot_be_evaluated_does_not_cost_the_others_theirs():
    def fn(a: Missing, b: int, c: "Missing[") -> Nothing: ...  # noqa: F821, F722

    assert [field.kind for field in read_target(fn).fields] == [Kind.ANY, Kind.INTEGER, Kind.ANY]


def test_star_arguments_are_left_out_and_named():
    def fn(a, *rest, b=1, **more): ...

    target = read_target(fn)
    assert [field.name for field in target.fields] == ["a", "b"]
    assert target.left_out == ("*rest", "**more")


@prefect.task(name="a task")
async def some_task(x: int):
    """Do it.

    And more.
    """


@prefect.flow
def some_flow(x: int): ...


@pytest.mark.parametrize(
    ("target", "sort", "is_flow"),
    [(some_task, "Prefect task", False), (some_flow, "Prefect flow", True), (len, "function", False)],
)
def test_tasks_and_flows_are_told_from_functions(target, sort, is_flow):
    read = read_target(target)
    assert (read.sort, read.is_flow, len(read.fields)) == (sort, is_flow, 1)


def test_a_task_has_the_hints_and_words_of_its_function():
    read = read_target(some_task)
    assert (read.name, read.about, read.fields[0].kind) == ("a task", "Do it.", Kind.INTEGER)


def test_a_partial_asks_for_what_is_left():
    def fn(a: int, b: "int"): ...  # noqa: UP037

    [field] = read_target(functools.partial(fn, 1)).fields
    assert (field.name, field.kind) == ("b", Kind.INTEGER)


@pytest.mark.parametrize(
    ("target", "advice"), [(3, r"got int\. Write nbf\.launcher\(my_function\)"), (min, r"def call\(x\): return min")]
)
def test_what_is_no_function_is_refused_with_advice(target, advice):
    with pytest.raises(NbfuturesError, match=advice):
        read_target(target)


def test_a_function_that_was_edited_fits_its_form_unless_the_parameters_changed():
    def make(source):
        names = {}
        exec(source, names)
        return read_target(names["f"])

    first = make("def f(x: int, y=1): return x")
    assert is_alike(make("def f(x: int, y=1): return -x"), first)
    for other in (
        "def f(x: str, y=1): ...",
        "def f(x: int, y=2): ...",
        "def f(x: int): ...",
        "async def f(x:int, y=1): ...",
    ):
        assert not is_alike(make(other), first)
