"""What the items do. Functions of a module, so that every kind of worker process can import them."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "MIXED_EVERY",
    "MIXED_LONG_SECONDS",
    "MIXED_SHORT_SECONDS",
    "NAP_SECONDS",
    "PAUSE_SECONDS",
    "WORKERS",
    "busy",
    "mixed_schedule",
    "nap",
    "noop",
    "slept_figures",
    "stamp",
    "where",
    "workload_named",
]

WORKERS = 2
NAP_SECONDS = 0.001
PAUSE_SECONDS = 0.1
MIXED_SHORT_SECONDS = 0.005
MIXED_LONG_SECONDS = 0.5
MIXED_EVERY = 50
"""One item in so many is a long one."""
_BUSY_STEPS = 600_000
"""About 50 ms of one CPU's time; the same work on every machine, since a loop that looks at the clock would come out
the same with half a CPU."""


def noop(x: Any) -> Any:
    """Return the argument."""
    return x


def nap(_: Any) -> float:
    """Sleep for a millisecond, and return how long that really was, in seconds."""
    return _sleep(NAP_SECONDS)


def pause(_: Any) -> float:
    """Sleep for a tenth of a second, and return how long that really was, in seconds."""
    return _sleep(PAUSE_SECONDS)


def mixed(index: int) -> float:
    """Sleep for 5 ms, one item in 50 for 500 ms, and return how long that really was, in seconds."""
    return _sleep(_mixed_seconds(index))


def busy(_: Any) -> int:
    """Compute in pure Python for about 50 ms."""
    total = 0
    for step in range(_BUSY_STEPS):
        total = (total + step * step) % 1_000_003
    return total


def stamp(_: Any) -> float:
    """Return when the item ran, by a clock that all processes of the machine share."""
    return time.perf_counter()


def where(_: Any) -> tuple[int, int]:
    """Return the process and the thread, after a time in which the other workers can take an item, too."""
    time.sleep(0.05)
    return os.getpid(), threading.get_ident()


def workload_named(name: str) -> Callable[[Any], Any]:
    """Return the function of a workload."""
    return {"noop": noop, "nap": nap, "pause": pause, "mixed": mixed, "busy": busy}[name]


def slept_figures(name: str, values: Sequence[Any]) -> dict[str, float]:
    """Return the seconds that the items really slept, and those of the longest, where the workload has them sleep."""
    return {"slept": sum(values), "longest": max(values)} if name in ("nap", "pause", "mixed") else {}


def mixed_schedule(items: int) -> float:
    """Return the seconds that the best schedule of mixed items cannot beat."""
    seconds = [_mixed_seconds(index) for index in range(items)]
    return max(sum(seconds) / WORKERS, *seconds)


def _mixed_seconds(index: int) -> float:
    # In the middle of its fifty: neither all at the start nor one as the very last.
    return MIXED_LONG_SECONDS if index % MIXED_EVERY == MIXED_EVERY // 2 else MIXED_SHORT_SECONDS


def _sleep(seconds: float) -> float:
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began
