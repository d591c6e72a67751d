"""`concurrent.futures.ProcessPoolExecutor`: `submit` for each item, then `as_completed`; one pool for all calls."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
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
    # What Python 3.14 does by default; a fork of a process with threads may hang.
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("forkserver")) as pool:

        def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
            futures = [pool.submit(fn, x) for x in range(count)]
            return [future.result() for future in as_completed(futures)]

        yield Pool(run)
