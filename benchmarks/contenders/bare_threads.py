"""Two threads that share an iterator: what two workers can do at most, for comparison."""

from __future__ import annotations

import threading
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
        # next() on the iterator of a range is atomic.
        indices = iter(range(count))
        values: list[Any] = [None] * count

        def work() -> None:
            for index in indices:
                values[index] = fn(index)

        threads = [threading.Thread(target=work) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return values

    yield Pool(run)
