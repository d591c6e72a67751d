"""What `map` maps over: Prefect's rules, without making a call's arguments before it runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.futures_in import find_futures, may_hold_futures
from nbfutures.engine.calls.iterables import Taken, how_taken, is_iterable_type, warn_of
from nbfutures.engine.calls.prefect_types import (
    as_futures,
    is_annotation,
    is_future,
    is_prefect_task,
    is_unmapped,
    stands_for_futures,
)
from nbfutures.engine.calls.signatures import ROW, Bound, Layout, bind, layout_of, name_of_callable
from nbfutures.engine.calls.stream import ItemStream, Kept, is_unsized
from nbfutures.errors import MapArgumentsError
from nbfutures.model.dry_run import spread
from nbfutures.model.item import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CallTable", "StreamTable", "map_calls", "pending_lengths", "rows_for_prefect", "single_call"]

_DEPTH = 2
"""Containers within each other that are opened to look for futures, for a plain function."""
_SHORT = 40  # characters of an argument in an error
_SHOWN = (str, bytes, int, float, complex, bool, type(None))


class CallTable:
    """The calls of one job: some parameters have a column with one value for each item, the others one value for all.

    Args:
        target: What is called: a function, or a Prefect task.
        columns: Parameter name to its values, all of the same length.
        statics: Parameter name to the value that every item receives.
        length: Number of items.
        layout: How the arguments are passed; by name if nothing is said.
    """

    stream: ItemStream | None = None
    """Where calls come from while the job runs."""
    to_resolve: frozenset[int] | set[int] = frozenset()
    """Those of the calls, come one by one, whose arguments are futures or annotated."""

    def __init__(
        self,
        target: Any,
        columns: Mapping[str, Sequence[Any]],
        statics: Mapping[str, Any],
        length: int,
        layout: Layout | None = None,
    ) -> None:
        self.target = target
        self.columns = dict(columns)
        self.statics = dict(statics)
        self.length = length
        self.layout = layout or Layout([], [*columns, *statics])
        self.positions: Sequence[int] = range(length)
        """Where each call stands among all that there were before a sample was taken."""
        self.full_length = length
        """How many that were."""
        self._annotations: dict[str, Any] = {}
        self._row_names: dict[int, list[str]] = {}
        self.depth = None if looks_everywhere(target) else _DEPTH + (self.layout.variadic == ROW)
        """How many containers in an argument are opened to look for futures; `None` for all, as Prefect does."""
        self.with_futures = {
            name for name, values in self._values.items() if may_hold_futures(_distinct(values), self.depth)
        }
        """Names of the arguments that are futures, or hold some."""

    @property
    def has_futures(self) -> bool:
        """Whether some argument is a future, or holds one."""
        return bool(self.with_futures)

    @property
    def _values(self) -> dict[str, Sequence[Any]]:
        return {**self.columns, **{name: [value] for name, value in self.statics.items()}}

    def __len__(self) -> int:
        """Return the number of items."""
        return self.length

    def item(self, index: int) -> Item:
        """Return the call at `index`, with its arguments as they were given (futures are not resolved)."""
        return Item(index, self._named(self.arguments(index)))

    def arguments(self, index: int) -> dict[str, Any]:
        """Return the arguments of the call at `index` by parameter name, as `Task` runs take them."""
        arguments = {name: column[index] for name, column in self.columns.items()}
        arguments.update(self.statics)
        for name, annotation in self._annotations.items():
            arguments[name] = annotation.rewrap(arguments[name])
        return arguments

    def annotate(self, annotations: Mapping[str, Any]) -> None:
        """Keep Prefect's annotations (`allow_failure`, `quote`, `opaque`), to be put around each item's argument."""
        self._annotations = dict(annotations)

    @property
    def unresolved(self) -> set[str]:
        """Names of the arguments that Prefect has to resolve: futures, what holds some, and what is annotated."""
        annotated = {name for name, values in self._values.items() if _has_annotations(values)}
        return {*self.with_futures, *self._annotations, *annotated}

    def take(self, target: Any) -> bool:
        """Make the calls of another function from now on; return whether it takes the arguments."""
        layout = layout_of(target, [*self.columns, *self.statics], self.layout)
        if layout is not None:
            self.target, self.layout, self._row_names = target, layout, {}
        return layout is not None

    def sample(self, most: int) -> CallTable:
        """Return a table of some of the calls, evenly spread: the first and the last among them.

        Args:
            most: How many to keep, at least 2.
        """
        if self.length <= most:
            return self
        positions = spread(self.length, most)
        columns = {name: [column[position] for position in positions] for name, column in self.columns.items()}
        made = CallTable(self.target, columns, self.statics, len(positions), self.layout)
        made.annotate(self._annotations)
        made.positions, made.full_length = positions, self.length
        return made

    def caller(self, fn: Callable[..., Any]) -> Callable[[int], Any]:
        """Return a function that makes the call at an index; for arguments that hold no future.

        Args:
            fn: The function to call.
        """
        layout = self.layout
        if self._is_by_position:
            if len(self.columns) == 1:
                (column,) = self.columns.values()
                return lambda index: fn(column[index])
            columns = list(self.columns.values())
            return lambda index: fn(*[column[index] for column in columns])
        return lambda index: layout.call(fn, self.arguments(index))

    def picker(self) -> Callable[[Sequence[int]], tuple[bool, list[Any]]]:
        """Return a function that picks, for some items, what differs between the calls.

        It returns whether that is all arguments, by position, as one list for each parameter; or else one dictionary
        by parameter name for each item.
        """
        names, columns = list(self.columns), list(self.columns.values())
        if columns and self._is_by_position:
            return lambda indices: (True, [[column[index] for index in indices] for column in columns])
        return lambda indices: (False, [{name: self.columns[name][index] for name in names} for index in indices])

    @property
    def _is_by_position(self) -> bool:
        layout = self.layout
        return not layout.keyword and layout.variadic is None and list(self.columns) == layout.positional

    def _named(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by the function's names for them, also where they are kept as a row."""
        if self.layout.variadic != ROW or not isinstance(arguments[ROW], tuple | list):
            return arguments
        row = arguments.pop(ROW)
        if len(row) not in self._row_names:
            try:
                self._row_names[len(row)] = bind(self.target, row, arguments).layout.positional
            except MapArgumentsError:  # the row does not fit, which is the item's error
                self._row_names[len(row)] = [f"args[{number}]" for number in range(len(row))]
        return {**dict(zip(self._row_names[len(row)], row, strict=True)), **arguments}

    def dependencies(self, index: int) -> list[Any]:
        """Return the futures among the arguments of the call at `index`."""
        arguments = self.arguments(index)
        # In one container.
        depth = None if self.depth is None else self.depth + 1
        return find_futures([arguments[name] for name in arguments if name in self.with_futures], depth)


