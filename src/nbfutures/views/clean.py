"""Text that came from elsewhere, made short and safe to show: cut first, then cleaned, and never an exception."""

from __future__ import annotations

import builtins
import dataclasses
import itertools
import re
import reprlib
from collections import deque
from typing import TYPE_CHECKING, Any

from nbfutures.model.attributes import type_has
from nbfutures.views.templates import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "MESSAGE_LIMIT",
    "both_ends",
    "error_message",
    "error_name",
    "input_words",
    "leaves",
    "one_line",
    "plain",
    "short_repr",
]

MESSAGE_LIMIT = 300
"""Characters of an error's message that are shown."""
_MEMBER_LIMIT = 120
_MOST_MEMBERS = 1000

_COLOUR_CODE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Control characters but tab and newline; marks that change the direction of text, cannot be seen, or are half of one.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
_PLAIN_TYPES = frozenset({bool, float, complex, type(None)})
_SAFE_BITS = 128


def plain(text: str, limit: int) -> str:
    """Return `text` cut to `limit` characters, colour codes removed and unseen characters spelled out.

    The cost depends on `limit` alone, not on how long the text is.
    """
    # Colour codes take room and go away, so that more than the limit is looked at.
    head = text[: 4 * limit]
    made = head
    if not head.isprintable():
        made = _COLOUR_CODE.sub("", head.replace("\r\n", "\n"))
        made = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), made)
    if len(made) > limit or len(head) < len(text):
        return made[: limit - 1] + "…"
    return made


