"""Prefect's `wait` and `as_completed`, made safe for a notebook's main thread."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.futures_in import find_futures
from nbfutures.engine.calls.prefect_types import stands_for_futures
from nbfutures.errors import MapArgumentsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.futures import DoneAndNotDoneFutures, PrefectFuture

__all__ = ["as_completed", "wait"]


def as_completed(futures: Any, timeout: float | None = None) -> Iterator[PrefectFuture[Any]]:
    """Yield futures as they end, each once.

    Prefect's own, used with a timeout in the main thread, leaves an alarm armed while the caller works with a future;
    here it runs in a thread.

    Args:
        futures: Jobs or Prefect futures, in a list or alone.
        timeout: Seconds for all of them; `None` for no limit.

    Yields:
        The futures, in the order in which they end.

    Raises:
        TimeoutError: If some have not ended in time.

    Examples:
        >>> for future in nbf.as_completed([first_job, second_job]):
        ...     print(future.result(raise_on_failure=False))
    """
    from prefect.futures import as_completed as prefect_as_completed

    given = _futures_in(futures)
    ended: queue.SimpleQueue[PrefectFuture[Any] | BaseException] = queue.SimpleQueue()

    def feed() -> None:
        try:
            for future in prefect_as_completed(given):
                ended.put(future)
        except BaseException as error:
            ended.put(error)

    threading.Thread(target=copy_context().run, args=(feed,), name="nbfutures as_completed", daemon=True).start()
    deadline = None if timeout is None else time.monotonic() + timeout
    for left in range(len(given), 0, -1):
        try:
            told = ended.get(timeout=None if deadline is None else max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise TimeoutError(f"{left} of {len(given)} futures did not end within {timeout:g} s.") from None
        if isinstance(told, BaseException):
            raise told
        yield told


def wait(futures: Any, timeout: float | None = None) -> DoneAndNotDoneFutures[Any]:
    """Block until futures have ended, or for `timeout` seconds.

    Args:
        futures: Jobs or Prefect futures, in a list or alone.
        timeout: Seconds for all of them; `None` for no limit.

    Returns:
        Prefect's named pair of sets: `done` and `not_done`.

    Examples:
        >>> done, not_done = nbf.wait([first_job, second_job], timeout=60)
    """
    from prefect.futures import DoneAndNotDoneFutures

    pending = set(_futures_in(futures))
    done: set[PrefectFuture[Any]] = set()
    try:
        for future in as_completed(list(pending), timeout):
            # Sets the state of Prefect's own futures, which `as_completed` does not.
            with suppress(concurrent.futures.CancelledError):
                future.wait()
            done.add(future)
    except TimeoutError:
        pass
    return DoneAndNotDoneFutures(done, pending - done)


def _futures_in(futures: Any) -> list[PrefectFuture[Any]]:
    given = find_futures([futures])
    held = futures if isinstance(futures, list | tuple | set) else [futures]
    if not given and not all(stands_for_futures(type(one)) for one in held):
        raise MapArgumentsError("Give jobs or Prefect futures, alone or in a list.")
    return given
