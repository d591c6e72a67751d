"""Prefect's way from futures, states and annotations to values."""

from __future__ import annotations

from typing import Any

from nbfutures.errors import ItemSkippedError

__all__ = ["resolve_inputs"]


def resolve_inputs(arguments: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return arguments with values in place of futures, as Prefect does before a task runs. Blocks until they are done.

    Args:
        arguments: By name.
        depth: How deep to look into containers; -1 for all the way.

    Raises:
        ItemSkippedError: If one of the futures did not complete.
    """
    from prefect.exceptions import UpstreamTaskError
    from prefect.utilities.engine import resolve_inputs_sync

    try:
        return resolve_inputs_sync(arguments, max_depth=depth)
    except UpstreamTaskError as error:
        raise ItemSkippedError(str(error)) from None
