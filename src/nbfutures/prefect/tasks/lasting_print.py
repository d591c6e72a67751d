"""Prefect's `log_prints`, also where several threads of the kernel run tasks at once."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from prefect.logging.loggers import patch_print
from prefect.settings import PREFECT_LOGGING_LOG_PRINTS

from nbfutures.engine.calls.prefect_types import is_prefect_flow, is_prefect_task

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["lasting_print", "logs_prints"]

_lock = threading.Lock()
_users = 0
_patch = ExitStack()


def logs_prints(target: Any) -> bool:
    """Tell whether what a task, or the tasks of a plain function's job, print goes to Prefect's log."""
    own = target.log_prints if is_prefect_task(target) or is_prefect_flow(target) else None
    return bool(PREFECT_LOGGING_LOG_PRINTS.value() if own is None else own)


@contextmanager
def lasting_print() -> Iterator[None]:
    """Within it, `print` stays the one that asks the running task whether it logs what it prints.

    Prefect puts that one in place for the whole process when such a task begins, and back what was there when it ends:
    the first of several that run at once takes it away from the others. Here it is in place before the first begins and
    until the last has ended. What prints outside of such tasks prints as ever.
    """
    global _users  # noqa: PLW0603 - `print` is the process's
    with _lock:
        if _users == 0:
            _patch.enter_context(patch_print())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _patch.close()
