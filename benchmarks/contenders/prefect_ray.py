"""Bare Prefect with the `RayTaskRunner` of prefect-ray, see `measure_flow`."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.prefect_flow import measure_flow
from benchmarks.contenders.ray_tasks import RAY

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `measure_flow`."""
    return measure_flow(workload, items, _make_runner, warms_up=True)


def _make_runner() -> Any:
    from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]  # ships no types

    return RayTaskRunner(init_kwargs=RAY)
