"""A contender in a process of its own, which ends in time, with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

__all__ = ["ContenderError", "reason", "run_contender"]

_ROOT = Path(__file__).resolve().parent.parent
_END_SECONDS = 10.0
_REASON_WIDTH = 200


class ContenderError(RuntimeError):
    """A contender did not come to an end."""


def run_contender(module: str, workload: str, items: int, limit: float) -> dict[str, Any]:
    """Measure in a fresh process, and return the figures.

    Args:
        module: As for `python -m benchmarks contender`, as the next two.
        workload: What to do.
        items: How much of it.
        limit: Seconds that it may take.

    Raises:
        ContenderError: If it fails, or takes longer.
    """
    command = [sys.executable, "-m", "benchmarks", "contender", module, workload, str(items)]
    # Files, not pipes: a worker process that outlives the contender would hold a pipe open.
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=printed, stderr=said, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ContenderError(f"took longer than {limit:g} s") from None
        finally:
            _end(process)
        lines = _text(printed).strip().splitlines()
        figures: dict[str, Any] = _as_figures(lines[-1]) if lines else {}
        if "error" in figures:
            raise ContenderError(figures["error"])
        if status or not figures:
            raise ContenderError(f"ended with status {status}: {_last_line(_text(said))}")
        return figures


def reason(error: BaseException) -> str:
    """Return one line that says why a contender did not come to an end."""
    if isinstance(error, ContenderError):
        return str(error)[:_REASON_WIDTH]
    # A library that is not installed, or an option that does not exist yet, are among these.
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}"[:_REASON_WIDTH]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the contender if it still runs, and the workers that it left: the process session that it was started in."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _as_figures(line: str) -> dict[str, Any]:
    try:
        figures = json.loads(line)
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) else {}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:_REASON_WIDTH] if lines else "it said nothing"


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
