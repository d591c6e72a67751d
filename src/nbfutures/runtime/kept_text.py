"""The first and the last characters of a text that may be long."""

from __future__ import annotations

__all__ = ["CAPTURE_LIMIT", "KeptText"]

CAPTURE_LIMIT = 64_000
"""Characters of each stream that are kept of one item: the first half and the last half."""


class KeptText:
    """The first and the last characters of a text that may be long."""

    __slots__ = ("dropped", "head", "room", "tail", "tail_length")

    def __init__(self) -> None:
        self.head: list[str] = []
        self.room = CAPTURE_LIMIT // 2
        self.tail: list[str] = []
        self.tail_length = 0
        self.dropped = 0

    def add(self, text: str) -> None:
        """Add to the end."""
        if self.room > 0:
            first = text[: self.room]
            self.head.append(first)
            self.room -= len(first)
            text = text[len(first) :]
        if text:
            self.tail.append(text)
            self.tail_length += len(text)
            if self.tail_length > CAPTURE_LIMIT:
                self._cut()

    def text(self) -> str:
        """Return what was kept, and how much was not."""
        if self.tail_length > CAPTURE_LIMIT // 2:
            self._cut()
        middle = f"\n[… {self.dropped:,} characters left out …]\n" if self.dropped else ""
        return "".join(self.head) + middle + "".join(self.tail)

    def _cut(self) -> None:
        tail = "".join(self.tail)
        keep = tail[-(CAPTURE_LIMIT // 2) :]
        self.dropped += len(tail) - len(keep)
        self.tail, self.tail_length = [keep], len(keep)
