"""A contender with settings of Prefect that are not its own."""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:
    """Run a contender; needs a process of its own, since Prefect reads its settings when it is imported.

    Args:
        workload: A contender and its workload, such as "nbfutures_map noop", and settings, each as "NAME=value".
        items: How many.
    """
    module, *words = workload.split()
    os.environ |= dict(word.split("=", 1) for word in words if "=" in word)
    name = " ".join(word for word in words if "=" not in word)
    figures: dict[str, Any] = importlib.import_module(f"benchmarks.contenders.{module}").measure(name, items)
    return figures
