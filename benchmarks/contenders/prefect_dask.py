"""Bare Prefect with the `DaskTaskRunner` of prefect-dask, see `measure_flow`."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.dask_cluster import CLUSTER
from benchmarks.contenders.prefect_flow import measure_flow

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `measure_flow`."""
    return measure_flow(workload, items, _make_runner, warms_up=True)


def _make_runner() -> Any:
    from prefect_dask import DaskTaskRunner  # type: ignore[attr-defined]  # from its own root

    return DaskTaskRunner(cluster_kwargs=CLUSTER)
