"""`concurrent.futures.ThreadPoolExecutor`: `submit` for each item, then `as_completed`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.driver import Pool, drive
from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `drive`."""
    return drive(_opened, workload, items)


@contextmanager
def _opened() -> Iterator[Pool]:
    def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(fn, x) for x in range(count)]
            return [future.result() for future in as_completed(futures)]

    yield Pool(run)
