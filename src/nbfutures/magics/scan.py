"""Split a magic's line into words, as a reader of Python would."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Line", "Word", "looks_like_option", "scan"]

_PIECE = re.compile(
    r"""
      (?P<quoted> \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
    | (?P<unclosed> ["'].* )
    | (?P<comment> \#.* )
    | (?P<open> [\[({] )
    | (?P<close> [\])}] )
    | (?P<space> \s+ )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_OPTION = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Word:
    """What stands between two spaces that are outside of brackets and quotes."""

    start: int
    """Index of its first character in the line."""
    text: str

    @property
    def end(self) -> int:
        """Index after its last character in the line."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Line:
    """A magic's line in words, without the comment and the semicolons at its end."""

    words: tuple[Word, ...]
    has_semicolon: bool
    """Whether it ended in a semicolon, which in a notebook hides a cell's value."""


def scan(line: str) -> Line:
    """Split a line at the spaces that are outside of brackets and quotes.

    A bracket or quote that is not closed reaches to the end of the line: whoever evaluates the word says so.

    Args:
        line: What stands behind a magic's name.
    """
    words: list[Word] = []
    start: int | None = None
    depth = 0
    end = len(line)
    for piece in _PIECE.finditer(line):
        if piece.lastgroup == "comment":
            end = piece.start()
            break
        depth = max(0, depth + {"open": 1, "close": -1}.get(piece.lastgroup or "", 0))
        if piece.lastgroup != "space":
            start = piece.start() if start is None else start
        elif depth == 0 and start is not None:
            words.append(Word(start, line[start : piece.start()]))
            start = None
    if start is not None:
        words.append(Word(start, line[start:end].rstrip()))
    has_semicolon = False
    while words and words[-1].text.endswith(";"):
        has_semicolon = True
        last = words.pop()
        if text := last.text.rstrip("; "):
            words.append(Word(last.start, text))
    return Line(tuple(words), has_semicolon)


def looks_like_option(text: str) -> bool:
    """Tell whether a word is an option: one or two dashes, directly followed by a letter."""
    return _OPTION.match(text) is not None
