"""Prefect's logging, kept to Prefect: its import gives the root logger a handler and closes those that there are."""

from __future__ import annotations

import importlib.abc
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["keep_logging_apart", "quiet_logging", "watch_for_prefect", "with_prefects_own_logging"]

_CONFIGURATION = Path(__file__).with_suffix(".yml")
_NAME = "PREFECT_LOGGING_SETTINGS_PATH"
_CHOICES = (_NAME, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL")
"""Who sets one of them has said how Prefect is to log, and has it so."""
_SENDERS = ("EventsWorker", "APILogWorker")
"""Loggers of Prefect's that bear the bare names of its classes."""

_lock = threading.Lock()
_is_done = False


class _AtImport(importlib.abc.MetaPathFinder):
    """Finds nothing, but learns of it when Prefect is about to be imported, by whomever."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002 - as others
        if fullname == "prefect.main":
            sys.meta_path.remove(self)
            keep_logging_apart()


def watch_for_prefect() -> None:
    """Have `logging` stay as it is when Prefect is imported; where it has been, its user has it so. Imports nothing."""
    if "prefect.main" not in sys.modules:
        sys.meta_path.insert(0, _AtImport())


def keep_logging_apart(*, is_worker: bool = False) -> None:
    """Have Prefect's lines go to its server only, and its handlers to its own loggers; also where it is imported later.

    Args:
        is_worker: Whether nobody but nbfutures can have imported Prefect in this process.
    """
    global _is_done  # noqa: PLW0603 - the loggers are the process's
    if _is_done or _is_users_choice():
        return
    # Nothing is imported with the lock: another thread may be in the middle of importing Prefect, and want it, too.
    from prefect.logging import configuration

    is_late = "prefect.main" in sys.modules
    if is_late:
        from prefect.logging.handlers import PrefectConsoleHandler, _SafeStreamHandler
    with _lock:
        if _is_done:
            return
        _is_done = True
        for name in _SENDERS:
            _silence(name)
        logging.getLogger("httpx").addFilter(_is_not_prefects)
        # Python's `dictConfig`, which Prefect would call, closes the handlers of everybody.
        configuration.setup_logging = _set_up
        if is_late:
            # Prefect's server gets their lines as before.
            _silence("prefect")
            _silence("prefect._internal", _SafeStreamHandler)
            if is_worker:
                _remove_handlers(logging.getLogger(), PrefectConsoleHandler)


def quiet_logging() -> dict[str, str]:
    """Return the variables that have other processes log as this one does; none where the user has made a choice."""
    return {} if _is_users_choice() else {_NAME: str(_CONFIGURATION)}


def with_prefects_own_logging(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables of `quiet_logging`."""
    return {name: value for name, value in environment.items() if (name, value) != (_NAME, str(_CONFIGURATION))}


def _is_users_choice() -> bool:
    return any(os.environ.get(name) not in {None, str(_CONFIGURATION)} for name in _CHOICES)


def _is_not_prefects(record: logging.LogRecord) -> bool:
    """Tell whether a line of httpx, which tells each request, is of one that is not for Prefect's server."""
    from prefect.settings import PREFECT_API_URL

    # Whoever listens to httpx itself wants to hear all.
    if logging.getLogger(record.name).handlers or not isinstance(record.args, tuple):
        return True
    url = PREFECT_API_URL.value()
    return not url or not any(str(one).startswith(url) for one in record.args[:2])


def _set_up(incremental: bool | None = None) -> dict[str, Any]:  # noqa: ARG001 - as Prefect's own
    """Do what Prefect's `setup_logging` does, for its own loggers only; return the configuration."""
    from prefect.logging import configuration
    from prefect.logging.handlers import APILogHandler, WorkerAPILogHandler
    from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS

    config = configuration.load_logging_config(_CONFIGURATION)
    if configuration.PROCESS_LOGGING_CONFIG:
        return config
    handlers = {"api": APILogHandler(), "worker_api": WorkerAPILogHandler(), "nowhere": logging.NullHandler()}
    for name, told in config["loggers"].items():
        logger = logging.getLogger(name)
        logger.setLevel(told["level"])
        logger.propagate = told.get("propagate", True)
        for one in told.get("handlers", ()):
            logger.addHandler(handlers[one])
    for name in PREFECT_LOGGING_EXTRA_LOGGERS.value():
        logging.getLogger(name).addHandler(handlers["api"])
    configuration.PROCESS_LOGGING_CONFIG.update(config)
    return config


def _silence(name: str, kind: type[logging.Handler] | None = None) -> None:
    """Have a logger's lines go to no handler but its own, and not to those of a kind."""
    logger = logging.getLogger(name)
    logger.propagate = False
    if kind is not None:
        _remove_handlers(logger, kind)
    # Else Python itself prints warnings that no handler takes.
    logger.addHandler(logging.NullHandler())


def _remove_handlers(logger: logging.Logger, kind: type[logging.Handler]) -> None:
    for handler in logger.handlers[:]:
        if isinstance(handler, kind):
            logger.removeHandler(handler)
