"""The magics `%map`, `%%map`, `%submit`, `%%submit`, `%%flow`, `%jobs`, `%runner` and `%serve`."""

from __future__ import annotations

from nbfutures.magics.extension import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
