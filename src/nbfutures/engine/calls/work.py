"""What a job runs: calls of a function, or of a Prefect task."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.mapping import (
    CallTable,
    StreamTable,
    map_calls,
    pending_lengths,
    rows_for_prefect,
    single_call,
)
from nbfutures.engine.calls.prefect_types import as_futures, is_annotation, is_future, is_prefect_flow, is_prefect_task
from nbfutures.engine.calls.signatures import (
    ROW,
    Bound,
    Layout,
    as_called,
    bind,
    bind_for_prefect,
    name_of_callable,
    signature_of_call,
)
from nbfutures.engine.shared_loop import run_shared
from nbfutures.errors import ItemSkippedError, MapArgumentsError, NbfuturesError
from nbfutures.model.attributes import own_attribute, type_has

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nbfutures.engine.calls.stream import ItemStream
    from nbfutures.model.item import Item

    Resolve = Callable[[dict[str, Any], int], dict[str, Any]]

__all__ = [
    "CallWork",
    "is_async_function",
    "is_prefect_flow",
    "is_prefect_task",
    "map_work",
    "starmap_work",
    "submit_work",
]


class CallWork:
    """Calls of one function, plain or async, or of one Prefect task.

    Args:
        target: What the user gave: a callable, or a Prefect `Task`.
        arguments: The arguments by parameter name.
        table: The calls, or `None` if their number depends on futures.
        layout: How the arguments are passed, where there is no table yet; by name if nothing is said.
        resolve: Puts values in place of futures, given arguments by name and how deep to look into them (-1: all the
            way); raises `ItemSkippedError` where one did not complete. Needed where there are futures.
    """

    def __init__(
        self,
        target: Any,
        arguments: Mapping[str, Any],
        table: CallTable | None,
        layout: Layout | None = None,
        *,
        resolve: Resolve | None = None,
    ) -> None:
        self.is_flow = False
        self.owns_calls = True
        self.target = target
        self.arguments = arguments
        self._layout = layout or Layout([], list(arguments))
        self.table = table
        self.call: Callable[[int], Any] = _unready
        self._pick: Callable[[Sequence[int]], tuple[bool, list[Any]]] = _unready
        self._unresolved: set[str] = set()
        """Names of the arguments that are futures, hold some, or are annotated."""
        self._sample: int | None = None
        self._resolve = resolve or _no_futures
        if table is not None:
            self._prepare(table)

    @property
    def is_task(self) -> bool:
        """Whether it is a Prefect task, which has a task run for each item."""
        return is_prefect_task(self.target)

    @property
    def is_async(self) -> bool:
        """Whether the function is async."""
        return is_async_function(function_of(self.target))

    @property
    def known_length(self) -> int | None:
        """Number of calls, or `None` while it depends on futures, or on iterators that have not ended."""
        is_open = self.table is None or (self.stream is not None and not self.stream.is_over)
        return None if is_open or self.table is None else len(self.table)

    @property
    def stream(self) -> ItemStream | None:
        """Where calls come from while the job runs, if they do."""
        return self.table.stream if self.table is not None else None

    @property
    def has_dependencies(self) -> bool:
        """Whether calls wait for futures."""
        return self.table is not None and self.table.has_futures

    def all_indices(self) -> Sequence[int]:
        """Return all items that are known."""
        return range(len(self.table) if self.table is not None else 0)

    def item(self, index: int) -> Item:
        """Return the call at `index`."""
        if self.table is None:
            raise IndexError(index)
        return self.table.item(index)

    def dependencies(self, index: int) -> list[Any]:
        """Return the futures that the call at `index` waits for."""
        return self.table.dependencies(index) if self.table is not None else []

    def parameters(self, index: int) -> dict[str, Any]:
        """Return the arguments of the call at `index` for a task run: with lists of futures where a job was given."""
        assert self.table is not None
        return {name: as_futures(value) for name, value in self.table.arguments(index).items()}

    def resolved_parameters(self, index: int) -> dict[str, Any]:
        """Return the arguments of the call at `index` with values in place of futures.

        Raises:
            ItemSkippedError: If it depends on something that did not complete.
        """
        assert self.table is not None
        return _resolved(self.table, index, self._unresolved_of(index), self._resolve)

    def parameters_for_workers(self, index: int) -> dict[str, Any]:
        """Return the resolved arguments of the call at `index` by the names that Prefect has for them.

        Raises:
            ItemSkippedError: If it depends on something that did not complete.
            MapArgumentsError: If they do not fit the function.
        """
        resolved = self.resolved_parameters(index)
        if self.is_task:
            return resolved
        args, kwargs = self.layout.split(resolved)
        return bind_for_prefect(as_called(self.target), args, kwargs)

    def resolve_length(self) -> range:
        """Split the calls, now that the futures that they are mapped over have values; return the items."""
        resolved = self._resolve(dict(self.arguments), 0)
        self._prepare(map_calls(self.target, Bound(resolved, self._layout)))
        assert self.table is not None
        return range(len(self.table))

    def call_again(self, index: int) -> Any:
        """Make the call of an item again, in the calling thread; a coroutine runs where those of jobs do."""
        made = self.call(index)
        return run_shared(made) if inspect.iscoroutine(made) else made

    def list_stream(self) -> Sequence[int]:
        """Keep all calls that have come from iterators, now that these have ended; return the items."""
        if isinstance(self.table, StreamTable):
            self._prepare(self.table.listed())
        return self.all_indices()

    def check_retry(self) -> None:
        """Do nothing: calls can be made again."""

    @property
    def function(self) -> Callable[..., Any]:
        """The function behind the target."""
        return function_of(self.target)

    @property
    def name(self) -> str:
        """What people call the target."""
        return name_of(self.target)

    @property
    def sendable_statics(self) -> dict[str, Any]:
        """The arguments that all calls have in common and that can be sent before them, once."""
        assert self.table is not None
        return {name: value for name, value in self.table.statics.items() if name not in self._unresolved}

    @property
    def layout(self) -> Layout:
        """How the arguments are passed."""
        return self.table.layout if self.table is not None else self._layout

    def sendable_arguments(self, indices: Sequence[int]) -> tuple[bool, list[Any]]:
        """Return what else calls that are made elsewhere are given; see `CallTable.picker`.

        Raises:
            ItemSkippedError: If an item depends on something that did not complete.
        """
        table = self.table
        assert table is not None
        if not self._unresolved and table.to_resolve.isdisjoint(indices):
            return self._pick(indices)
        sent = self.sendable_statics
        return False, [
            _resolved(
                table,
                index,
                self._unresolved_of(index),
                self._resolve,
                [name for name in table.arguments(index) if name not in sent],
            )
            for index in indices
        ]

    def replace_function(self, fn: Callable[..., Any]) -> None:
        """Call another function with the same arguments from now on.

        Raises:
            MapArgumentsError: If it is of another kind (async or not, task or not) or does not take the arguments.
        """
        check_callable(fn)
        if (is_prefect_task(fn), is_async_function(function_of(fn))) != (self.is_task, self.is_async):
            raise MapArgumentsError(
                f"{_kind(fn)} cannot take the place of {_kind(self.target)} in a job. Give the same kind of function, "
                f"or start a new job with the inputs: [job.failure(i).input for i in job.failed.index]."
            )
        table = self.table
        if table is None:
            raise NbfuturesError("The job's items are not known yet: wait for it, then retry.")
        given = _for_prefect(fn, *table.layout.split(table.arguments(0))) if len(table) and self.is_task else fn
        if not table.take(given):
            names = ", ".join(table.arguments(0)) if len(table) else "no argument"
            raise MapArgumentsError(
                f"{name_of(fn)}{inspect.signature(function_of(fn))} does not take this job's arguments ({names}). "
                f"Keep the names."
            )
        self.target = given
        self._prepare(table)

    def keep_sample(self, most: int) -> None:
        """Keep only so many calls, evenly spread, now or once their number is known."""
        self._sample = most
        if self.table is not None:
            self._prepare(self.table)

    def _prepare(self, table: CallTable) -> None:
        if self._sample is not None:
            table = table.sample(self._sample)
        self.table = table
        fn = function_of(self.target)
        self._pick = table.picker()
        self._unresolved = table.unresolved
        call, to_resolve = table.caller(fn), table.to_resolve
        resolve = functools.partial(_call_resolved, fn, table, self._resolve)
        if self._unresolved:
            self.call = lambda index: resolve(self._unresolved_of(index), index)
        elif table.stream is not None:
            self.call = lambda index: resolve(self._unresolved_of(index), index) if index in to_resolve else call(index)
        else:
            self.call = call

    def _unresolved_of(self, index: int) -> set[str]:
        """Return the names of an item's arguments that are futures, hold some, or are annotated."""
        table = self.table
        return self._unresolved | set(table.columns) if table and index in table.to_resolve else self._unresolved


