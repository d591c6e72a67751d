"""What a process has for all that runs in it: the kernel's for each job, and nothing that an earlier one left."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import locale
import logging
import os
import signal
import socket
import sys
import sysconfig
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from nbfutures.engine.cpus import thread_caps

__all__ = ["Surroundings", "note_modules", "settle_in"]

_seen: dict[str, float] = {}
"""File to the time of its last change, as it was when it was first seen loaded."""


def note_modules() -> None:
    """Remember the user's own modules as they are now."""
    for file in _own_modules().values():
        changed = _changed(file)
        if changed is not None:
            _seen.setdefault(file, changed)


def forget_changed_modules() -> None:
    """Have the user's own modules imported anew if a file of theirs changed.

    A process that is kept warm would go on with the old code, whatever the kernel has reloaded.
    """
    own = _own_modules()
    now = {file: _changed(file) for file in own.values()}
    if all(_seen.get(file, changed) == changed for file, changed in now.items()):
        return
    # All of them: one that has not changed may hold functions of one that has.
    for name in own:
        sys.modules.pop(name, None)
    _seen.clear()
    importlib.invalidate_caches()


def _own_modules() -> dict[str, str]:
    """Return the names and files of the modules that come from the user's own files."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _is_own(name.partition(".")[0], file):
            found[name] = file
    return found


@functools.lru_cache(maxsize=10_000)
def _is_own(package: str, file: str) -> bool:
    if package in {"__main__", "__mp_main__", "nbfutures"} or "<" in file:
        return False
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return not installed and not file.startswith(_PLACES)


def _changed(file: str) -> float | None:
    try:
        return Path(file).stat().st_mtime
    except OSError:
        return None


_paths = sysconfig.get_paths()
_PLACES = (_paths["stdlib"], _paths["platstdlib"], sys.prefix, sys.base_exec_prefix)


_OF_WORKERS = ("PREFECT_", "RAY_", "DASK_", "CUDA_VISIBLE_DEVICES")
"""Beginnings of the names of variables that those who start workers set as each worker needs it."""
_known_names: set[str] = set()
"""Environment variables that this kernel has, or had: a worker may have inherited one that is no more."""


# No dataclass: Prefect looks for futures in each field of one that is a parameter.
class Surroundings:
    """What a job finds in its workers as it is in the kernel: as of when this is made.

    Attributes:
        directory: Working directory.
        path: `sys.path`.
        environment: Environment variables.
        deleted: Names of variables that the kernel had and has no more.
    """

    __slots__ = ("deleted", "directory", "environment", "path")

    def __init__(self) -> None:
        try:
            self.directory = str(Path.cwd())
        except OSError:
            # It was removed.
            self.directory = os.sep
        self.path = tuple(sys.path)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_WORKERS)}
        _known_names.update(self.environment)
        self.deleted = _known_names - self.environment.keys()


def settle_in(surroundings: Surroundings) -> None:
    """Have this process as it was before its first job, with the kernel's environment, directory and `sys.path`.

    About a millisecond. The state of random generators is left alone.
    """
    global _before  # noqa: PLW0603 - it is the process's
    if _before is None:
        _before = _State()
    else:
        _before.restore()
    _take_over(surroundings, _before.environment)
    forget_changed_modules()


def _take_over(surroundings: Surroundings, own: dict[str, str]) -> None:
    kept = {name: value for name, value in own.items() if name not in surroundings.deleted}
    wanted = {**thread_caps(), **kept, **surroundings.environment}
    for name in list(os.environ):
        if name not in wanted and not name.startswith(_OF_WORKERS):
            del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value and not name.startswith(_OF_WORKERS):
            os.environ[name] = value
    # The C library reads `TZ` once.
    if hasattr(time, "tzset"):
        time.tzset()
    # If the kernel's directory was removed, items that need it will say so.
    with contextlib.suppress(OSError):
        os.chdir(surroundings.directory)
    sys.path[:] = surroundings.path


class _State:
    """What a process has for all that runs in it, as it was when this was made; on the thread that runs the items."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._locale = locale.setlocale(locale.LC_ALL)
        self._signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
        self._system = {name: getattr(sys, name) for name in _OF_SYS}
        self._argv = list(sys.argv)
        self._thread_hook = threading.excepthook
        self._recursion_limit = sys.getrecursionlimit()
        self._collects = gc.isenabled(), gc.get_threshold()
        self._socket_timeout = socket.getdefaulttimeout()
        self._loggers = {logger: _settings_of(logger) for logger in _loggers()}
        self._log_record = logging.getLogRecordFactory()
        self._logger_class = logging.getLoggerClass()
        self._log_disabled = logging.root.manager.disable
        self._keep_warnings()

    def restore(self) -> None:
        """Have it again."""
        os.umask(self._umask)
        # One that is not there any more.
        with contextlib.suppress(locale.Error):
            if locale.setlocale(locale.LC_ALL) != self._locale:
                locale.setlocale(locale.LC_ALL, self._locale)
        self._restore_signals()
        for name, value in self._system.items():
            setattr(sys, name, value)
        sys.argv[:] = self._argv
        threading.excepthook = self._thread_hook
        sys.setrecursionlimit(self._recursion_limit)
        is_collecting, thresholds = self._collects
        (gc.enable if is_collecting else gc.disable)()
        gc.set_threshold(*thresholds)
        socket.setdefaulttimeout(self._socket_timeout)
        # Found anew, by the environment.
        tempfile.tempdir = None
        self._restore_logging()
        self._warnings.__exit__(None, None, None)
        self._keep_warnings()
        _restore_libraries()

    def _keep_warnings(self) -> None:
        # By the public way: those who keep count of changes of the filters learn of it.
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()

    def _restore_signals(self) -> None:
        # No other thread can set them.
        if threading.current_thread() is not threading.main_thread():
            return
        if hasattr(signal, "setitimer"):
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
        for number, handler in self._signals.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)

    def _restore_logging(self) -> None:
        logging.captureWarnings(capture=False)
        logging.setLogRecordFactory(self._log_record)
        logging.setLoggerClass(self._logger_class)
        logging.disable(self._log_disabled)
        for logger in _loggers():
            known = self._loggers.get(logger)
            if known is not None:
                _restore_logger(logger, *known)
            elif logger.name.partition(".")[0] in sys.modules:
                # What a library did to its own when it was imported is not done again.
                _restore_logger(logger, logging.NOTSET, logger.propagate, False, logger.handlers, logger.filters)
            else:
                _restore_logger(logger, logging.NOTSET, True, False, [], [])


