"""What `map` maps over: Prefect's rules, without making a call's arguments before it runs."""

from __future__ import annotations

import dataclasses
import inspect
import io
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from nbfutures.errors import MapArgumentsError
from nbfutures.model.dry_run import spread
from nbfutures.model.item import Item
from nbfutures.model.options import JobOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["CallTable", "bind", "call_with", "find_futures", "layout_of", "map_calls", "pending_lengths", "single_call"]

_PLAIN_TYPES = frozenset({int, float, complex, str, bytes, bool, type(None), range})
_OPTIONS = frozenset(field.name for field in dataclasses.fields(JobOptions))
_SHORT = 40  # characters of an argument in an error
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CallTable:
    """The calls of one job: some parameters have a column with one value for each item, the others one value for all.

    Args:
        fn: The function to be called.
        columns: Parameter name to its values, all of the same length.
        statics: Parameter name to the value that every item receives.
        length: Number of items.
    """

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


class Layout(NamedTuple):
    """How to pass arguments that are given by parameter name."""

    positional: list[str]
    keyword: list[str]
    variadic: str | None
    """The name among `positional` that stands for `*args`."""


def call_with(fn: Callable[..., Any], arguments: Mapping[str, Any], layout: Layout | None = None) -> Any:
    """Call `fn` with arguments given by parameter name, as Prefect does."""
    layout = layout or layout_of(fn, list(arguments))
    args: list[Any] = []
    for name in layout.positional:
        if name == layout.variadic:
            args.extend(arguments[name])
        else:
            args.append(arguments[name])
    return fn(*args, **{name: arguments[name] for name in layout.keyword})


def bind(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Bind arguments to the parameters of `fn`, without its defaults; `**kwargs` are spread out.

    Args:
        fn: The function.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        Parameter name to argument. For a builtin without a signature the names are `arg0`, `arg1`, ...

    Raises:
        MapArgumentsError: If the arguments do not fit.
    """
    signature = _signature(fn)
    if signature is None:
        if kwargs:
            raise MapArgumentsError(
                f"{_name(fn)}() tells no parameter names, so that it takes positional arguments only. "
                f"Wrap it: lambda x: {_name(fn)}(x, ...)."
            )
        return {f"arg{number}": value for number, value in enumerate(args)}
    try:
        bound = dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        meant = [name for name in kwargs if name in _OPTIONS and name not in signature.parameters]
        advice = (
            f"To set how it runs: nbf.options({', '.join(f'{name}=...' for name in meant)}).map(...)."
            if meant
            else "Give one argument for each parameter."
        )
        raise MapArgumentsError(f"{_name(fn)}{signature} cannot be called like that: {error}. {advice}") from None
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and parameter.name in bound:
            bound.update(bound.pop(parameter.name))
    return bound


def single_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallTable:
    """Return the table of one call."""
    arguments = {name: _as_futures(value) for name, value in bind(fn, args, kwargs).items()}
    return CallTable(fn, {}, arguments, 1)


def pending_lengths(arguments: Mapping[str, Any]) -> list[Any]:
    """Return the futures whose values have to be known before the number of items is: arguments that are one future."""
    found = []
    for value in arguments.values():
        inner = _as_futures(value.unwrap() if isinstance(value, _annotation_types()) else value)
        if isinstance(inner, _future_types()) and not isinstance(value, _unmapped_types()):
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
        if isinstance(value, _annotation_types()) and not isinstance(value, _unmapped_types()):
            annotations[name] = value
            value = value.unwrap()
        if isinstance(value, _unmapped_types()):
            statics[name] = _as_futures(value.value)
        elif _is_iterable(value):
            if type(value).__name__ == "DataFrame":
                warnings.warn(
                    f"{name} is a DataFrame, and iterating over one gives its column names, for Prefect too. For its "
                    f"rows, map over {name}.itertuples(index=False), or over columns: f({name}['a'], {name}['b']).",
                    stacklevel=2,
                )
            columns[name] = _listed(name, _as_futures(value))
        else:
            statics[name] = value
    if not columns:
        given_names = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items()) or "no argument"
        raise MapArgumentsError(
            f"There is nothing to map over: {given_names}. Give at least one iterable that is not a text, "
            f"for example a list, or use submit() for a single call."
        )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
        raise MapArgumentsError(
            f"The iterables have different lengths: {told}. Make them equal, or wrap what every item is to receive "
            f"as a whole: unmapped({min(lengths, key=lambda name: lengths[name])})."
        )
    table = CallTable(fn, columns, statics, next(iter(lengths.values())))
    table.annotate(annotations)
    return table


def find_futures(value: Any) -> list[Any]:
    """Return the Prefect futures in a value, in order, each once: itself, or inside builtin containers.

    What is inside `quote` is not looked at.
    """
    future_types = _future_types()
    if not future_types:
        return []
    found: list[Any] = []
    stack = [value]
    seen: set[int] = set()
    while stack:
        one = stack.pop()
        if isinstance(one, future_types):
            found.append(one)
        elif type(one) not in _PLAIN_TYPES and id(one) not in seen:
            # A structure may hold itself.
            if isinstance(one, dict | list):
                seen.add(id(one))
            stack.extend(reversed(_inner_values(one)))
    return list(dict.fromkeys(found))


def _inner_values(value: Any) -> list[Any]:
    if isinstance(value, _annotation_types()):
        return [] if type(value).__name__ == "quote" else [value.unwrap()]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return [value.__prefect_futures__()] if hasattr(value, "__prefect_futures__") else []


# --- helpers ---------------------------------------------------------------------------------------------------


def _future_types() -> tuple[Any, ...]:
    # Nobody can hold a future before Prefect is imported; asking like this keeps a first cell from waiting for it.
    module = sys.modules.get("prefect.futures")
    kind = getattr(module, "PrefectFuture", None)
    return (kind,) if kind is not None else ()


def _annotation_types() -> tuple[Any, ...]:
    module = sys.modules.get("prefect.utilities.annotations")
    kind = getattr(module, "BaseAnnotation", None)
    return (kind,) if kind is not None else ()


def _unmapped_types() -> tuple[Any, ...]:
    module = sys.modules.get("prefect.utilities.annotations")
    kind = getattr(module, "unmapped", None)
    return (kind,) if kind is not None else ()


def _as_futures(value: Any) -> Any:
    ask = getattr(value, "__prefect_futures__", None)
    return ask() if callable(ask) else value


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
    if isinstance(column, range) or not _future_types():
        return False
    if set(map(type, column)) <= _PLAIN_TYPES:
        return False
    return any(find_futures(value) for value in column)


def _column_has_annotations(column: Sequence[Any]) -> bool:
    if isinstance(column, range) or not _annotation_types():
        return False
    return any(issubclass(kind, _annotation_types()) for kind in set(map(type, column)))


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError):
        return None


def layout_of(fn: Callable[..., Any], names: Sequence[str]) -> Layout:
    """Return how `fn` takes arguments of these names."""
    signature = _signature(fn)
    if signature is None:
        return Layout(list(names), [], None)
    positional: list[str] = []
    variadic = None
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            if parameter.name in names:
                positional.append(parameter.name)
                variadic = parameter.name
            break
        if parameter.kind not in _POSITIONAL or parameter.name not in names:
            break
        positional.append(parameter.name)
    return Layout(positional, [name for name in names if name not in positional], variadic)


def _name(fn: Any) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__))


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
