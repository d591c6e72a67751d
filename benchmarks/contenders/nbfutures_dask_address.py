"""nbfutures with `runner="dask"` and the address of a cluster that is there already, see `measure_jobs`."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.dask_cluster import local_cluster
from benchmarks.contenders.nbfutures_jobs import measure_jobs

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `measure_jobs`."""
    with local_cluster() as cluster:
        return measure_jobs(workload, items, runner="dask", address=cluster.scheduler_address)
