"""Whether something can be pickled, and its size, without keeping what comes out."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass
from typing import Any

import cloudpickle

from nbfutures.engine.workers.by_value import mend_cloudpickle

__all__ = ["Weight", "weigh"]

_MOST_BYTES = 64 * 1024 * 1024
_MOST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Weight:
    """Size of something that can be pickled, as far as was looked."""

    bytes: int
    """Size, pickled."""
    seconds: float
    """Seconds that pickling took."""
    is_whole: bool
    """Whether all of it was pickled; if not, the other two are less than they would be."""


def weigh(value: Any, most_bytes: int = _MOST_BYTES, most_seconds: float = _MOST_SECONDS) -> Weight:
    """Pickle something as it would be sent to a worker process, and throw that away. Blocks for a few seconds at most.

    Args:
        value: Anything; functions and classes of a notebook too.
        most_bytes: Where to give up, since it can be pickled so far.
        most_seconds: When to.

    Raises:
        Exception: Whatever pickling it raises.
    """
    mend_cloudpickle()
    scale = _Scale(most_bytes, time.monotonic() + most_seconds)
    started = time.perf_counter()
    try:
        cloudpickle.Pickler(scale, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    except _EnoughError:
        return Weight(scale.bytes, time.perf_counter() - started, is_whole=False)
    return Weight(scale.bytes, time.perf_counter() - started, is_whole=True)


class _EnoughError(BaseException):
    """What is to be pickled is larger than anybody waits for; not for a class's own code to catch."""


class _Scale:
    """A file that counts what is written to it.

    Args:
        most: Bytes from which on to give up.
        deadline: When to, on the monotonic clock.
    """

    def __init__(self, most: int, deadline: float) -> None:
        self.bytes = 0
        self._most = most
        self._deadline = deadline

    def write(self, data: Any) -> int:
        """Count what the pickler hands over: some tens of kilobytes at a time, or a large array as it is."""
        size = memoryview(data).nbytes
        self.bytes += size
        if self.bytes > self._most or time.monotonic() > self._deadline:
            raise _EnoughError
        return size
