"""What a job runs: calls of a function, or of a Prefect task."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from nbfutures.errors import ItemSkippedError, MapArgumentsError, NbfuturesError
from nbfutures.runtime.calls.mapping import (
    CallTable,
    StreamTable,
    find_futures,
    map_calls,
    pending_lengths,
    single_call,
)
from nbfutures.runtime.calls.signatures import bind, call_with, signature_of
from nbfutures.runtime.shared_loop import run_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nbfutures.model.item import Item
    from nbfutures.runtime.calls.stream import ItemStream

__all__ = [
    "CallWork",
    "inner_futures",
    "is_async_function",
    "is_prefect_flow",
    "is_prefect_task",
    "map_work",
    "submit_work",
]


class CallWork:
    """Calls of one function, plain or async, or of one Prefect task.

    Args:
        target: What the user gave: a callable, or a Prefect `Task`.
        arguments: The arguments by parameter name.
        table: The calls, or `None` if their number depends on futures.
    """

    def __init__(self, target: Any, arguments: Mapping[str, Any], table: CallTable | None) -> None:
        self.is_flow = False
        self.owns_calls = True
        self.target = target
        self.arguments = arguments
        self.table = table
        self.call: Callable[[int], Any] = _unready
        self._pick: Callable[[Sequence[int]], tuple[bool, list[Any]]] = _unready
        self._is_resolved = False
        """Whether no argument is a future, or annotated."""
        self._sample: int | None = None
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
        return {name: inner_futures(value) for name, value in self.table.arguments(index).items()}

    def resolved_parameters(self, index: int) -> dict[str, Any]:
        """Return the arguments of the call at `index` with values in place of futures.

        Raises:
            ItemSkippedError: If it depends on something that did not complete.
        """
        assert self.table is not None
        is_resolved = self._is_resolved and index not in self.table.to_resolve
        return self.parameters(index) if is_resolved else _resolved(self.table, index)

    def resolve_length(self) -> range:
        """Split the calls, now that the futures that they are mapped over have values; return the items."""
        from prefect.utilities.engine import resolve_inputs_sync

        resolved = resolve_inputs_sync(dict(self.arguments), max_depth=0)
        self._prepare(map_calls(function_of(self.target), resolved))
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
        table = self.table
        assert table is not None
        if not self._is_resolved and (table.has_annotations or find_futures(list(table.statics.values()))):
            return {}
        return table.statics

    def sendable_arguments(self, indices: Sequence[int]) -> tuple[bool, list[Any]]:
        """Return what else calls that are made elsewhere are given; see `CallTable.picker`.

        Raises:
            ItemSkippedError: If an item depends on something that did not complete.
        """
        table = self.table
        assert table is not None
        if self._is_resolved and table.to_resolve.isdisjoint(indices):
            return self._pick(indices)
        sent = self.sendable_statics
        return False, [
            _resolved(table, index, [name for name in table.arguments(index) if name not in sent]) for index in indices
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
        arguments = table.arguments(0) if len(table) else {}
        signature = signature_of(function_of(fn))
        if signature is not None:
            try:
                signature.bind(**arguments)
            except TypeError as error:
                given = ", ".join(arguments) or "no argument"
                raise MapArgumentsError(
                    f"{name_of(fn)}{signature} does not take this job's arguments ({given}): {error}. Keep the names."
                ) from None
        self.target = fn
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
        self._pick = table.picker(fn)
        # Asked once: looking through all arguments takes long.
        self._is_resolved = not table.has_futures and not table.has_annotations
        call, resolve = table.caller(fn), functools.partial(_call_resolved, fn, table)
        self.call = call if self._is_resolved else resolve
        if self._is_resolved and table.stream is not None:
            to_resolve = table.to_resolve
            self.call = lambda index: resolve(index) if index in to_resolve else call(index)


def map_work(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_background: bool = False) -> CallWork:
    """Return the work of mapping a function over arguments; for workers elsewhere if it is for the background.

    Raises:
        MapArgumentsError: If the arguments do not fit, or there is nothing to map over.
    """
    check_callable(target, is_background=is_background)
    arguments = bind(function_of(target), args, kwargs)
    if pending_lengths(arguments):
        return CallWork(target, {name: inner_futures(value) for name, value in arguments.items()}, None)
    return CallWork(target, arguments, map_calls(function_of(target), arguments))


def submit_work(
    target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_background: bool = False
) -> CallWork:
    """Return the work of one call; for workers elsewhere if it is for the background.

    Raises:
        MapArgumentsError: If the arguments do not fit.
    """
    check_callable(target, is_background=is_background)
    table = single_call(function_of(target), args, kwargs)
    return CallWork(target, table.statics, table)


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


def is_prefect_task(target: Any) -> bool:
    """Tell whether `target` is a Prefect `Task`, without importing Prefect."""
    return any(kind.__name__ == "Task" and kind.__module__ == "prefect.tasks" for kind in type(target).__mro__)


def is_prefect_flow(target: Any) -> bool:
    """Tell whether `target` is a Prefect `Flow`, without importing Prefect."""
    return any(kind.__name__ == "Flow" and kind.__module__ == "prefect.flows" for kind in type(target).__mro__)


def function_of(target: Any) -> Callable[..., Any]:
    """Return the function of a Prefect task or flow, or the callable itself."""
    fn: Callable[..., Any] = target.fn if is_prefect_task(target) or is_prefect_flow(target) else target
    return fn


def is_async_function(fn: Any) -> bool:
    """Tell whether calling `fn` makes a coroutine."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def name_of(target: Any) -> str:
    """Return what people call a function, task or flow."""
    if is_prefect_task(target) or type(target).__module__.startswith("prefect."):
        return str(target.name)
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__name__", type(target).__name__))


def _kind(target: Any) -> str:
    kind = "a Prefect task" if is_prefect_task(target) else "a function"
    return f"{name_of(target)}, {'async' if is_async_function(function_of(target)) else 'not async'}, {kind},"


def _call_resolved(fn: Callable[..., Any], table: CallTable, index: int) -> Any:
    """Call with futures and Prefect's annotations replaced by values, as Prefect does before a task runs."""
    return call_with(fn, _resolved(table, index))


def _resolved(table: CallTable, index: int, names: Iterable[str] | None = None) -> dict[str, Any]:
    from prefect.exceptions import UpstreamTaskError
    from prefect.utilities.engine import resolve_inputs_sync

    given = table.arguments(index)
    arguments = {name: inner_futures(given[name]) for name in (given if names is None else names)}
    try:
        return resolve_inputs_sync(arguments)
    except UpstreamTaskError:
        raise ItemSkippedError(
            f"Item {index} was skipped: an item or task that it depends on did not complete. Retry that job first, "
            f"then this one, or wrap the argument in prefect's allow_failure()."
        ) from None


def inner_futures(value: Any) -> Any:
    """Return the futures of a job that was given as a value; anything else as it is."""
    ask = getattr(value, "__prefect_futures__", None)
    return ask() if callable(ask) else value


def _unready(index: Any) -> Any:
    raise NbfuturesError(f"Item {index} is not known yet.")
