"""nbfutures with `runner="threads"`, see `measure_jobs`."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.nbfutures_jobs import measure_jobs

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items, see `measure_jobs`."""
    return measure_jobs(workload, items, runner="threads")
