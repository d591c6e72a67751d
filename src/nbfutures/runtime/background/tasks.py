"""Prefect tasks as background tasks need them."""

from __future__ import annotations

from typing import Any

from prefect import Task, task

from nbfutures.runtime.calls.signatures import as_called

__all__ = ["as_task"]


def as_task(target: Any) -> Task[Any, Any]:
    """Return a Prefect task: the one that is given, or one made of a function."""
    return target if isinstance(target, Task) else task(as_called(target))
