"""What `map` maps over: Prefect's rules, without making a call's arguments before it runs."""

from __future__ import annotations

import inspect
import io
import warnings
from typing import TYPE_CHECKING, Any

from nbfutures.errors import MapArgumentsError
from nbfutures.model.dry_run import spread
from nbfutures.model.item import Item
from nbfutures.runtime.calls.prefect_types import annotation_types, future_types, unmapped_types
from nbfutures.runtime.calls.signatures import bind, call_with, layout_of
from nbfutures.runtime.calls.stream import ItemStream, Kept, is_unsized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["CallTable", "StreamTable", "find_futures", "map_calls", "pending_lengths", "single_call"]

_PLAIN_TYPES = frozenset({int, float, complex, str, bytes, bool, type(None), range})
_SHORT = 40  # characters of an argument in an error


class CallTable:
    """The calls of one job: some parameters have a column with one value for each item, the others one value for all.

    Args:
        fn: The function to be called.
        columns: Parameter name to its values, all of the same length.
        statics: Parameter name to the value that every item receives.
        length: Number of items.
    """

    stream: ItemStream | None = None
    """Where calls come from while the job runs."""
    to_resolve: frozenset[int] | set[int] = frozenset()
    """Those of the calls, come one by one, whose arguments are futures or annotated."""

    def __init__(
        self, fn: Callable[..., Any], columns: Mapping[str, Sequence[Any]], statics: Mapping[str, Any], length: int
    ) -> None:
        self.fn = fn
        self.columns = dict(columns)
        self.statics = dict(statics)
        self.length = length
        self.positions: Sequence[int] = range(length)
        """Where each call stands among all that there were before a sample was taken."""
        self.full_length = length
        """How many that were."""
        self._annotations: dict[str, Any] = {}
        self.has_futures = any(map(_column_has_futures, self.columns.values())) or bool(
            find_futures(list(self.statics.values()))
        )

    def __len__(self) -> int:
        """Return the number of items."""
        return self.length

    def item(self, index: int) -> Item:
        """Return the call at `index`, with its arguments as they were given (futures are not resolved)."""
        return Item(index, self.arguments(index))

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
    def has_annotations(self) -> bool:
        """Whether some argument is annotated, so that Prefect has to resolve it."""
        columns = (*self.columns.values(), list(self.statics.values()))
        return bool(self._annotations) or any(map(_column_has_annotations, columns))

    def sample(self, most: int) -> CallTable:
        """Return a table of some of the calls, evenly spread: the first and the last among them.

        Args:
            most: How many to keep, at least 2.
        """
        if self.length <= most:
            return self
        positions = spread(self.length, most)
        columns = {name: [column[position] for position in positions] for name, column in self.columns.items()}
        made = CallTable(self.fn, columns, self.statics, len(positions))
        made.annotate(self._annotations)
        made.positions, made.full_length = positions, self.length
        return made

    def caller(self, fn: Callable[..., Any]) -> Callable[[int], Any]:
        """Return a function that makes the call at an index; for arguments that hold no future.

        Args:
            fn: The function to call, the table's own or one with the same parameters.
        """
        layout = layout_of(fn, [*self.columns, *self.statics])
        if not layout.keyword and layout.variadic is None and list(self.columns) == layout.positional:
            if len(self.columns) == 1:
                (column,) = self.columns.values()
                return lambda index: fn(column[index])
            columns = list(self.columns.values())
            return lambda index: fn(*[column[index] for column in columns])
        return lambda index: call_with(fn, self.arguments(index), layout)

    def picker(self, fn: Callable[..., Any]) -> Callable[[Sequence[int]], tuple[bool, list[Any]]]:
        """Return a function that picks, for some items, what differs between the calls.

        It returns whether that is all arguments, by position, as one list for each parameter; or else one dictionary
        by parameter name for each item.

        Args:
            fn: The function to be called, the table's own or one with the same parameters.
        """
        layout = layout_of(fn, [*self.columns, *self.statics])
        names, columns = list(self.columns), list(self.columns.values())
        if columns and not layout.keyword and layout.variadic is None and names == layout.positional:
            return lambda indices: (True, [[column[index] for index in indices] for column in columns])
        return lambda indices: (False, [{name: self.columns[name][index] for name in names} for index in indices])

    def dependencies(self, index: int) -> list[Any]:
        """Return the futures among the arguments of the call at `index`."""
        return find_futures([column[index] for column in self.columns.values()] + list(self.statics.values()))


