"""joblib: `Parallel(n_jobs=2, prefer="threads")`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed

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
        call = delayed(fn)
        return list(Parallel(n_jobs=WORKERS, prefer="threads")(call(x) for x in range(count)))

    yield Pool(run)
