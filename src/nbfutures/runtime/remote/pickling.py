"""How whatever goes between processes is pickled."""

from __future__ import annotations

import pickle
from types import TracebackType
from typing import Any

import cloudpickle

from nbfutures.runtime.remote.by_value import mend_cloudpickle
from nbfutures.runtime.remote.exceptions import reduce_exception, reduce_traceback

__all__ = ["Pickler"]


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Pickles also functions and classes that are defined in a notebook, and exceptions whole.

    Args:
        file: What is written to.
        take_buffer: As `pickle.Pickler`'s `buffer_callback`.
    """

    def __init__(self, file: Any, take_buffer: Any = None) -> None:
        mend_cloudpickle()
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=take_buffer)
        self._laid_out: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle an object, or `NotImplemented` for what others know better."""
        if isinstance(obj, BaseException):
            return reduce_exception(obj, self._laid_out)
        if type(obj) is TracebackType:
            return reduce_traceback(obj)
        return super().reducer_override(obj)
