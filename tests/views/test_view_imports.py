from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = [
    *("clean", "display", "failures", "grouping", "html", "report", "snapshot"),
    *("templates", "text", "tracebacks", "words"),
]


@pytest.mark.parametrize("module", LIGHT)
def test_what_needs_no_tables_imports_neither_pandas_nor_ipython(module):
    code = (
        f"import nbfutures.views.{module}, sys; print(sys.modules.keys() & {{'pandas', 'numpy', 'IPython', 'prefect'}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "set()\n"


def test_an_import_starts_no_thread():
    code = "import threading, nbfutures.views.display as one; print(one.TICKER.interval, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "0.25 1\n"
