"""Functions whose errors arrive whole where Prefect pickles them, and end nothing but their call."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from nbfutures.engine.forked_children import within_call
from nbfutures.engine.workers.packing import carry
from nbfutures.prefect.base_exceptions import as_exception, is_of_the_call

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["carrying"]


def carrying(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose errors can be sent; what it raises that is no `Exception` is the cause of one.

    No child that it forks comes back from it.

    Args:
        fn: Any function; a generator is returned as it is.
    """
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return fn
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def carry_async(*args: Any, **kwargs: Any) -> Any:
            try:
                with within_call():
                    return await fn(*args, **kwargs)
            except BaseException as error:
                _raise(error, is_async=True)
                raise

        return carry_async

    @functools.wraps(fn)
    def carry_sync(*args: Any, **kwargs: Any) -> Any:
        try:
            with within_call():
                return fn(*args, **kwargs)
        except BaseException as error:
            _raise(error, is_async=False)
            raise

    return carry_sync


def _raise(error: BaseException, *, is_async: bool) -> None:
    carry(error)
    if is_of_the_call(error, is_async=is_async):
        made = as_exception(error)
        carry(made)
        raise made
