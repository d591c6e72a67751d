"""tqdm: `thread_map(max_workers=2)`, its bar disabled, which is at least as fast as drawing it to `/dev/null`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm.contrib.concurrent import thread_map

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
        return list(thread_map(fn, range(count), max_workers=WORKERS, disable=True))

    yield Pool(run)