_OF_SYS = ("stdin", "stdout", "stderr", "displayhook", "excepthook", "unraisablehook", "dont_write_bytecode")
_before: _State | None = None


def _loggers() -> list[logging.Logger]:
    found = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(one for one in found if isinstance(one, logging.Logger))]


def _settings_of(logger: logging.Logger) -> tuple[int, bool, bool, list[Any], list[Any]]:
    return logger.level, logger.propagate, logger.disabled, list(logger.handlers), list(logger.filters)


def _restore_logger(  # noqa: PLR0917 - as `_settings_of` has them
    logger: logging.Logger,
    level: int,
    propagate: bool,
    disabled: bool,
    handlers: list[Any],
    filters: list[Any],
) -> None:
    if logger.level != level:
        logger.setLevel(level)
    logger.propagate, logger.disabled = propagate, disabled
    if logger.handlers != handlers:
        logger.handlers[:] = handlers
    if logger.filters != filters:
        logger.filters[:] = filters


_plotting: dict[str, Any] = {}


def _restore_libraries() -> None:
    """Have the libraries that are loaded as they are when they were just imported, as far as they can do that."""
    modules: dict[str, Any] = sys.modules
    decimal = modules.get("decimal")
    if decimal is not None:
        # A copy: what changes a context changes the object.
        decimal.setcontext(decimal.DefaultContext)
    numpy = modules.get("numpy")
    if numpy is not None:
        numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
    matplotlib = modules.get("matplotlib")
    # It checks each of its 300 settings: some milliseconds, for those who changed one.
    if matplotlib is not None and hasattr(matplotlib, "rcParams") and matplotlib.rcParams != _plotting.get("as it was"):
        matplotlib.rc_file_defaults()
        _plotting["as it was"] = matplotlib.rcParams.copy()
    pyplot = modules.get("matplotlib.pyplot")
    if pyplot is not None and hasattr(pyplot, "close"):
        pyplot.close("all")