class StreamTable(CallTable):
    """Calls whose arguments come from iterators while the job runs.

    Args:
        fn: The function to be called.
        sources: Parameter name to what is read: iterators, and perhaps lists.
        statics: Parameter name to the value that every item receives.
    """

    stream: ItemStream

    def __init__(self, fn: Callable[..., Any], sources: Mapping[str, Any], statics: Mapping[str, Any]) -> None:
        self._kept = {name: Kept() for name in sources}
        super().__init__(fn, self._kept, statics, 0)  # type: ignore[arg-type]  # they are asked for items only
        self.to_resolve: set[int] = set()
        self.stream = ItemStream(self._kept, sources, self._note)

    def _note(self, first: int, length: int) -> Sequence[int]:
        """Take in that items have come; return those whose arguments are to be resolved."""
        found = [
            index
            for index in range(first, length)
            if any(
                type(value) not in _PLAIN_TYPES and (isinstance(value, annotation_types()) or find_futures(value))
                for value in [column[index] for column in self._kept.values()]
            )
        ]
        self.to_resolve.update(found)
        self.length = self.full_length = length
        self.positions = range(length)
        return found

    def sample(self, most: int) -> CallTable:
        """Have the first calls only come."""
        self.stream.limit = most
        return self

    def listed(self) -> CallTable:
        """Return the table of the calls, now that all have come."""
        columns = {name: [column[index] for index in range(self.length)] for name, column in self._kept.items()}
        made = CallTable(self.fn, columns, self.statics, self.length)
        made.annotate(self._annotations)
        return made


def single_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallTable:
    """Return the table of one call."""
    arguments = {name: _as_futures(value) for name, value in bind(fn, args, kwargs).items()}
    return CallTable(fn, {}, arguments, 1)


def pending_lengths(arguments: Mapping[str, Any]) -> list[Any]:
    """Return the futures whose values have to be known before the number of items is: arguments that are one future."""
    found = []
    for value in arguments.values():
        inner = _as_futures(value.unwrap() if isinstance(value, annotation_types()) else value)
        if isinstance(inner, future_types()) and not isinstance(value, unmapped_types()) and not _comes_singly(inner):
            found.append(inner)
    return found


def map_calls(fn: Callable[..., Any], arguments: Mapping[str, Any]) -> CallTable:
    """Split mapped arguments into calls, as Prefect's `Task.map` does.

    What is iterable is mapped over; texts, bytes, files and whatever is wrapped in `unmapped` is given to every item.

    Args:
        fn: The function to be called.
        arguments: Parameter name to argument, from `bind`, with no future at the top.

    Returns:
        The calls.

    Raises:
        MapArgumentsError: If nothing can be mapped over, the lengths differ, or an iterable raises.
    """
    columns: dict[str, Sequence[Any]] = {}
    statics: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for name, given in arguments.items():
        value = given
        if isinstance(value, annotation_types()) and not isinstance(value, unmapped_types()):
            annotations[name] = value
            value = value.unwrap()
        if isinstance(value, unmapped_types()):
            statics[name] = _as_futures(value.value)
        elif inspect.isasyncgen(value) or _is_iterable(value):
            if type(value).__name__ == "DataFrame":
                warnings.warn(
                    f"{name} is a DataFrame, and iterating over one gives its column names, for Prefect too. For its "
                    f"rows, map over {name}.itertuples(index=False), or over columns: f({name}['a'], {name}['b']).",
                    stacklevel=2,
                )
            columns[name] = _source(name, _as_futures(value))
        else:
            statics[name] = value
    if not columns:
        given_names = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items()) or "no argument"
        raise MapArgumentsError(
            f"There is nothing to map over: {given_names}. Give at least one iterable that is not a text, "
            f"for example a list, or use submit() for a single call."
        )
    unsized = [name for name, column in columns.items() if not isinstance(column, list | range)]
    _check_sources(columns, unsized)
    table = (
        StreamTable(fn, columns, statics)
        if unsized
        else CallTable(fn, columns, statics, len(next(iter(columns.values()))))
    )
    table.annotate(annotations)
    return table


