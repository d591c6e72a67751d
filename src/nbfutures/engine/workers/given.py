"""What a call in another process is given: each call starts from what was sent, whatever others did with it.

What cannot be changed is unpickled once. All else stays as bytes, and is unpickled anew for each call; functions and
classes of the notebook are left out of these bytes and sent once, so that a worker has one of each. Large arrays are
mapped into memory instead, copy on write: a call may change its own, and only what it touches costs time.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import mmap
import os
import pathlib
import pickle
import re
import tempfile
import threading
import types
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from nbfutures.engine.workers.by_value import is_importable
from nbfutures.engine.workers.pickling import Pickler
from nbfutures.model.outcome import ATOMS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Given", "Opener", "Sealed", "Sealer", "cannot_change"]

_LARGE = 128 * 1024
"""Bytes of an array from which on mapping it takes less time than copying it."""
_ALIGNED = 64
_CACHED = type(functools.lru_cache(abs))
_CODE = (type, types.FunctionType, _CACHED)
_FIXED = ATOMS | {
    *(range, re.Pattern, uuid.UUID, decimal.Decimal, fractions.Fraction, types.ModuleType, types.EllipsisType),
    *(dt.date, dt.time, dt.datetime, dt.timedelta, dt.timezone),
    *(pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath),
}
_FIXED_ELSEWHERE = {("numpy", "generic"), ("numpy", "ufunc"), ("pandas._libs.tslibs.timestamps", "Timestamp")}


def cannot_change(value: Any) -> bool:
    """Tell whether a call that is given something can be sure not to change it, as far as that is seen at a glance."""
    kind = type(value)
    if kind in _FIXED or _is_fixed_kind(kind):  # type: ignore[arg-type]  # classes are hashable, also for a cache
        return True
    if kind is tuple or kind is frozenset:
        return all(map(cannot_change, value))
    if kind is types.MethodType or kind is types.BuiltinMethodType:
        return value.__self__ is None or isinstance(value.__self__, (*_CODE, types.ModuleType))
    return isinstance(value, _CODE)


@functools.lru_cache(maxsize=1000)
def _is_fixed_kind(kind: type) -> bool:
    if issubclass(kind, enum.Enum):
        return True
    names = {(one.__module__, one.__name__) for one in kind.__mro__}
    return bool(names & _FIXED_ELSEWHERE) and ("numpy", "void") not in names


class Sealed(bytes):
    """An argument that is to be unpickled for each call that is given it."""

    __slots__ = ()


class Given(NamedTuple):
    """What all calls have in common, to be unpickled for each."""

    data: bytes
    buffers: list[Any]
    """The large arrays in it."""


class Sealer:
    """The kernel's end: pickles what calls are given, apart from the code in it."""

    def __init__(self) -> None:
        self.code: list[Any] = []
        """The functions and classes that were left out, in their order."""
        self._places: dict[int, int] = {}

    def place(self, code: Any) -> int:
        """Return the place of a function or class in `code`, where it is put if it is not there."""
        found = self._places.get(id(code))
        if found is None:
            found = self._places[id(code)] = len(self.code)
            self.code.append(code)
        return found

    def cut(self, length: int) -> None:
        """Forget the code that came after there were so many."""
        for one in self.code[length:]:
            del self._places[id(one)]
        del self.code[length:]

    def seal_common(self, value: Any) -> Given:
        """Pickle what all calls are given."""
        buffers: list[Any] = []

        def take(buffer: pickle.PickleBuffer) -> bool:
            is_small = buffer.raw().nbytes < _LARGE
            if not is_small:
                buffers.append(buffer)
            return is_small

        return Given(self._dump(value, take), buffers)

    def seal_column(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return arguments, one for each call, as they are to be sent; the same list if none can be changed."""
        kinds = set(map(type, values))
        if kinds <= ATOMS or all(map(cannot_change, values)):
            return values
        # What several calls are given is sent once: it is the same bytes.
        sealed: dict[int, Any] = {}
        return [
            value if type(value) in ATOMS else sealed.get(id(value)) or sealed.setdefault(id(value), self._seal(value))
            for value in values
        ]

    def _seal(self, value: Any) -> Any:
        return value if cannot_change(value) else Sealed(self._dump(value))

    def _dump(self, value: Any, take: Any = None) -> bytes:
        with io.BytesIO() as file:
            _Pickler(self, file, take).dump(value)
            return file.getvalue()


class _Pickler(Pickler):
    def __init__(self, sealer: Sealer, file: io.BytesIO, take: Any) -> None:
        super().__init__(file, take)
        self._sealer = sealer

    def reducer_override(self, obj: Any) -> Any:
        """Leave code out that is not found by its name."""
        if isinstance(obj, _CODE) and not is_importable(obj):
            return _code_at, (self._sealer.place(obj),)
        return super().reducer_override(obj)


class _Here(threading.local):
    code: Sequence[Any] = ()


_here = _Here()


def _code_at(place: int) -> Any:
    return _here.code[place]


class Opener:
    """The worker's end: unpickles what calls are given."""

    def __init__(self) -> None:
        self._code: list[Any] = []
        self._file: _Mapped | None = None
        self._data = b""

    def take_code(self, code: Sequence[Any]) -> None:
        """Take in functions and classes that were left out."""
        self._code += code

    def take_common(self, given: Given) -> None:
        """Take in what all calls are given."""
        self._data = given.data
        self._file = _Mapped(given.buffers) if given.buffers else None

    def open_common(self) -> Any:
        """Return what all calls are given, as it was sent."""
        return self._load(self._data, self._file.views() if self._file is not None else ())

    def open(self, value: Any) -> Any:
        """Return an argument as it was sent."""
        return self._load(value, ()) if type(value) is Sealed else value

    def _load(self, data: bytes, buffers: Any) -> Any:
        before, _here.code = _here.code, self._code
        try:
            return pickle.loads(data, buffers=buffers)  # noqa: S301 - from our own kernel
        finally:
            _here.code = before


class _Mapped:
    """Large arrays in a file that has no name; each call maps it anew, and has its own copy of the pages it changes."""

    def __init__(self, buffers: list[Any]) -> None:
        self._places: list[tuple[int, int, bool]] = []
        self._file = _open_file()
        place = 0
        for buffer in buffers:
            content = memoryview(buffer).cast("B")
            self._file.seek(place)
            self._file.write(content)
            self._places.append((place, content.nbytes, isinstance(buffer, bytes)))
            place += -(-content.nbytes // _ALIGNED) * _ALIGNED
        self._file.flush()
        self._file.truncate(place)

    def views(self) -> list[memoryview]:
        """Return the arrays' memory, for one call."""
        # It is unmapped when the last array in it is gone.
        mapped = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY))
        views = [mapped[start : start + size] for start, size, _ in self._places]
        return [
            view.toreadonly() if is_fixed else view for view, (_, _, is_fixed) in zip(views, self._places, strict=True)
        ]


def _open_file() -> Any:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("nbfutures"), "w+b")
    return tempfile.TemporaryFile()
