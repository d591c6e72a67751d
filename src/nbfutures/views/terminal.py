"""Text as a terminal would show it in the end: a progress bar is one line, however often it was drawn."""

from __future__ import annotations

import re

__all__ = ["last_state"]

_WIDEST = 500
"""Columns that a cursor may be moved to the right."""
_TALLEST = 1_000
"""Lines that a cursor may be moved up."""
_TAB = 8

_PIECE = re.compile(
    r"\x1b\[(?P<arguments>[0-?]*)[ -/]*(?P<command>[@-~])"  # CSI
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: a title, a link
    r"|\x1b[PX^_].*?(?:\x1b\\|\Z)"  # other strings
    r"|\x1b[ -/]*[0-~]"  # two characters, such as to choose a character set
    r"|(?P<control>[\a\r\n\b\t\v\f])"
    r"|(?P<text>[^\x1b\a\r\n\b\t\v\f]+)",
    re.DOTALL,
)
_MOVES = re.compile(r"[\a\r\b\v\f\x1b]")


def last_state(text: str) -> str:
    """Return what a terminal would show after `text`, without colours; plain text is returned as it is.

    Carriage returns, backspaces, and the codes that move the cursor or erase do what they do on a terminal that is as
    wide and as high as it takes.

    Args:
        text: What was written.
    """
    if not _MOVES.search(text):
        return text
    screen = _Screen()
    for piece in _PIECE.finditer(text.replace("\r\n", "\n")):
        if piece["text"] is not None:
            screen.write(piece["text"])
        elif piece["control"] is not None:
            screen.control(piece["control"])
        elif piece["command"] is not None:
            screen.command(piece["command"], piece["arguments"])
    return screen.text()


class _Screen:
    """Lines of characters, and a cursor."""

    def __init__(self) -> None:
        self._lines: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self._saved = (0, 0)

    def text(self) -> str:
        """Return all lines."""
        return "\n".join("".join(line).rstrip(" ") for line in self._lines)

    def write(self, text: str) -> None:
        """Write over what is there, from the cursor on."""
        line = self._lines[self._row]
        line.extend(" " * (self._column - len(line)))
        line[self._column : self._column + len(text)] = text
        self._column += len(text)

    def control(self, character: str) -> None:
        """Do what a control character says."""
        if character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(self._column - 1, 0)
        elif character == "\t":
            self._column += _TAB - self._column % _TAB
        elif character != "\a":
            self._row += 1
            if self._row == len(self._lines):
                self._lines.append([])
            if character == "\n":
                self._column = 0

    def command(self, command: str, arguments: str) -> None:  # noqa: C901, PLR0912 - one branch for each code
        """Do what a code says; one that neither moves nor erases, such as for a colour, is passed over."""
        numbers = [int(one) if one.isdecimal() else 0 for one in arguments.split(";")]
        count = min(max(numbers[0], 1), _WIDEST)
        line = self._lines[self._row]
        match command:
            case "A" | "F":
                self._move(self._row - count, self._column if command == "A" else 0)
            case "B" | "E":
                self._move(self._row + count, self._column if command == "B" else 0)
            case "C":
                self._move(self._row, min(self._column + count, max(self._column, _WIDEST)))
            case "D":
                self._move(self._row, self._column - count)
            case "G" | "`":
                self._move(self._row, count - 1)
            case "d":
                self._move(self._top + count - 1, self._column)
            case "H" | "f":
                self._move(self._top + count - 1, min(numbers[1] - 1, _WIDEST) if len(numbers) > 1 else 0)
            case "K":
                self._erase_in_line(numbers[0])
            case "J":
                self._erase(numbers[0])
            case "P":
                del line[self._column : self._column + count]
            case "X":
                line[self._column : self._column + count] = " " * len(line[self._column : self._column + count])
            case "s":
                self._saved = (self._row, self._column)
            case "u":
                self._move(*self._saved)

    @property
    def _top(self) -> int:
        return max(len(self._lines) - _TALLEST, 0)

    def _move(self, row: int, column: int) -> None:
        """Put the cursor somewhere on the screen: moving it adds no lines."""
        self._row = min(max(row, self._top), len(self._lines) - 1)
        self._column = max(column, 0)

    def _erase_in_line(self, what: int) -> None:
        line = self._lines[self._row]
        if what == 0:
            del line[self._column :]
        elif what == 1:
            line[: self._column + 1] = " " * len(line[: self._column + 1])
        else:
            line.clear()

    def _erase(self, what: int) -> None:
        if what == 0:
            self._erase_in_line(0)
            del self._lines[self._row + 1 :]
        elif what == 1:
            self._erase_in_line(1)
            for line in self._lines[: self._row]:
                line.clear()
        else:
            self._lines, self._row = [[]], 0
