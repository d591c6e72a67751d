"""What items raise that is no `Exception`, such as `SystemExit`: Prefect, Dask, Ray and pools would end for it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

from prefect.exceptions import PrefectSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.tasks import Task

__all__ = ["EndedItemError", "as_exception", "is_of_the_call", "raised_by_item", "without_another_try"]


class EndedItemError(Exception):
    """Stands for what an item raised, which is its cause, while that goes through what would end for it."""


def is_of_the_call(error: BaseException | None, *, is_async: bool) -> bool:
    """Tell whether an error is no `Exception` and was raised by the function, rather than to end its call from outside.

    Args:
        error: What has left the function.
        is_async: Whether that is a coroutine: it may be cancelled, or closed when nobody awaits it any more.
    """
    if error is None or isinstance(error, Exception | PrefectSignal):
        return False
    if not is_async or not isinstance(error, asyncio.CancelledError | GeneratorExit):
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and not task.cancelling()


def as_exception(error: BaseException) -> EndedItemError:
    """Return an `Exception` that stands for an error."""
    made = EndedItemError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    made.__cause__ = error
    return made


def raised_by_item(error: BaseException | None) -> BaseException | None:
    """Return what an item raised, of which this may be the stand-in."""
    return error.__cause__ or error if isinstance(error, EndedItemError) else error


def without_another_try(task: Task[Any, Any]) -> Callable[..., Any] | None:
    """Return a task's `retry_condition_fn` by which what is no `Exception` is not tried again, as in Prefect itself."""
    known: Any = task.retry_condition_fn
    if known is not None and not inspect.isfunction(known):
        return known  # type: ignore[no-any-return]  # Prefect takes it for "never"
    if inspect.iscoroutinefunction(known):

        @functools.wraps(known)
        async def asked_async(task: Any, task_run: Any, state: Any) -> Any:
            return not isinstance(state.data, EndedItemError) and await known(task, task_run, state)

        return asked_async

    def asked(task: Any, task_run: Any, state: Any) -> Any:
        return not isinstance(state.data, EndedItemError) and (known is None or known(task, task_run, state))

    return asked
