"""A Dask cluster on this machine: two worker processes with one thread each."""

from __future__ import annotations

from typing import Any

from distributed import LocalCluster

from benchmarks.workloads import WORKERS

__all__ = ["CLUSTER", "local_cluster"]

CLUSTER: dict[str, Any] = {
    "n_workers": WORKERS,
    "threads_per_worker": 1,
    "processes": True,
    "dashboard_address": None,
    "silence_logs": "ERROR",
}
"""Arguments of `LocalCluster`."""


def local_cluster() -> LocalCluster:
    """Start a cluster; its `close`, or the end of a `with` block, ends it."""
    return LocalCluster(**CLUSTER)  # type: ignore[no-untyped-call]  # Dask types it not