def both_ends(text: str, limit: int) -> str:
    """Return `text` safe to show, and without lines of its middle where it is long: what is last matters most.

    Args:
        text: Any text.
        limit: Characters of what is returned, at most.
    """
    # Cleaned first: that makes some texts longer. No character becomes more than ten.
    made = plain(text, 10 * len(text) + 2)
    if len(made) <= limit:
        return made
    head, tail = made[: limit // 5], made[limit // 5 - limit + _MARK :]
    # Whole lines, where they are not very long.
    first, _, _ = head.rpartition("\n")
    _, _, last = tail[: len(tail) // 2].partition("\n")
    head = first or head
    tail = last + tail[len(tail) // 2 :] if last else tail
    left_out = made[len(head) : len(made) - len(tail)]
    lines = left_out.count("\n") - 1
    told = f"{lines:,} lines" if lines > 1 else f"{len(left_out):,} characters"
    return f"{head}\n[… {told} left out …]\n{tail}"


_MARK = 60
"""Characters that it may take to say what is left out."""


def one_line(text: str) -> str:
    """Return `text` with each run of white space as one blank."""
    return " ".join(text.split())


def error_name(error: BaseException) -> str:
    """Return the name of an error's type."""
    return plain(type(error).__name__, 60)


def error_message(error: BaseException, limit: int = MESSAGE_LIMIT) -> str:
    """Return an error's message, cut and safe to show, also if the error cannot be turned into text.

    That of a group has its own words, and one error of each kind that it is a group of: these say what went wrong.
    """
    try:
        if isinstance(error, BaseExceptionGroup):
            return plain(_message_of_group(error), limit)
        return plain(str(error), limit)
    except Exception:
        return "(the message cannot be shown)"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that a group is made of, those of the groups within it too; of any other error itself."""
    todo = [error]
    while todo:
        one = todo.pop()
        if isinstance(one, BaseExceptionGroup):
            todo += reversed(one.exceptions)
        else:
            yield one


def _message_of_group(error: BaseExceptionGroup[Any]) -> str:
    # By themselves, Python's words for a group end with the number of its members, which says little.
    own = error.message if type(error).__str__ is BaseExceptionGroup.__str__ else str(error)
    kinds: dict[tuple[str, tuple[str, ...]], str] = {}
    for one in itertools.islice(leaves(error), _MOST_MEMBERS):
        name, message = error_name(one), one_line(error_message(one, _MEMBER_LIMIT))
        kind = name, fold(message)[0]
        text = f"{name}: {message}" if message else name
        kinds[kind] = min(kinds.get(kind, text), text)
    # In their order, whichever failed first.
    return f"{own}: {'; '.join(kinds[kind] for kind in sorted(kinds))}"


def short_repr(value: Any, limit: int = 80) -> str:
    """Return a value's `repr` on one line and cut; large containers are not walked, and it never raises."""
    kind = type(value)
    if kind in _PLAIN_TYPES or (kind is int and value.bit_length() < _SAFE_BITS):
        return repr(value)
    if kind is str and len(value) <= limit - 2:
        return plain(repr(value), limit)
    try:
        return plain(one_line(_ShortRepr(limit).repr(value)[: 4 * limit]), limit)
    except Exception:
        return plain(f"<{kind.__name__} that cannot be shown>", limit)


def input_words(arguments: Mapping[str, Any], limit: int = 80) -> str:
    """Return the arguments of a call, cut: of a single argument the `repr`, of several `x=1, y=2`."""
    if len(arguments) == 1:
        return short_repr(next(iter(arguments.values())), limit)
    parts: list[str] = []
    room = limit
    for name, value in arguments.items():
        if room <= 0:
            break
        part = f"{name}={short_repr(value, max(limit // 2, 20))}"
        parts.append(part)
        room -= len(part) + 2
    return plain(", ".join(parts) + ("" if len(parts) == len(arguments) else ", …"), limit)


class _ShortRepr(reprlib.Repr):
    """The standard library's short `repr`, without its sorting of whole containers, and for more types."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = limit
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxdict = 6

    def repr1(self, x: Any, level: int) -> str:
        kind = type(x)
        if kind is int:
            return repr(x) if x.bit_length() < _SAFE_BITS else f"<int of {x.bit_length():,} bits>"
        for base, short in self._CONTAINERS:
            if issubclass(kind, base):
                return short(self, x, level)
        if dataclasses.is_dataclass(kind) and hasattr(kind.__repr__, "__wrapped__"):
            fields = ((one.name, getattr(x, one.name)) for one in dataclasses.fields(kind) if one.repr)
            return self._record(kind, fields, level)
        return self.repr_instance(x, level)

    def repr_instance(self, x: Any, _level: int) -> str:
        shape = x.shape if type_has(type(x), "shape") else None
        if not isinstance(shape, tuple) or not all(isinstance(size, int) for size in shape):
            shape = ()
        if len(shape) > 1 or (shape and shape[0] > self.maxlist):
            # Their own repr is many lines long, and slow to make.
            return f"<{type(x).__name__}, {' x '.join(f'{size:,}' for size in shape)}>"
        text = builtins.repr(x)
        return text if len(text) <= self.maxother else text[: self.maxother - 1] + "…"

    def _text(self, x: Any, _level: int) -> str:
        if len(x) <= self.maxstring:
            return builtins.repr(x)
        return builtins.repr(x[: self.maxstring]) + "…"

    def _values(self, x: Iterable[Any], level: int, left: str, right: str) -> str:
        if level <= 0:
            return f"{left}…{right}"
        shown = [self.repr1(one, level - 1) for one in itertools.islice(x, self.maxlist)]
        if len(x) > len(shown):  # type: ignore[arg-type]  # a container
            shown.append("…")
        return f"{left}{', '.join(shown)}{right}"

    def _pairs(self, x: Mapping[Any, Any], level: int) -> str:
        if level <= 0:
            return "{…}"
        some = itertools.islice(x.items(), self.maxdict)
        shown = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in some]
        if len(x) > len(shown):
            shown.append("…")
        return f"{{{', '.join(shown)}}}"

    def _record(self, kind: type, pairs: Iterable[tuple[str, Any]], level: int) -> str:
        if level <= 0:
            return f"{kind.__name__}(…)"
        shown = [f"{name}={self.repr1(value, level - 1)}" for name, value in itertools.islice(pairs, self.maxdict)]
        return f"{kind.__name__}({', '.join(shown)})"

    def _dict(self, x: Mapping[Any, Any], level: int) -> str:
        return self._named(type(x), dict, self._pairs(x, level))

    def _set(self, x: Any, level: int) -> str:
        return self._named(type(x), set, self._values(x, level, "{", "}") if x else "")

    def _list(self, x: Any, level: int) -> str:
        return self._named(type(x), list, self._values(x, level, "[", "]"))

    def _tuple(self, x: Any, level: int) -> str:
        kind = type(x)
        if hasattr(kind, "_fields"):
            return self._record(kind, zip(kind._fields, x, strict=False), level)
        return self._named(kind, tuple, self._values(x, level, "(", ",)" if len(x) == 1 else ")"))

    @staticmethod
    def _named(kind: type, base: type, inner: str) -> str:
        return inner if kind is base and inner else f"{kind.__name__}({inner})"

    _CONTAINERS: tuple[tuple[Any, Callable[[_ShortRepr, Any, int], str]], ...] = (
        (dict, _dict),
        (str | bytes | bytearray, _text),
        (set | frozenset, _set),
        (tuple, _tuple),
        (list | deque, _list),
    )
