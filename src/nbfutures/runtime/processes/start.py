"""What a worker process does first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from nbfutures.runtime.prefect_logging import keep_logging_apart

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["contained", "mend_main", "start_worker"]


def mend_main() -> None:
    """Have the main module as `multiprocessing` expects it: IPython's `%reset` empties it."""
    main = sys.modules.get("__main__")
    if main is not None and not hasattr(main, "__spec__"):
        main.__spec__ = None


def start_worker() -> None:
    """Leave interrupts to the kernel, end with it, and have random numbers of one's own."""
    # An interrupt of the kernel is meant for the cell.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="nbfutures parent", daemon=True).start()
    keep_logging_apart(is_worker=True)
    # `random` does this by itself.
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def contained(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Make a call; what it raises that is no `Exception` is the cause of one.

    For anything else, Prefect would wait for ever for what comes of it.
    """
    try:
        return fn(*args, **kwargs)
    except Exception:
        raise
    except BaseException as error:
        from nbfutures.runtime.base_exceptions import as_exception
        from nbfutures.runtime.remote.packing import carry

        made = as_exception(error)
        carry(made)
        raise made from error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Nobody is left to tell anything.
        os._exit(1)
