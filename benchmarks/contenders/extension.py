"""Seconds that `%load_ext nbfutures` takes in a fresh IPython."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

__all__ = ["measure"]


def measure(workload: str, items: int) -> dict[str, Any]:  # noqa: ARG001 - there is but one
    """Load the extension once; needs a process of its own."""
    config = Config()
    config.HistoryManager.enabled = False
    with tempfile.TemporaryDirectory() as directory:
        shell = InteractiveShell.instance(config=config, ipython_dir=directory)
        called = time.perf_counter()
        shell.run_line_magic("load_ext", "nbfutures")
        seconds = time.perf_counter() - called
    assert "map" in shell.magics_manager.magics["cell"]
    return {"seconds": seconds}
