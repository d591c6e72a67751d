"""Prefect's types for arguments, without importing Prefect: as long as nobody has, there are no values of them."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["annotation_types", "future_types", "unmapped_types"]


def future_types() -> tuple[Any, ...]:
    """Return the class of Prefect's futures, for `isinstance`; nothing before Prefect is imported."""
    # Nobody can hold a future before Prefect is imported; asking like this keeps a first cell from waiting for it.
    module = sys.modules.get("prefect.futures")
    kind = getattr(module, "PrefectFuture", None)
    return (kind,) if kind is not None else ()


def annotation_types() -> tuple[Any, ...]:
    """Return the class of Prefect's annotations for arguments, for `isinstance`; nothing before Prefect is imported."""
    module = sys.modules.get("prefect.utilities.annotations")
    kind = getattr(module, "BaseAnnotation", None)
    return (kind,) if kind is not None else ()


def unmapped_types() -> tuple[Any, ...]:
    """Return the class of `unmapped`, for `isinstance`; nothing before Prefect is imported."""
    module = sys.modules.get("prefect.utilities.annotations")
    kind = getattr(module, "unmapped", None)
    return (kind,) if kind is not None else ()
