"""What holds for every call that users make: brief errors, and no job that runs on after the call was interrupted."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from nbfutures.errors import NbfuturesError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["note_started", "with_brief_errors"]

P = ParamSpec("P")
T = TypeVar("T")


class _Calls(threading.local):
    """The calls that the current thread is in, one within the other, and what they have started."""

    depth = 0
    started: tuple[Any, ...] = ()


_calls = _Calls()


def note_started(run: Any) -> None:
    """Have a job cancelled if the call that starts it is interrupted before it has returned: nobody would hold it."""
    _calls.started = (*_calls.started, run)


def with_brief_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Have a notebook show nbfutures' own errors below the line that called the function, with nothing between.

    Other errors keep all of their frames: they are bugs, or the user's own.

    Args:
        function: What users call.

    Returns:
        The same function, for all that can be told.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        _calls.depth += 1
        try:
            # Bound here, since an interrupt may come when the function has returned and before anything else is done.
            made = function(*args, **kwargs)
        except NbfuturesError as error:
            raise error.with_traceback(None)  # noqa: B904 - it is the same error
        except BaseException:
            # An interrupt may come out as something else: within a thread's start, as an error of its lock.
            for run in _calls.started:
                run.abandon()
            raise
        finally:
            # No call may stand from here on: an interrupt would come after it, and what was made would be lost.
            _calls.depth -= 1
            if not _calls.depth:
                _calls.started = ()
        return made

    return call
