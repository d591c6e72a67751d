"""What is mapped over, and what each call receives: as with Prefect's own `Task.map`."""

from __future__ import annotations

import collections
import functools
import io
import operator
import tracemalloc

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect import allow_failure, flow, task, unmapped
from prefect.exceptions import MappingLengthMismatch, MappingMissingIterable, ParameterBindError
from prefect.utilities.annotations import quote
from prefect.utilities.callables import (
    collapse_variadic_parameters,
    expand_mapping_parameters,
    get_call_parameters,
    get_parameter_defaults,
    parameters_to_args_kwargs,
)
from prefect.utilities.engine import resolve_inputs_sync

from nbfutures.engine.calls import work as works
from nbfutures.engine.calls.mapping import map_calls
from nbfutures.engine.calls.signatures import bind
from nbfutures.engine.calls.work import name_of
from nbfutures.errors import MapArgumentsError
from nbfutures.prefect.resolving import resolve_inputs

map_work = functools.partial(works.map_work, resolve=resolve_inputs)
submit_work = functools.partial(works.submit_work, resolve=resolve_inputs)


def add(x, y=1, *, z=0):
    return x + y + z


# --- the same as Prefect --------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c", "d")
EXTRA = ("e", "f")


@st.composite
def functions(draw):
    """A function with any signature, which returns what it received; and its parameters."""
    names = NAMES[: draw(st.integers(0, len(NAMES)))]
    cuts = sorted(draw(st.tuples(*[st.integers(0, len(names))] * 2)))
    positional_only, either, keyword_only = names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] :]
    defaults = draw(st.integers(0, cuts[1]))
    has_default = {*names[cuts[1] - defaults : cuts[1]], *(name for name in keyword_only if draw(st.booleans()))}
    variadic, keywords = draw(st.booleans()), draw(st.booleans())

    def told(some):
        return [f"{name}=['default', {name!r}]" if name in has_default else name for name in some]

    parts = told(positional_only) + (["/"] if positional_only else []) + told(either)
    parts += ["*args"] if variadic else ["*"] if keyword_only else []
    parts += told(keyword_only) + (["**kwargs"] if keywords else [])
    space = {}
    exec(f"def fn({', '.join(parts)}):\n    return locals()", space)
    return space["fn"], positional_only, either, keyword_only, has_default, variadic, keywords


def iterables(size):
    """How to make an iterable of a length: called twice, once for each side."""
    values = st.lists(st.integers() | st.text(max_size=3) | st.none(), min_size=size, max_size=size)
    return st.one_of(
        values.map(lambda made: lambda: list(made)),
        values.map(lambda made: lambda: tuple(made)),
        values.map(lambda made: lambda: collections.deque(made)),
        st.just(lambda: range(size)),
        st.just(lambda: set(range(size))),
        st.just(lambda: dict.fromkeys(range(size)).keys()),
    )


STATICS = st.one_of(st.integers(), st.text(), st.binary(), st.none()).map(lambda made: lambda: made) | st.just(
    io.StringIO
)


@st.composite
def arguments(draw, size):
    if draw(st.integers(0, 9)) == 0:
        size += 1
    make = draw(st.one_of(iterables(size), iterables(size), STATICS))
    wrap = draw(st.sampled_from((None, None, None, unmapped, quote, allow_failure)))
    return make if wrap is None else lambda: wrap(make())


@st.composite
def calls(draw):
    fn, positional_only, either, keyword_only, has_default, variadic, keywords = draw(functions())
    size = draw(st.integers(0, 4))
    args, kwargs = [], {}
    by_position = True
    for name in (*positional_only, *either):
        if name in has_default and draw(st.booleans()):
            by_position = False
            continue
        made = draw(arguments(size))
        by_position = by_position and (name in positional_only or draw(st.booleans()))
        if by_position:
            args.append(made)
        elif name in either:
            kwargs[name] = made
    for name in keyword_only:
        if name not in has_default or draw(st.booleans()):
            kwargs[name] = draw(arguments(size))
    if variadic and by_position:
        args += draw(st.lists(arguments(size), max_size=3))
    if keywords:
        kwargs |= draw(st.dictionaries(st.sampled_from(EXTRA), arguments(size)))
    if draw(st.integers(0, 19)) == 0:
        args.append(lambda: [1])
    return fn, args, kwargs