def map_work(
    target: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    is_background: bool = False,
    resolve: Resolve | None = None,
) -> CallWork:
    """Return the work of mapping a function over arguments; for workers elsewhere if it is for the background.

    Raises:
        MapArgumentsError: If the arguments do not fit, or there is nothing to map over.
    """
    check_callable(target, is_background=is_background)
    called = _for_prefect(target, args, kwargs)
    return _mapped(called, bind(called, args, kwargs), resolve)


def starmap_work(
    target: Any, rows: Any, kwargs: Mapping[str, Any], *, is_background: bool = False, resolve: Resolve | None = None
) -> CallWork:
    """Return the work of calling a function with the arguments that each row holds; `kwargs` are as for `map_work`.

    Raises:
        MapArgumentsError: If the rows hold no arguments, or none of them fits.
    """
    check_callable(target, is_background=is_background)
    if is_prefect_task(target):
        return _mapped(target, rows_for_prefect(target, rows, kwargs), resolve)
    return _mapped(target, Bound({ROW: rows, **kwargs}, Layout([ROW], list(kwargs), ROW)), resolve)


def _mapped(target: Any, bound: Bound, resolve: Resolve | None) -> CallWork:
    if pending_lengths(bound.arguments):
        arguments = {name: as_futures(value) for name, value in bound.arguments.items()}
        return CallWork(target, arguments, None, bound.layout, resolve=resolve)
    return CallWork(target, bound.arguments, map_calls(target, bound), resolve=resolve)


