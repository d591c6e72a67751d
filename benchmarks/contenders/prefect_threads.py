"""Bare Prefect with its `ThreadPoolTaskRunner`, see `measure_flow`."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.prefect_flow import measure_flow
from benchmarks.workloads import WORKERS

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `measure_flow`."""
    return measure_flow(workload, items, _make_runner, warms_up=False)


def _make_runner() -> Any:
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=WORKERS)