def plain(value):
    return value.unwrap() if isinstance(value, unmapped | quote | allow_failure) else value


def outcome_of(call):
    try:
        return call()
    except TypeError as error:
        # The value for *args is mapped over, too, so that what a call gets for it need not be iterable.
        return type(error)


def comparable(value):
    """Streams and iterators are equal if of one type: each side has its own."""
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value), [comparable(one) for one in value]
    return type(value) if hasattr(value, "__next__") else value


def prefect_calls(fn, args, kwargs):
    """Prefect's parameters of each call, and what the function then receives."""
    given = get_call_parameters(fn, tuple(args), kwargs, apply_defaults=False)
    expanded = expand_mapping_parameters(fn, given)

    def call(parameters):
        positional, named = parameters_to_args_kwargs(fn, resolve_inputs_sync(parameters))
        return fn(*positional, **named)

    return expanded, [outcome_of(lambda one=one: call(one)) for one in expanded]


@settings(max_examples=250, deadline=None)
@given(calls())
def test_calls_of_a_task_are_those_that_prefect_makes(made):
    fn, args, kwargs = made
    made = task(fn)

    def again():
        return [one() for one in args], {name: one() for name, one in kwargs.items()}

    ours, theirs = again(), again()
    try:
        expanded, received = prefect_calls(fn, *theirs)
    except (ParameterBindError, MappingMissingIterable, MappingLengthMismatch):
        with pytest.raises(MapArgumentsError):
            map_work(made, tuple(ours[0]), ours[1])
        return
    work = map_work(made, tuple(ours[0]), ours[1])
    assert work.known_length == len(expanded)
    for index, parameters in enumerate(expanded):
        told = collapse_variadic_parameters(fn, {**get_parameter_defaults(fn), **work.table.arguments(index)})
        assert comparable(told) == comparable(parameters)
        assert comparable(outcome_of(lambda index=index: work.call(index))) == comparable(received[index])


@st.composite
def columns(draw):
    fn, *_ = draw(functions())
    size, count = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return fn, [list(range(10 * number, 10 * number + size)) for number in range(count)]


@settings(max_examples=250, deadline=None)
@given(columns())
def test_calls_of_a_function_are_those_that_pythons_map_makes(made):
    fn, args = made
    try:
        expected = list(map(fn, *args))
    except TypeError:
        with pytest.raises(MapArgumentsError):
            map_work(fn, tuple(args), {})
        return
    work = map_work(fn, tuple(args), {})
    assert [work.call(index) for index in work.all_indices()] == expected
    assert [list(work.item(index).arguments.values()) for index in work.all_indices()] == list(
        map(list, zip(*args, strict=True))
    )


@settings(max_examples=100, deadline=None)
@given(calls())
def test_a_single_call_is_the_call_itself(made):
    fn, args, kwargs = made
    args, kwargs = [plain(one()) for one in args], {name: plain(one()) for name, one in kwargs.items()}
    try:
        work = submit_work(fn, tuple(args), kwargs)
    except MapArgumentsError:
        with pytest.raises(TypeError):
            fn(*args, **kwargs)
        return
    assert work.known_length == 1
    assert work.call(0) == fn(*args, **kwargs)


# --- what is mapped over --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("static", ["text", b"bytes", io.StringIO("a\nb"), 7, None])
def test_a_text_or_a_stream_is_given_to_every_item_as_a_whole(static):
    work = map_work(lambda x, y: (x, y), ([1, 2], static), {})
    assert [work.call(0), work.call(1)] == [(1, static), (2, static)]


def test_anything_that_can_be_called_is_called():
    class Adder:
        def __init__(self, y):
            self.y = y

        def __call__(self, x):
            return x + self.y

        def add(self, x):
            return x + self.y

    for fn, name in (
        (lambda x: x + 1, "<lambda>"),
        (functools.partial(operator.add, 1), "add"),
        (Adder(1), "Adder"),
        (Adder(1).add, "add"),
        ((1).__add__, "__add__"),
    ):
        work = map_work(fn, ([1, 2],), {})
        assert [work.call(0), work.call(1)] == [2, 3]
        assert name_of(fn) == name


def test_what_is_unmapped_is_given_to_every_item_as_a_whole():
    table = [10, 20, 30]
    work = map_work(lambda x, table: (x, table), ([1, 2], unmapped(table)), {})
    assert work.known_length == 2
    assert work.call(1)[1] is table


