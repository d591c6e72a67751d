"""The tasks that contenders give to workers, where a worker process can import them."""

from __future__ import annotations

import sys
from typing import Any

from prefect import task
from prefect.task_worker import serve

from benchmarks.workloads import noop, pause

__all__ = ["TASKS"]

TASKS: dict[str, Any] = {"noop": task(noop), "pause": task(pause)}
"""A workload's name to its task."""

if __name__ == "__main__":
    serve(TASKS[sys.argv[1]])
