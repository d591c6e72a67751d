"""Concurrent work from a notebook cell, on Prefect.

>>> import nbfutures as nbf
>>> job = nbf.map(len, ["a", "bb", "ccc"])
>>> job.result()
[1, 2, 3]

In a notebook, `%load_ext nbfutures` adds the magics: `%%map`, `%%submit`, `%%flow`, `%jobs`, `%runner`, `%limit`,
`%serve`, `%dashboard`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nbfutures._version import __version__
from nbfutures.prefect.prefect_logging import watch_for_prefect

if TYPE_CHECKING:
    from nbfutures.api import (
        Job,
        Serving,
        Submitter,
        as_completed,
        attach,
        dashboard,
        delete_limit,
        limit,
        limits,
        map,  # noqa: A004 - Prefect's word
        options,
        run,
        serve,
        starmap,
        stop_serving,
        stop_workers,
        submit,
        track,
        wait,
    )
    from nbfutures.errors import NbfuturesError
    from nbfutures.launcher import launcher
    from nbfutures.model.outcome import Outcome, OutcomeKind
    from nbfutures.prefect.annotations import allow_failure, quote, unmapped

__all__ = [
    "Job",
    "NbfuturesError",
    "Outcome",
    "OutcomeKind",
    "Serving",
    "Submitter",
    "__version__",
    "allow_failure",
    "as_completed",
    "attach",
    "dashboard",
    "delete_limit",
    "launcher",
    "limit",
    "limits",
    "map",
    "options",
    "quote",
    "run",
    "serve",
    "starmap",
    "stop_serving",
    "stop_workers",
    "submit",
    "track",
    "unmapped",
    "wait",
]

# Loaded on first use: Prefect takes seconds to import, and a notebook that loads the extension should not wait for it.
_HOMES = {
    "Job": "nbfutures.api",
    "NbfuturesError": "nbfutures.errors",
    "Outcome": "nbfutures.model.outcome",
    "OutcomeKind": "nbfutures.model.outcome",
    "Serving": "nbfutures.api",
    "Submitter": "nbfutures.api",
    "allow_failure": "nbfutures.prefect.annotations",
    "as_completed": "nbfutures.api",
    "attach": "nbfutures.api",
    "dashboard": "nbfutures.api",
    "delete_limit": "nbfutures.api",
    "launcher": "nbfutures.launcher",
    "limit": "nbfutures.api",
    "limits": "nbfutures.api",
    "map": "nbfutures.api",
    "options": "nbfutures.api",
    "quote": "nbfutures.prefect.annotations",
    "run": "nbfutures.api",
    "serve": "nbfutures.api",
    "starmap": "nbfutures.api",
    "stop_serving": "nbfutures.api",
    "stop_workers": "nbfutures.api",
    "submit": "nbfutures.api",
    "track": "nbfutures.api",
    "unmapped": "nbfutures.prefect.annotations",
    "wait": "nbfutures.api",
}


watch_for_prefect()


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Add the magics to IPython, for `%load_ext nbfutures`."""
    from nbfutures.magics import load_ipython_extension as load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Undo everything that loading did, for `%unload_ext nbfutures`."""
    from nbfutures.magics import unload_ipython_extension as unload

    unload(shell)
