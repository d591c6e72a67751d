"""Seconds and peak memory of this process for no-op items, from the call of `nbf.map` to the list of all values."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types

import nbfutures as nbf
from benchmarks.contenders.nbfutures_jobs import join
from benchmarks.contenders.warm import warm_session
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKERS, noop

__all__ = ["measure"]

_FEW = 1000


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run the items after some that are forgotten; needs a process of its own, as the peak is that of its whole life.

    Args:
        workload: The runner.
        items: How many.

    Returns:
        Figures: `peak` of the process, and what it had `before`, in bytes, with those of `Stopwatch`.
    """
    warm_session()
    submit = nbf.options(workers=WORKERS, runner=workload)
    first = submit.map(noop, range(_FEW))
    first.wait()
    join(first)
    del first
    gc.collect()
    before = float(psutil.Process().memory_info().rss)
    with Stopwatch() as watch:
        job = submit.map(noop, range(items))
        values = job.result()
    assert len(values) == items
    peak = _peak()
    join(job)
    return {**watch.figures, "peak": peak, "before": before}


def _peak() -> float:
    """Return the most bytes that this process had in memory at once."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        # Unlike ru_maxrss, it does not start from what the parent had.
        found = next((line for line in lines if line.startswith("VmHWM")), None)
        if found is not None:
            return float(found.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)