class StreamTable(CallTable):
    """Calls whose arguments come from iterators while the job runs.

    Args:
        target: What is called.
        sources: Parameter name to what is read: iterators, and perhaps lists.
        statics: Parameter name to the value that every item receives.
        layout: How the arguments are passed; by name if nothing is said.
    """

    stream: ItemStream

    def __init__(
        self, target: Any, sources: Mapping[str, Any], statics: Mapping[str, Any], layout: Layout | None = None
    ) -> None:
        self._kept = {name: Kept() for name in sources}
        super().__init__(target, self._kept, statics, 0, layout)  # type: ignore[arg-type]  # asked for items only
        self.to_resolve: set[int] = set()
        self.stream = ItemStream(self._kept, sources, self._note)

    def _note(self, first: int, length: int) -> Sequence[int]:
        """Take in that items have come; return those whose arguments are to be resolved."""
        found: set[int] = set()
        for name, column in self._kept.items():
            values = [column[index] for index in range(first, length)]
            if not (may_hold_futures(values, self.depth) or _has_annotations(values)):
                continue
            self.with_futures.add(name)
            found.update(
                index
                for index, value in zip(range(first, length), values, strict=True)
                if may_hold_futures([value], self.depth) or is_annotation(type(value))
            )
        self.to_resolve.update(found)
        self.length = self.full_length = length
        self.positions = range(length)
        return sorted(found)

    def sample(self, most: int) -> CallTable:
        """Have the first calls only come."""
        self.stream.limit = most
        return self

    def listed(self) -> CallTable:
        """Return the table of the calls, now that all have come."""
        columns = {name: [column[index] for index in range(self.length)] for name, column in self._kept.items()}
        made = CallTable(self.target, columns, self.statics, self.length, self.layout)
        made.annotate(self._annotations)
        return made


