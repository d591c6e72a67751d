"""What messages have in common: numbers, quoted texts, paths and addresses folded away where they differ."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CommonMessage", "fold"]

_FOLDED = re.compile(
    r"""
      (?P<url>\b[a-z][a-z0-9+.-]{1,20}://[^\s'"<>,;)]+)
    | (?P<id>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)
    | (?P<quoted>(?<!\w)b?'[^'\n]*'(?!\w) | (?<!\w)b?"[^"\n]*"(?!\w))
    | (?P<path>(?<![\w.~/\\])(?:~|\.{1,2}|[A-Za-z]:)?[/\\][^\s'"<>:,;()]*[^\s'"<>:,;().])
    | (?P<address>\b0x[0-9a-fA-F]+)
    | (?P<name>\b(?:u?int|float|complex|utf[-_]?|latin[-_]?|base|sha|md|iso-|datetime)\d+\b)
    | (?P<number>\d+(?:[.,_]\d+)*(?:[eE][-+]?\d+)?)
    """,
    re.VERBOSE,
)
# What is folded has one of these in its first word: the search above, which takes longer, begins there.
_MARK = re.compile(r"[\d'\"/\\]")
_PLACEHOLDERS = {
    "url": "<url>",
    "id": "<id>",
    "quoted": "'…'",
    "path": "<path>",
    "address": "0x…",
    "number": "N",
}

Literals = tuple[str, ...]


def fold(message: str) -> tuple[Literals, tuple[str, ...]]:
    """Split a message into what stays and what may differ from one message of its kind to the next.

    Args:
        message: A text that has been cut.

    Returns:
        Texts and, at the odd positions, placeholders; and for each placeholder what it stands for.
    """
    literals: list[str] = []
    values: list[str] = []
    end = 0
    for found in _found(message):
        placeholder = _PLACEHOLDERS.get(found.lastgroup or "")
        if placeholder is None:
            # A word such as float64 or utf-8, whose number is part of its name.
            continue
        literals += (message[end : found.start()], placeholder)
        values.append(found[0])
        end = found.end()
    literals.append(message[end:])
    return tuple(literals), tuple(values)


def _found(message: str) -> Iterator[re.Match[str]]:
    end = 0
    while mark := _MARK.search(message, end):
        start = mark.start()
        while start > end and not message[start - 1].isspace():
            start -= 1
        found = _FOLDED.search(message, start)
        if found is None:
            return
        yield found
        end = found.end()


@dataclass(slots=True)
class CommonMessage:
    """The message of a group: a placeholder stands only where the group's messages differ."""

    literals: Literals
    """Texts and, at the odd positions, placeholders."""
    values: tuple[str, ...]
    """What the placeholders stand for in the first message."""
    differs: set[int] = field(default_factory=set)
    """Placeholders, counted from 0, whose values are not all the same."""

    def add(self, values: tuple[str, ...]) -> None:
        """Take in one more message with the same literals."""
        if values != self.values and len(self.differs) < len(values):
            pairs = enumerate(zip(values, self.values, strict=True))
            self.differs.update(place for place, (new, known) in pairs if new != known)

    def __str__(self) -> str:
        parts = list(self.literals)
        for place, value in enumerate(self.values):
            if place not in self.differs:
                parts[2 * place + 1] = value
        return "".join(parts)
