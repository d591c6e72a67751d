"""Two processes, each with half of the items and nothing to tell: what two workers can do at most, for comparison."""

from __future__ import annotations

from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.driver import Pool, drive
from benchmarks.workloads import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `drive`."""
    return drive(_opened, workload, items)


@contextmanager
def _opened() -> Iterator[Pool]:
    context = get_context("forkserver")
    pipes = [context.Pipe() for _ in range(WORKERS)]
    processes = [context.Process(target=_work, args=(theirs,), daemon=True) for _, theirs in pipes]
    for process in processes:
        process.start()

    def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
        for number, (ours, _) in enumerate(pipes):
            ours.send((fn, range(number, count, WORKERS)))
        return [value for ours, _ in pipes for value in ours.recv()]

    try:
        yield Pool(run)
    finally:
        for ours, _ in pipes:
            ours.send(None)
        for process in processes:
            process.join()


def _work(pipe: Connection) -> None:
    while (order := pipe.recv()) is not None:
        fn, indices = order
        pipe.send([fn(index) for index in indices])