def single_call(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallTable:
    """Return the table of one call."""
    arguments, layout = bind(target, args, kwargs, how="submit")
    return CallTable(target, {}, {name: as_futures(value) for name, value in arguments.items()}, 1, layout)


def looks_everywhere(target: Any) -> bool:
    """Tell whether futures in all depths of the arguments count: where Prefect calls, which looks for them there."""
    return is_prefect_task(target) or hasattr(type(target), "is_of_prefect")


def pending_lengths(arguments: Mapping[str, Any]) -> list[Any]:
    """Return the futures whose values have to be known before the number of items is: arguments that are one future."""
    found = []
    for value in arguments.values():
        inner = as_futures(_unwrapped(value))
        if is_future(type(inner)) and not is_unmapped(type(value)) and not _comes_singly(inner):
            found.append(inner)
    return found


def map_calls(target: Any, bound: Bound) -> CallTable:  # noqa: C901 - one check after the other
    """Split mapped arguments into calls.

    What is mapped over and what every item receives is said in `iterables`.

    Args:
        target: What is called.
        bound: The arguments, with no future at the top, and how they are passed.

    Returns:
        The calls.

    Raises:
        MapArgumentsError: If nothing can be mapped over, the lengths differ, or an iterable raises.
    """
    arguments, layout = bound
    columns: dict[str, Any] = {}
    statics: dict[str, Any] = {}
    if ROW in arguments:
        _check_rows_object(target, arguments[ROW])
    for name, is_mapped in _choose_mapped(arguments).items():
        value = _unwrapped(arguments[name])
        if is_unmapped(type(arguments[name])):
            statics[name] = as_futures(value)
        elif is_mapped:
            columns[name] = _source(_told(name), as_futures(value))
        else:
            statics[name] = value
    if not columns:
        given_names = ", ".join(f"{_told(name)}={_short(value)}" for name, value in arguments.items()) or "no argument"
        raise MapArgumentsError(
            f"There is nothing to map over: {given_names}. Give at least one iterable that is not a text, "
            f"for example a list, or use submit() for a single call."
        )
    unsized = [name for name, column in columns.items() if not isinstance(column, list | range)]
    if ROW in columns and ROW not in unsized:
        _check_rows(target, columns[ROW], [name for name in arguments if name != ROW])
    if len({id(columns[name]) for name in unsized}) < len(unsized):
        raise MapArgumentsError(
            f"{' and '.join(map(_told, unsized))} are one iterator, which gives each of its values once. Give two, as "
            f"itertools.tee makes them."
        )
    length = _common_length(arguments, {name: column for name, column in columns.items() if name not in unsized})
    for name, value in arguments.items():
        if name != ROW and not is_unmapped(type(value)):
            is_alone = len(columns) == 1
            warn_of(name, _unwrapped(value), is_mapped=name in columns, length=length, is_alone=is_alone)
    if unsized:
        table: CallTable = StreamTable(target, columns, statics, layout)
    else:
        table = CallTable(target, columns, statics, length, layout)
    table.annotate(
        {
            name: value
            for name, value in arguments.items()
            if is_annotation(type(value)) and not is_unmapped(type(value))
        }
    )
    return table


def _choose_mapped(arguments: Mapping[str, Any]) -> dict[str, bool]:
    """Return for each argument whether it is mapped over."""
    taken: dict[str, Taken] = {}
    problems: dict[str, Exception] = {}
    for name, value in arguments.items():
        taken[name] = Taken.WHOLE if is_unmapped(type(value)) else how_taken(_unwrapped(value))
        if name == ROW:
            taken[name] = Taken.MAPPED
        elif taken[name] is Taken.LIKELY_MAPPED and (error := _problem_of(_unwrapped(value))) is not None:
            taken[name], problems[name] = Taken.WHOLE, error
    sure = {name for name, how in taken.items() if how in {Taken.MAPPED, Taken.LIKELY_MAPPED}}
    mapped = sure or {name for name, how in taken.items() if how is Taken.LIKELY_WHOLE}
    for name, error in problems.items():
        # What says by a `TypeError` that it is no iterable is none.
        if not mapped and not isinstance(error, TypeError):
            raise MapArgumentsError(
                f"The iterable for {name!r} raised {type(error).__name__}: {error}; nothing was submitted."
            ) from error
    return {name: name in mapped for name in arguments}


def _problem_of(value: Any) -> Exception | None:
    try:
        iter(value)
    except Exception as error:  # of the user's class
        return error
    return None


def _common_length(arguments: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{_told(name)} has {length:,}" for name, length in lengths.items())
        # What may be meant as one thing is so, probably.
        unsure = [name for name in lengths if how_taken(_unwrapped(arguments[name])) is Taken.LIKELY_MAPPED]
        whole = min(unsure or lengths, key=lambda name: lengths[name])
        raise MapArgumentsError(
            f"The iterables have different lengths: {told}. Make them equal, or wrap what every item is to receive "
            f"as a whole: unmapped({_told(whole)})."
        )
    return next(iter(lengths.values()), 0)


def rows_for_prefect(task: Any, rows: Any, kwargs: Mapping[str, Any]) -> Bound:
    """Return the arguments of a Prefect task by parameter, of rows that hold those of one call each.

    Raises:
        MapArgumentsError: If they do not fit, or are futures.
    """
    _check_rows_object(task, rows)
    listed = _listed("rows", as_futures(rows))
    if may_hold_futures(listed, 0):
        raise MapArgumentsError(
            f"starmap() unpacks rows for a Prefect task when it is called, and these are futures. Take their values "
            f"first: nbf.starmap({_name(task)}, job.result())."
        )
    _check_rows(task, listed, list(kwargs))
    bound = [bind(task, row, kwargs, how="starmap").arguments for row in listed]
    names = [name for name in dict.fromkeys(name for one in bound for name in one) if name not in kwargs]
    defaults = {name: one.default for name, one in inspect.signature(task.fn).parameters.items()}
    columns = {name: [one.get(name, defaults.get(name)) for one in bound] for name in names}
    if not columns:
        return Bound({ROW: listed, **kwargs}, Layout([ROW], list(kwargs), ROW))
    arguments = {**columns, **kwargs}
    layout = layout_of(task, list(arguments), Layout([], list(arguments)))
    assert layout is not None
    return Bound(arguments, layout)


def _check_rows_object(target: Any, rows: Any) -> None:
    taken = how_taken(rows)
    if taken in {Taken.MAPPED, Taken.LIKELY_MAPPED} or is_future(type(rows)):
        return
    kind, name = type(rows).__name__, _name(target)
    instead = {"dict": "rows.items()", "DataFrame": "rows.itertuples(index=False)"}.get(kind)
    advice = f" Write nbf.starmap({name}, {instead})." if instead else ""
    raise MapArgumentsError(f"starmap() takes an iterable with a tuple of arguments for each call, got {kind}.{advice}")


def _check_rows(target: Any, rows: Sequence[Any], names: Sequence[str]) -> None:
    """Raise `MapArgumentsError` where a row is no row, or where none of them fits the function."""
    kinds = set(map(type, rows))
    for kind in kinds:
        if not issubclass(kind, Mapping) and (is_iterable_type(kind) or is_future(kind) or stands_for_futures(kind)):
            continue
        index, row = next((index, row) for index, row in enumerate(rows) if type(row) is kind)
        name = _name(target)
        instead = "" if issubclass(kind, Mapping) else f" For one argument for each call: nbf.map({name}, rows)."
        raise MapArgumentsError(
            f"starmap() takes a tuple of arguments for each call; element {index} is {_short(row)}, no tuple.{instead}"
        )
    if not kinds or not all(issubclass(kind, tuple | list) for kind in kinds):
        return
    problem: MapArgumentsError | None = None
    for size in set(map(len, rows)):
        try:
            bind(target, [None] * size, dict.fromkeys(names), how="starmap")
        except MapArgumentsError as error:
            problem = error
        else:
            return
    if problem is not None:
        raise problem


def _name(target: Any) -> str:
    return name_of_callable(target.fn if is_prefect_task(target) else target)


def _unwrapped(value: Any) -> Any:
    """Return what is inside of Prefect's annotations."""
    return value.unwrap() if is_annotation(type(value)) else value


def _told(name: str) -> str:
    return "rows" if name == ROW else name


def _source(name: str, value: Any) -> Any:
    """Return what an argument is read from: a list or a range, or an iterator, which nobody knows the length of."""
    if _comes_singly(value):
        return value.stream_items()
    return value if inspect.isasyncgen(value) or is_unsized(value) else _listed(name, value)


def _comes_singly(value: Any) -> bool:
    """Tell whether a value stands for a job whose items become known while it runs, each with a future of its own."""
    return is_future(type(value)) and getattr(value, "gives_items", False) is True


def _listed(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, range):
        return value
    got: list[Any] = []
    try:
        # extend() keeps what came before an iterable raises, which list() would lose. It asks for a length, if it can,
        # which may raise, too.
        got.extend(value if type(value) in {list, tuple} else iter(value))
    except Exception as error:
        problem = MapArgumentsError(
            f"The iterable for {name!r} raised {type(error).__name__}: {error} after {len(got):,} items; nothing was "
            f"submitted. The items that came before are in the error's `items`."
        )
        problem.items = got  # type: ignore[attr-defined]
        raise problem from error
    return got


def _distinct(values: Sequence[Any]) -> Sequence[Any]:
    """Return values without those that cannot be of interest: of a range, one is as good as all."""
    return values[:1] if isinstance(values, range) else values


def _has_annotations(values: Sequence[Any]) -> bool:
    return any(map(is_annotation, set(map(type, _distinct(values)))))


def _short(value: Any) -> str:
    if type(value) not in _SHOWN:
        return f"<{type(value).__name__}>"
    text = repr(value[:_SHORT] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