def find_futures(value: Any) -> list[Any]:
    """Return the Prefect futures in a value, in order, each once: itself, or inside builtin containers.

    What is inside `quote` is not looked at.
    """
    kinds = future_types()
    if not kinds:
        return []
    found: list[Any] = []
    stack = [value]
    seen: set[int] = set()
    while stack:
        one = stack.pop()
        if isinstance(one, kinds):
            found.append(one)
        elif type(one) not in _PLAIN_TYPES and id(one) not in seen:
            # A structure may hold itself.
            if isinstance(one, dict | list):
                seen.add(id(one))
            stack.extend(reversed(_inner_values(one)))
    return list(dict.fromkeys(found))


def _inner_values(value: Any) -> list[Any]:
    if isinstance(value, annotation_types()):
        return [] if type(value).__name__ == "quote" else [value.unwrap()]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return [value.__prefect_futures__()] if hasattr(value, "__prefect_futures__") else []


def _as_futures(value: Any) -> Any:
    ask = getattr(value, "__prefect_futures__", None)
    return ask() if callable(ask) else value


def _source(name: str, value: Any) -> Any:
    """Return what an argument is read from: a list or a range, or an iterator, which nobody knows the length of."""
    if _comes_singly(value):
        return value.stream_items()
    return value if inspect.isasyncgen(value) or is_unsized(value) else _listed(name, value)


def _check_sources(columns: Mapping[str, Any], unsized: Sequence[str]) -> None:
    """Raise `MapArgumentsError` where lengths that are known differ, or two parameters would share an iterator."""
    if len({id(columns[name]) for name in unsized}) < len(unsized):
        raise MapArgumentsError(
            f"{' and '.join(unsized)} are one iterator, which gives each of its values once. Give two, as "
            f"itertools.tee makes them."
        )
    lengths = {name: len(column) for name, column in columns.items() if name not in unsized}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
        raise MapArgumentsError(
            f"The iterables have different lengths: {told}. Make them equal, or wrap what every item is to receive "
            f"as a whole: unmapped({min(lengths, key=lambda name: lengths[name])})."
        )


def _comes_singly(value: Any) -> bool:
    """Tell whether a value stands for a job whose items become known while it runs, each with a future of its own."""
    return isinstance(value, future_types()) and getattr(value, "gives_items", False) is True


def _is_iterable(value: Any) -> bool:
    # The same rule as prefect.utilities.collections.isiterable.
    if isinstance(value, str | bytes | io.IOBase):
        return False
    try:
        iter(value)
    except TypeError:
        return False
    return True


def _listed(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, range):
        return value
    got: list[Any] = []
    try:
        # extend() keeps what came before an iterable raises, which list() would lose.
        got.extend(value)
    except Exception as error:
        problem = MapArgumentsError(
            f"The iterable for {name!r} raised {type(error).__name__}: {error} after {len(got):,} items; nothing was "
            f"submitted. The items that came before are in the error's `items`."
        )
        problem.items = got  # type: ignore[attr-defined]
        raise problem from error
    return got


def _column_has_futures(column: Sequence[Any]) -> bool:
    if isinstance(column, range) or not future_types():
        return False
    if set(map(type, column)) <= _PLAIN_TYPES:
        return False
    return any(find_futures(value) for value in column)


def _column_has_annotations(column: Sequence[Any]) -> bool:
    if isinstance(column, range) or not annotation_types():
        return False
    return any(issubclass(kind, annotation_types()) for kind in set(map(type, column)))


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
