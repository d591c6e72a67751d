"""Taking back task runs that have not begun."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.futures import PrefectFuture

__all__ = ["take_back"]


def take_back(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Cancel what no worker has started, where the runner can. Does not block.

    Args:
        futures: Futures of Prefect's runners.
    """
    # Prefect makes the coroutine of an async task when it is submitted: that of one which is taken back has no use.
    warnings.filterwarnings("ignore", "coroutine 'run_task_async' was never awaited", RuntimeWarning)
    for future in futures:
        wrapped = getattr(future, "wrapped_future", None)
        if wrapped is not None:
            wrapped.cancel()
