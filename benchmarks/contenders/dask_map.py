"""Dask: `client.map` and `distributed.as_completed`; one cluster for all calls."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import Client, as_completed

from benchmarks.contenders.dask_cluster import local_cluster
from benchmarks.contenders.driver import Pool, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `drive`."""
    return drive(_opened, workload, items)


@contextmanager
def _opened() -> Iterator[Pool]:
    with local_cluster() as cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]  # Dask types it not

        def run(fn: Callable[[Any], Any], count: int) -> list[Any]:
            # Not "pure": that would take the values of an earlier call for these.
            futures = client.map(fn, range(count), pure=False)
            done = as_completed(futures, with_results=True)  # type: ignore[no-untyped-call]
            return [value for _, value in done]

        yield Pool(run)