def test_a_million_items_of_a_range_are_not_made():
    tracemalloc.start()
    work = map_work(lambda x: x, (range(1_000_000),), {})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert work.known_length == 1_000_000
    assert work.call(999_999) == 999_999
    assert most < 100_000


def test_an_item_is_told_without_the_defaults():
    work = map_work(add, ([1, 2],), {"z": [5, 6]})
    assert work.item(1).index == 1
    assert work.item(1).arguments == {"x": 2, "z": 6}


# --- bad input ------------------------------------------------------------------------------------------------------


def test_lengths_that_differ_are_told_with_what_to_do():
    with pytest.raises(MapArgumentsError, match=r"x has 3, y has 2.*unmapped\(y\)"):
        map_work(add, ([1, 2, 3], [1, 2]), {})


def test_nothing_to_map_over_is_told_with_what_to_do():
    with pytest.raises(MapArgumentsError, match=r"nothing to map over: x='text', y=2.*submit\(\)"):
        map_work(add, ("text", 2), {})


def test_no_argument_at_all_is_nothing_to_map_over():
    with pytest.raises(MapArgumentsError, match="nothing to map over: no argument"):
        map_work(lambda: 1, (), {})


def test_a_sized_iterable_that_raises_half_way_keeps_what_came_before():
    class Lines(list):
        def __iter__(self):
            yield from ("first", "second")
            raise OSError("the disk is gone")

    with pytest.raises(
        MapArgumentsError, match="OSError: the disk is gone after 2 items; nothing was submitted"
    ) as told:
        map_work(add, (Lines(),), {})
    assert told.value.items == ["first", "second"]
    assert isinstance(told.value.__cause__, OSError)


@pytest.mark.parametrize(("args", "kwargs"), [(([1],) * 3, {}), (([1],), {"w": 1}), ((), {}), (([1],), {"x": [1]})])
def test_arguments_that_do_not_fit_are_told_with_the_signature(args, kwargs):
    with pytest.raises(MapArgumentsError, match=r"add\(x, y=1, \*, z=0\) cannot be called like that"):
        map_work(add, args, kwargs)


@pytest.mark.parametrize("make", [map_work, submit_work])
def test_what_cannot_be_called_is_told_with_what_was_perhaps_meant(make):
    with pytest.raises(MapArgumentsError, match=r"function or a Prefect task, got int\. Write map\(fn, items\)"):
        make(3, ([1],), {})


@pytest.mark.parametrize("make", [map_work, submit_work])
def test_a_flow_is_pointed_to_run(make):
    with pytest.raises(MapArgumentsError, match=r"'etl' is a Prefect flow.*nbf\.run\(flow"):
        make(flow(name="etl")(add), ([1],), {})


def test_a_builtin_without_a_signature_takes_arguments_by_position():
    work = map_work(max, ([1, 5], [3, 4]), {})
    assert [work.call(0), work.call(1)] == [3, 5]
    assert work.item(0).arguments == {"arg0": 1, "arg1": 3}
    work = map_work(max, ([1, 5], [-3, -6]), {"key": abs})
    assert [work.call(0), work.call(1)] == [-3, -6]


def test_an_argument_that_has_no_repr_does_not_hide_the_message():
    class Shy:
        def __repr__(self):
            raise RuntimeError("no")

    with pytest.raises(MapArgumentsError, match="nothing to map over: x=<Shy>"):
        map_work(add, (Shy(),), {})


def test_the_function_of_a_task_decides_and_its_settings_do_not():
    work = map_work(task(add, name="sum"), ([1, 2],), {"y": unmapped([3])})
    assert work.item(1).arguments == {"x": 2, "y": [3]}


def test_a_table_is_made_of_what_was_bound():
    table = map_calls(add, bind(add, ([1, 2], range(5, 7)), {}))
    assert table.columns == {"x": [1, 2], "y": range(5, 7)}
    assert table.statics == {}


def test_a_table_is_mapped_over_its_column_names_as_prefect_does_and_a_warning_says_so():
    table = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    with pytest.warns(UserWarning, match=r"map over x.itertuples"):
        work = map_work(lambda x: x, (table,), {})
    assert [work.call(0), work.call(1)] == ["a", "b"]
