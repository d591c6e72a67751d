"""Load the magics into a shell, and undo that."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from traitlets import TraitError

from nbfutures import api
from nbfutures.magics.advice import advise
from nbfutures.magics.completion import make_matcher
from nbfutures.magics.job_magics import FuturesJobMagics
from nbfutures.magics.session_magics import FuturesSessionMagics
from nbfutures.magics.settings import NBFutures

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_log = logging.getLogger(__name__)


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Register the magics, their completion and their settings; does nothing if that is done already.

    Args:
        ip: The shell.
    """
    if _loaded(ip) is not None:
        return
    with ExitStack() as stack:
        stack.callback(api.set_session_defaults, api.session_defaults())
        settings = _configured(ip)
        # They add themselves to the configurables, as all magics do.
        of_jobs, of_session = FuturesJobMagics(ip), FuturesSessionMagics(ip, settings)
        configurables: list[Any] = ip.configurables
        configurables.append(settings)
        stack.callback(configurables.remove, settings)
        for magics in (of_jobs, of_session):
            stack.callback(configurables.remove, magics)
            for kind, names in magics.magics.items():
                table = ip.magics_manager.magics[kind]
                stack.callback(_restore, table, {name: table.get(name) for name in names})
            ip.register_magics(magics)
            stack.callback(ip.magics_manager.registry.pop, type(magics).__name__)
        matcher = make_matcher(ip)
        ip.Completer.custom_matchers.append(matcher)
        stack.callback(ip.Completer.custom_matchers.remove, matcher)
        ip.events.register("post_run_cell", advise)
        stack.callback(ip.events.unregister, "post_run_cell", advise)
        of_session.undo = stack.pop_all()
    _warm_up()


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Undo what loading did; does nothing if it is not loaded.

    Args:
        ip: The shell.
    """
    if (magics := _loaded(ip)) is not None:
        magics.undo.close()
        # Loading has started the connection to Prefect, which brings settings and a lease on the server with it.
        api.close()


def _loaded(ip: InteractiveShell) -> FuturesSessionMagics | None:
    # The shell knows, so that a second shell in the same process, as in an embedded one, has magics of its own.
    magics: FuturesSessionMagics | None = ip.magics_manager.registry.get(FuturesSessionMagics.__name__)
    return magics


def _configured(ip: InteractiveShell) -> NBFutures:
    try:
        settings = NBFutures(parent=ip)
    except TraitError as error:
        # `%config` leaves a refused value in the shell's configuration; it must not keep the magics from being loaded.
        _log.warning("The defaults for NBFutures in the configuration are not used: %s", error)
        settings = NBFutures()
    settings.refresh()
    return settings


def _restore(table: dict[str, Any], before: dict[str, Any]) -> None:
    for name, magic in before.items():
        if magic is None:
            table.pop(name, None)
        else:
            table[name] = magic


def _warm_up() -> None:
    """Start Prefect in the background; loading neither waits for that nor fails with it."""
    if os.environ.get("NBFUTURES_WARM_UP") == "0":
        return
    try:
        api.warm_up()
    except Exception:
        _log.debug("Prefect was not started in advance; the first job starts it.", exc_info=True)