def submit_work(
    target: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    is_background: bool = False,
    resolve: Resolve | None = None,
) -> CallWork:
    """Return the work of one call; for workers elsewhere if it is for the background.

    Raises:
        MapArgumentsError: If the arguments do not fit.
    """
    check_callable(target, is_background=is_background)
    called = _for_prefect(target, args, kwargs)
    table = single_call(called, args, kwargs)
    return CallWork(called, table.statics, table, resolve=resolve)


def _for_prefect(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return a Prefect task that can be called with some arguments, as its function can.

    Prefect asks for the parameters of the function that a decorator's function decorates, and refuses what that would
    not take. Where the decorator's takes it, it is given the signature of the call. Anything else is returned as it is.
    """
    if not is_prefect_task(target):
        return target
    called = as_called(target.fn)
    if called is target.fn or _fits(target.fn, args, kwargs) or not _fits(called, args, kwargs):
        return target
    made = copy.copy(target)
    made.fn = called
    called.__signature__ = signature_of_call(called, args, kwargs)  # type: ignore[attr-defined]
    return made


def _fits(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        bind_for_prefect(fn, args, kwargs)
    except MapArgumentsError:
        return False
    return True


def check_callable(target: Any, *, is_background: bool = False) -> None:
    """Raise `MapArgumentsError` unless `target` can be called for items, or served if it is for the background."""
    if is_background and is_prefect_flow(target):
        name = function_of(target).__name__
        raise MapArgumentsError(
            f"{name!r} is a Prefect flow, and flows have no .delay(): workers serve tasks. Put it into one:\n"
            f"    @task\n    def {name}_task(batch):\n        return {name}(batch)\nthen serve and map {name}_task."
        )
    if is_background and not is_prefect_task(target) and not inspect.isfunction(target):
        raise MapArgumentsError(
            f"Background tasks are Prefect tasks, or functions, which become ones; got {type(target).__name__}. "
            f"Define a function and put @task above it."
        )
    if is_background and name_of(target) == "<lambda>":
        raise MapArgumentsError(
            "A background task is found by its name, and a lambda has none. Put @task above a def, and serve that."
        )
    if is_prefect_flow(target):
        raise MapArgumentsError(
            f"{name_of(target)!r} is a Prefect flow, which has no items. Run it in the background: nbf.run(flow, ...); "
            f"or map a task that calls it."
        )
    if not callable(target):
        raise MapArgumentsError(
            f"The first argument must be a function or a Prefect task, got {type(target).__name__}. "
            f"Write map(fn, items), not map(fn(items))."
        )


def function_of(target: Any) -> Callable[..., Any]:
    """Return the function of a Prefect task or flow, or the callable itself."""
    fn: Callable[..., Any] = target.fn if is_prefect_task(target) or is_prefect_flow(target) else target
    return fn


def is_async_function(fn: Any) -> bool:
    """Tell whether calling `fn` makes a coroutine."""
    while issubclass(type(fn), functools.partial | types.MethodType):
        fn = fn.func if issubclass(type(fn), functools.partial) else fn.__func__
    # `inspect` would ask an object of the user's for attributes that it may claim to have.
    is_like_a_function = own_attribute(fn, "__code__") is not None or type_has(type(fn), "__wrapped__")
    call = inspect.getattr_static(type(fn), "__call__", None)
    return (is_like_a_function and inspect.iscoroutinefunction(fn)) or inspect.iscoroutinefunction(call)


def name_of(target: Any) -> str:
    """Return what people call a function, task or flow."""
    if is_prefect_task(target) or type(target).__module__.startswith("prefect."):
        return str(target.name)
    return name_of_callable(target)


def _kind(target: Any) -> str:
    kind = "a Prefect task" if is_prefect_task(target) else "a function"
    return f"{name_of(target)}, {'async' if is_async_function(function_of(target)) else 'not async'}, {kind},"


def _call_resolved(fn: Callable[..., Any], table: CallTable, resolve: Resolve, unresolved: set[str], index: int) -> Any:
    """Call with futures and Prefect's annotations replaced by values, as Prefect does before a task runs."""
    return table.layout.call(fn, _resolved(table, index, unresolved, resolve))


def _no_futures(arguments: dict[str, Any], _: int) -> dict[str, Any]:
    raise NbfuturesError(f"There is nobody to wait for the futures in {', '.join(arguments)}.")


def _resolved(
    table: CallTable, index: int, unresolved: set[str], resolve: Resolve, names: Iterable[str] | None = None
) -> dict[str, Any]:
    given = table.arguments(index)
    arguments = {name: as_futures(given[name]) for name in (given if names is None else names)}
    try:
        for name in arguments.keys() & unresolved:
            depth = _depth_of(arguments[name], table.depth)
            arguments.update(resolve({name: arguments[name]}, depth))
    except ItemSkippedError:
        raise ItemSkippedError(
            f"Item {index} was skipped: an item or task that it depends on did not complete. Retry that job first, "
            f"then this one, or wrap the argument in prefect's allow_failure()."
        ) from None
    return arguments


def _depth_of(value: Any, depth: int | None) -> int:
    """Return how deep Prefect is to look into a value; not into what futures give, which may be large."""
    if depth is None:
        return -1
    if is_annotation(type(value)):
        return 1 + _depth_of(value.unwrap(), depth)
    return 0 if is_future(type(value)) else depth


def _unready(index: Any) -> Any:
    raise NbfuturesError(f"Item {index} is not known yet.")
