"""`multiprocessing.Pool`: `imap_unordered` with chunks of 1,000 items; one pool for all calls."""

from __future__ import annotations

from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.driver import Pool, drive
from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHUNK", "measure"]

CHUNK = 1000
"""Items that go to a process together, at most; a fourth of what each process gets where there are few."""


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `drive`."""
    return drive(_opened, workload, items)


@contextmanager
def _opened() -> Iterator[Pool]:
    # What Python 3.14 does by default; a fork of a process with threads may hang.
    with get_context("forkserver").Pool(WORKERS) as pool:

        def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
            chunk = max(min(CHUNK, count // (4 * WORKERS)), 1)
            return list(pool.imap_unordered(fn, range(count), chunksize=chunk))

        yield Pool(run)
