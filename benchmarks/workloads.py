"""What the items do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAP_SECONDS", "WORKERS", "nap", "nap_figures", "noop", "workload_named"]

WORKERS = 2
NAP_SECONDS = 0.001


def noop(x: Any) -> Any:
    """Return the argument."""
    return x


def nap(_: Any) -> float:
    """Sleep for a millisecond, and return how long that really was, in seconds."""
    began = time.perf_counter()
    time.sleep(NAP_SECONDS)
    return time.perf_counter() - began


def workload_named(name: str) -> Callable[[Any], Any]:
    """Return the function of a workload."""
    return {"noop": noop, "nap": nap}[name]


def nap_figures(name: str, values: list[Any]) -> dict[str, float]:
    """Return the seconds that the items really slept, where the workload has them sleep."""
    return {"slept": sum(values)} if name == "nap" else {}
