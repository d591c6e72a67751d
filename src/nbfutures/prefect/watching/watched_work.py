"""What a job watches: a user's flow, run in the background, or futures that came from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.futures_in import find_futures
from nbfutures.engine.calls.signatures import bind
from nbfutures.engine.calls.work import function_of, is_prefect_task, name_of
from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError
from nbfutures.model.item import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["FlowWork", "TrackedWork", "WatchedWork"]


class WatchedWork:
    """Items that become known while the job runs, and belong to other code."""

    is_flow = True
    owns_calls = False
    stream = None

    def __init__(self) -> None:
        self.items: list[Item] = []

    @property
    def known_length(self) -> int | None:
        """Number of items: not known before the job runs."""
        return None

    def all_indices(self) -> Sequence[int]:
        """Return the items that are known before the job runs: none."""
        return range(0)

    def item(self, index: int) -> Item:
        """Return the item at `index`, in the order in which they became known."""
        return self.items[index]

    def call_again(self, index: int) -> Any:  # noqa: ARG002 - as every work
        """Refuse: the calls belong to other code."""
        raise NbfuturesError(_NO_RETRY)

    def replace_function(self, fn: Callable[..., Any]) -> None:  # noqa: ARG002 - as every work
        """Refuse: the calls belong to other code."""
        raise NbfuturesError(_NO_RETRY)

    def check_retry(self) -> None:
        """Refuse: the calls belong to other code."""
        raise NbfuturesError(_NO_RETRY)


class FlowWork(WatchedWork):
    """A user's flow; the task runs that it submits are the job's items.

    Args:
        target: A Prefect flow, or a function to be made one.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Raises:
        MapArgumentsError: If `target` is neither, or does not take the arguments.
    """

    def __init__(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        if is_prefect_task(target):
            raise MapArgumentsError(
                f"{name_of(target)!r} is a Prefect task; run() takes a flow. "
                f"Use nbf.submit(task, ...) or nbf.map(task, ...)."
            )
        if not callable(target):
            raise MapArgumentsError(
                f"The first argument must be a Prefect flow or a function, got {type(target).__name__}. "
                f"Write run(my_flow, ...), not run(my_flow(...))."
            )
        bind(function_of(target), args, kwargs, how="run")
        self._is_function = function_of(target) is target
        self.target = target
        self.args = args
        self.kwargs = dict(kwargs)

    def check_options(self, given: Iterable[str]) -> None:
        """Raise `InvalidOptionError` for options that say how items run: a flow's items are up to the flow."""
        if "dry_run" in given:
            raise InvalidOptionError(
                "There is no dry run of a flow: which tasks it runs is known only when it runs. Try one of its tasks: "
                "nbf.options(dry_run=True).map(task, ...), or run the flow on little data."
            )
        if "background" in given:
            name = name_of(self.target)
            raise InvalidOptionError(
                f"A flow has no .delay(), so that it cannot be a background task; nbf.run({name}) runs it in the "
                f"background of this kernel as it is. For workers, put it into a task and serve that: "
                f"@task def run_{name.replace('-', '_')}(...): return {name.replace('-', '_')}(...)."
            )
        taken = {"name", "tags", "wait_for", *(("workers", "runner") if self._is_function else ())}
        refused = [name for name in given if name not in taken]
        if refused:
            raise InvalidOptionError(
                f"A flow decides by itself how its tasks run, so that {', '.join(refused)} cannot be given. Set it "
                f"in the flow: @flow(task_runner=ThreadPoolTaskRunner(max_workers=4)), @task(retries=2)."
            )


class TrackedWork(WatchedWork):
    """Futures that somebody else made.

    Args:
        futures: Prefect futures, in lists, tuples, sets or dicts.

    Raises:
        MapArgumentsError: If there is none among them.
    """

    is_flow = False

    def __init__(self, futures: Any) -> None:
        super().__init__()
        self.futures = find_futures(futures)
        if not self.futures and not (isinstance(futures, list | tuple) and not futures):
            raise MapArgumentsError(
                "track() takes Prefect futures: what task.submit(), task.map() or task.delay() return, in a list. "
                "For other work use map() or submit()."
            )
        self.items = [Item(index, {"future": future}) for index, future in enumerate(self.futures)]

    @property
    def known_length(self) -> int:
        """Number of futures."""
        return len(self.items)


_NO_RETRY = (
    "The task runs of this job were made by a flow or by other code, so that they cannot be run again one by one. "
    "Run that code again, such as nbf.run(flow, ...)."
)
