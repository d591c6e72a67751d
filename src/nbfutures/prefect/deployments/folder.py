"""The folder of a served flow: what the kernel and the process that serves it leave there for one another."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import time
from typing import TYPE_CHECKING, Any

from nbfutures.engine.process_lock import is_held
from nbfutures.prefect.server import server_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "ERROR",
    "LOCK",
    "LOG",
    "PLAN",
    "READY",
    "folders",
    "make_folder",
    "read_plan",
    "remove_ended",
    "write_plan",
    "write_text",
]

PLAN = "plan.json"
"""What is to be served, and how."""
LOCK = "alive.lock"
"""Held by the process that serves."""
READY = "ready"
"""The deployment's id, once it is there and its flow runs are looked for."""
ERROR = "error"
"""Why the process ended."""
LOG = "log"
"""What the process and the flow runs print."""

_OLD_SECONDS = 3600.0

_MODULE = '''\
"""The flow {name!r} of a notebook, as it was when it was served; written by nbfutures."""

import pathlib
import pickle

from nbfutures.prefect.private_settings import keep_secret
from nbfutures.prefect.remote.carrying import carrying

keep_secret()
{function} = pickle.loads(pathlib.Path(__file__).with_suffix(".pkl").read_bytes())
# Prefect looks there for the file of a flow.
{function}.__module__ = __name__
# What it raises is kept with its traceback.
{function}.fn = carrying({function}.fn)
'''


def make_folder(name: str, function: str, packed: bytes, plan: Mapping[str, Any]) -> Path:
    """Write what the process needs into a new folder, for this user alone, and return it.

    Args:
        name: The deployment's full name.
        function: What the flow's function is called.
        packed: The flow, as bytes.
        plan: What else the process is to know.
    """
    root = server_state.open_state_directory() / "served"
    root.mkdir(mode=0o700, exist_ok=True)
    folder = root / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)[:60]}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    module = f"served_{secrets.token_hex(4)}"
    function = function if function.isidentifier() else "flow"
    (folder / f"{module}.pkl").write_bytes(packed)
    write_text(folder / f"{module}.py", _MODULE.format(name=name, function=function))
    write_plan(folder, {**plan, "full_name": name, "module": module, "function": function})
    return folder


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Return what is served there; `None` if nothing that this version understands."""
    try:
        plan = json.loads((folder / PLAN).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write what is to be served, and how."""
    write_text(folder / PLAN, json.dumps(dict(plan)))


def folders() -> Iterator[Path]:
    """Yield the folders whose process lives."""
    for folder in sorted((server_state.state_directory() / "served").glob("*")):
        if is_held(folder / LOCK):
            yield folder


def remove_ended(kept: set[Path]) -> None:
    """Remove the folders whose process has ended.

    Args:
        kept: Those that stay all the same: their process may be about to start.
    """
    for folder in (server_state.state_directory() / "served").glob("*"):
        if folder in kept or is_held(folder / LOCK):
            continue
        with contextlib.suppress(OSError):
            # Without a lock it may be another kernel's, whose process is about to start.
            if (folder / LOCK).exists() or time.time() - folder.stat().st_mtime > _OLD_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def write_text(file: Path, text: str) -> None:
    """Write a file, in one step for whoever reads it."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
