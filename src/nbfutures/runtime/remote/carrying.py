"""Errors that take their tracebacks along into Prefect's result storage."""

from __future__ import annotations

import copyreg
import functools
import inspect
from typing import TYPE_CHECKING, Any

import tblib.pickling_support

from nbfutures.runtime.forked_children import within_call
from nbfutures.runtime.remote.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["carrying"]


def carrying(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose errors keep their tracebacks where Prefect pickles them; a generator as it is.

    No child that it forks comes back from it.
    """
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return fn
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def carry_async(*args: Any, **kwargs: Any) -> Any:
            try:
                with within_call():
                    return await fn(*args, **kwargs)
            except Exception as error:
                _carry(error)
                raise

        return carry_async

    @functools.wraps(fn)
    def carry(*args: Any, **kwargs: Any) -> Any:
        try:
            with within_call():
                return fn(*args, **kwargs)
        except Exception as error:
            _carry(error)
            raise

    return carry


def _carry(error: Exception) -> None:
    """Have errors of this type, and of those that it was caused by, pickled with their tracebacks."""
    before = dict(copyreg.dispatch_table)
    try:
        tblib.pickling_support.install(error)
        # Some errors come back as something else, such as one that pickles itself by hand.
        is_good = type(unpack(pack(error))) is type(error)
    except Exception:
        is_good = False
    if not is_good:
        for kind in copyreg.dispatch_table.keys() - before.keys():
            del copyreg.dispatch_table[kind]
