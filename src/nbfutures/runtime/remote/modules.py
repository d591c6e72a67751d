"""Modules of the user's that changed since a worker process loaded them."""

from __future__ import annotations

import functools
import importlib
import sys
import sysconfig
from pathlib import Path

__all__ = ["forget_changed_modules", "note_modules"]

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
