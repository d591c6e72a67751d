"""Errors that say what to do next, without the frames in which nbfutures found them out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from nbfutures.errors import NbfuturesError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["with_brief_errors"]

P = ParamSpec("P")
T = TypeVar("T")


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
        try:
            return function(*args, **kwargs)
        except NbfuturesError as error:
            raise error.with_traceback(None)  # noqa: B904 - it is the same error

    return call
