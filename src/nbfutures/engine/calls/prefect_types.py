"""Prefect's types, and what stands for futures, without importing Prefect: before that there are no values of them.

Whether a value is one of these is asked of its type. The value itself may be anything of the user's: a client or a mock
has every attribute, and claims any `__class__`.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = [
    "as_futures",
    "is_annotation",
    "is_future",
    "is_prefect_flow",
    "is_prefect_task",
    "is_quote",
    "is_unmapped",
    "knows_prefect",
    "stands_for_futures",
]

_ASK = "__prefect_futures__"


def knows_prefect() -> bool:
    """Tell whether there can be futures of Prefect's, or annotations."""
    # Nobody can hold a future before Prefect is imported; asking like this keeps a first cell from waiting for it.
    return "prefect.futures" in sys.modules


def is_future(kind: type) -> bool:
    """Tell whether values of a type are futures of Prefect's."""
    return _is("prefect.futures", "PrefectFuture", kind)


def is_annotation(kind: type) -> bool:
    """Tell whether values of a type are annotations of Prefect's for arguments, such as `unmapped`."""
    return _is("prefect.utilities.annotations", "BaseAnnotation", kind)


def is_unmapped(kind: type) -> bool:
    """Tell whether values of a type are `unmapped`."""
    return _is("prefect.utilities.annotations", "unmapped", kind)


def is_quote(kind: type) -> bool:
    """Tell whether values of a type are `quote`, into which nobody looks."""
    return _is("prefect.utilities.annotations", "quote", kind)


def stands_for_futures(kind: type) -> bool:
    """Tell whether values of a type, such as jobs, stand for futures of Prefect's."""
    return any(_ASK in vars(base) for base in kind.__mro__)


def as_futures(value: Any) -> Any:
    """Return the futures that a value such as a job stands for; anything else as it is."""
    return value.__prefect_futures__() if stands_for_futures(type(value)) else value


def is_prefect_task(target: Any) -> bool:
    """Tell whether `target` is a Prefect `Task`."""
    return any(kind.__name__ == "Task" and kind.__module__ == "prefect.tasks" for kind in type(target).__mro__)


def is_prefect_flow(target: Any) -> bool:
    """Tell whether `target` is a Prefect `Flow`."""
    return any(kind.__name__ == "Flow" and kind.__module__ == "prefect.flows" for kind in type(target).__mro__)


def _is(module: str, name: str, kind: type) -> bool:
    base = getattr(sys.modules.get(module), name, None)
    return base is not None and issubclass(kind, base)
