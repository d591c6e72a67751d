"""Prefect futures inside of arguments: found without looking at more than there is time for."""

from __future__ import annotations

import enum
import itertools
from typing import TYPE_CHECKING, Any

from nbfutures.engine.calls.prefect_types import (
    as_futures,
    is_annotation,
    is_future,
    is_quote,
    knows_prefect,
    stands_for_futures,
)
from nbfutures.model.dry_run import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["find_futures", "may_hold_futures"]

_MOST = 30_000
"""Values of one level that are looked at before a job starts: some milliseconds."""
_OPENED = 1_000
"""Containers of one level that are opened, where there are too many values in all."""
_DEEPEST = 8
"""Levels that are looked at before a job starts, where all count."""
_BOXES: tuple[Any, ...] = (dict, list, tuple, set, frozenset)
_EXACT = frozenset(_BOXES)


class _Role(enum.IntEnum):
    PLAIN = 0
    FUTURE = 1
    JOB = 2
    ANNOTATION = 3
    BOX = 4


class _Roles(dict[type, _Role]):
    """Type to what its values are. Types are asked, not values: a mock is anything, if it is asked."""

    def __missing__(self, kind: type) -> _Role:
        made = self[kind] = _role_of(kind)
        return made


def find_futures(value: Any, depth: int | None = None) -> list[Any]:
    """Return the Prefect futures in a value, in order, each once: itself, or inside builtin containers.

    What is inside `quote` is not looked at.

    Args:
        value: Anything.
        depth: How many containers within each other are opened; `None` for all.
    """
    if not knows_prefect():
        return []
    roles = _Roles()
    found: list[Any] = []
    stack: list[tuple[Any, int]] = [(value, 0)]
    seen: dict[int, Any] = {}
    while stack:
        one, level = stack.pop()
        role = roles[type(one)]
        if role is _Role.FUTURE:
            found.append(one)
        elif role is _Role.JOB:
            stack.append((as_futures(one), level - 1))
        elif role is _Role.ANNOTATION:
            stack.append((one.unwrap(), level))
        elif role is _Role.BOX and (depth is None or level < depth) and id(one) not in seen:
            # A structure may hold itself. What is kept here has an id of its own.
            seen[id(one)] = one
            inside = [(value, level + 1) for value in _contents(one) if roles[type(value)]]
            stack.extend(reversed(inside))
    return list(dict.fromkeys(found))


def may_hold_futures(values: Sequence[Any], depth: int | None) -> bool:
    """Tell whether there are futures among values, or inside of them; in some milliseconds, however large they are.

    All values are looked at, and what is inside of them as long as that is no more than some ten thousand. Of more,
    some containers are opened, evenly spread, and their first and last values are looked at: what is that large is
    rarely of many kinds.

    Args:
        values: The values for one parameter.
        depth: How many containers within each other are opened; `None` for all.
    """
    if not knows_prefect():
        return False
    roles = _Roles()
    here: Sequence[Any] = values
    for level in range(_DEEPEST if depth is None else depth + 1):
        here = _unwrapped(here, roles)
        kinds = set(map(type, here))
        found = {roles[kind] for kind in kinds}
        if found & {_Role.FUTURE, _Role.JOB}:
            return True
        if _Role.BOX not in found or level == depth:
            return False
        here = _some_contents([one for one in here if roles[type(one)] is _Role.BOX] if len(found) > 1 else here)
    return False


def _role_of(kind: type) -> _Role:
    if is_future(kind):
        return _Role.FUTURE
    if is_annotation(kind):
        return _Role.PLAIN if is_quote(kind) else _Role.ANNOTATION
    if issubclass(kind, _BOXES):
        return _Role.BOX
    return _Role.JOB if stands_for_futures(kind) else _Role.PLAIN


def _unwrapped(values: Sequence[Any], roles: _Roles) -> Sequence[Any]:
    while any(roles[kind] is _Role.ANNOTATION for kind in set(map(type, values))):
        values = [one.unwrap() if roles[type(one)] is _Role.ANNOTATION else one for one in values]
    return values


def _some_contents(boxes: Sequence[Any]) -> list[Any]:
    sizes = map(len if _EXACT.issuperset(map(type, boxes)) else _size, boxes)
    if len(boxes) <= _MOST and sum(sizes) <= _MOST:
        return [value for box in boxes for value in _contents(box)]
    if len(boxes) > _OPENED:
        boxes = [boxes[position] for position in spread(len(boxes), _OPENED)]
    share = _MOST // len(boxes)
    some: list[Any] = []
    for box in boxes:
        some.extend(_contents(box) if _size(box) <= share else _ends(box, share // 2))
    return some


# The methods of the builtin types themselves: a class derived from one may have others.


def _contents(box: Any) -> Iterable[Any]:
    if issubclass(type(box), dict):
        return dict.values(box)
    contents: Iterable[Any] = box if type(box) in _EXACT else _base_of(box).__iter__(box)
    return contents


def _size(box: Any) -> int:
    size: int = len(box) if type(box) in _EXACT else _base_of(box).__len__(box)
    return size


def _ends(box: Any, count: int) -> Iterable[Any]:
    base = _base_of(box)
    if base in {list, tuple}:
        return [*base.__getitem__(box, slice(count)), *base.__getitem__(box, slice(-count, None))]
    first = itertools.islice(_contents(box), count)
    if base is not dict:
        return first
    return [*first, *(dict.__getitem__(box, key) for key in itertools.islice(dict.__reversed__(box), count))]


def _base_of(box: Any) -> Any:
    return next(base for base in _BOXES if issubclass(type(box), base))
