"""The magics: `%map`, `%submit`, `%%flow` and the others, and the arguments that their lines take."""

from __future__ import annotations

from nbfutures.magics.extension import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
