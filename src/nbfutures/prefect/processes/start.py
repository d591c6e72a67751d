"""How worker processes start: without the user's script, and what they do first."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import multiprocessing.spawn
import multiprocessing.util
import os
import signal
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbfutures.engine.cpus import cap_inner_threads
from nbfutures.engine.workers.kernel_directory import note_temporary
from nbfutures.engine.workers.surroundings import Surroundings, settle_in
from nbfutures.prefect.prefect_logging import keep_logging_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["can_talk", "contained", "mend_main", "start_worker", "use_worker_context", "worker_context"]

_PRELOADED = "nbfutures.prefect.processes.preload"
_STREAMS = 2
"""The last number of the standard streams."""


def mend_main() -> None:
    """Have the main module as `multiprocessing` expects it: IPython's `%reset` empties it."""
    main = sys.modules.get("__main__")
    if main is not None and not hasattr(main, "__spec__"):
        main.__spec__ = None


def use_worker_context(executor: Any, *, is_preloaded: bool) -> None:
    """Have a `ProcessPoolExecutor` of Prefect's start its processes without the user's script.

    Prefect has no setting for this; where its executor looks different, the processes start as Prefect does it.

    Args:
        executor: The executor, which has started nothing yet.
        is_preloaded: As for `worker_context`.
    """
    if getattr(executor, "_mp_context", None) is not None:
        executor._mp_context = worker_context(is_preloaded=is_preloaded)


def worker_context(*, is_preloaded: bool) -> Any:
    """Return what starts processes without the user's script.

    Functions and classes of the script go to workers by value, as those of a notebook do. `multiprocessing` would run
    the script in each of them once more, which starts its jobs again where they are not below
    `if __name__ == "__main__":`.

    Args:
        is_preloaded: Whether to fork the processes from a server that has imported Prefect already, where that can be:
            0.1 s instead of 5 to 10.
    """
    # On a Mac, forking a process that has used system libraries may crash it.
    if not is_preloaded or not sys.platform.startswith("linux"):
        return _SpawnedContext()
    # Ignored once the server runs, such as for the user's own processes.
    multiprocessing.get_context("forkserver").set_forkserver_preload([_PRELOADED])
    # The server's socket is there.
    note_temporary(multiprocessing.util.get_temp_dir())
    return _ForkedContext()


class _StartedHere(threading.local):
    """Whether this thread is starting a process of ours: others are the user's, and get the script."""

    is_ours = False


_started_here = _StartedHere()
_preparation_data = multiprocessing.spawn.get_preparation_data


def _without_script(name: str) -> dict[str, Any]:
    data: dict[str, Any] = _preparation_data(name)
    if _started_here.is_ours:
        data.pop("init_main_from_path", None)
        data.pop("init_main_from_name", None)
    return data


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    """Within it, the processes that this thread starts are not given the user's script."""
    # All that starts processes asks it there, and has no other say in it.
    multiprocessing.spawn.get_preparation_data = _without_script
    mend_main()
    _started_here.is_ours = True
    try:
        yield
    finally:
        _started_here.is_ours = False


class _Spawned(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - as `multiprocessing` calls it
        with _ours():
            return multiprocessing.context.SpawnProcess._Popen(process_obj)


class _SpawnedContext(multiprocessing.context.SpawnContext):
    Process = _Spawned


if sys.platform != "win32":

    class _Forked(multiprocessing.context.ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - as `multiprocessing` calls it
            with _ours():
                return multiprocessing.context.ForkServerProcess._Popen(process_obj)

    class _ForkedContext(multiprocessing.context.ForkServerContext):
        Process = _Forked


def start_worker(threads: int = 1) -> None:
    """Leave interrupts to the kernel, end with it, and have random numbers of one's own.

    Args:
        threads: How many BLAS, OpenMP and numexpr may start here, where the user has not said it.
    """
    cap_inner_threads(threads)
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
    _note_pipes()


_talks_by: dict[int, tuple[int, int]] = {}
"""The open pipes and sockets of this process when it began, by their numbers: the kernel is at the other ends."""


def _note_pipes() -> None:
    try:
        numbers = [int(one.name) for one in Path("/proc/self/fd").iterdir()]
    except OSError:
        return
    for number in numbers:
        with contextlib.suppress(OSError):
            status = os.fstat(number)
            if number > _STREAMS and (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
                _talks_by[number] = status.st_dev, status.st_ino


def can_talk() -> bool:
    """Tell whether this worker process still has what it talks by: an item may have closed or replaced that."""
    try:
        return all(
            (status.st_dev, status.st_ino) == known
            for number, known in _talks_by.items()
            for status in (os.fstat(number),)
        )
    except OSError:
        return False


def contained(surroundings: Surroundings, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Make a call in the kernel's surroundings; what it raises that is no `Exception` is the cause of one.

    For anything else, Prefect would wait for ever for what comes of it.
    """
    settle_in(surroundings)
    try:
        return fn(*args, **kwargs)
    except Exception:
        raise
    except BaseException as error:
        from nbfutures.engine.workers.packing import carry
        from nbfutures.prefect.base_exceptions import as_exception

        made = as_exception(error)
        carry(made)
        raise made from error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # Nobody is left to tell anything.
        os._exit(1)
