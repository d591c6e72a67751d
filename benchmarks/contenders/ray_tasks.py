"""Ray: one task for each item, then `ray.get`; one local Ray with two CPUs for all calls."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray

from benchmarks.contenders.driver import Pool, drive
from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RAY", "measure"]

RAY: dict[str, Any] = {
    "num_cpus": WORKERS,
    "include_dashboard": False,
    "logging_level": "ERROR",
    "log_to_driver": False,
    "object_store_memory": 200_000_000,
}
"""Arguments of `ray.init`."""

# Ray would tell its makers that it is used.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `drive`."""
    return drive(_opened, workload, items)


@contextmanager
def _opened() -> Iterator[Pool]:
    ray.init(**RAY)

    def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
        remote = ray.remote(fn)
        return list(ray.get([remote.remote(x) for x in range(count)]))

    try:
        yield Pool(run)
    finally:
        ray.shutdown()
