"""Boxes that Ray keeps next to the kernel, through which the kernel and the workers talk."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from nbfutures.runtime.remote.mailbox import connect_by_mail

if TYPE_CHECKING:
    from nbfutures.runtime.remote.contracts import Connection

__all__ = ["GONE", "Boxes", "RayMailbox", "RayRoute"]

_LOOK_SECONDS = 0.5
"""Between two looks whether Ray is still there, while an answer is waited for."""
GONE = "Ray was shut down."


class Boxes:
    """Boxes, in a process that Ray keeps next to the kernel."""

    def __init__(self) -> None:
        self._boxes: defaultdict[str, asyncio.Queue[bytes]] = defaultdict(asyncio.Queue)
        self._openers: Counter[str] = Counter()

    async def answer(self) -> None:
        """Nothing: that it comes back says that this is there."""

    async def open(self, box: str) -> None:
        """Note that one more uses a box."""
        self._openers[box] += 1

    async def put(self, box: str, message: bytes) -> None:
        """Put a message into a box."""
        self._boxes[box].put_nowait(message)

    async def take(self, box: str, seconds: float | None) -> bytes | None:
        """Return the first message of a box; `None` if none comes in so many seconds."""
        try:
            return await asyncio.wait_for(self._boxes[box].get(), seconds)
        except TimeoutError:
            return None

    async def drop(self, box: str, openers: int) -> None:
        """Note that so many have done with a box, and forget it after the last one."""
        # Not before both ends have: one may not have taken the last message yet.
        self._openers[box] -= openers
        if self._openers[box] <= 0:
            self._openers.pop(box)
            self._boxes.pop(box, None)


class RayMailbox:
    """The boxes, asked from the kernel or from a worker.

    Args:
        boxes: The actor that holds them.
    """

    def __init__(self, boxes: Any) -> None:
        self._boxes = boxes
        self._opened: set[str] = set()
        self.is_closed = False
        """Whether Ray is about to be shut down: it ends the whole process where it is asked after that."""

    def open(self, box: str) -> None:
        """Have a box."""
        if box not in self._opened:
            self._opened.add(box)
            self._ask("open", box)

    def put(self, box: str, message: bytes) -> None:
        """Put a message into a box."""
        self.open(box)
        self._ask("put", box, message)

    def take(self, box: str, timeout: float | None) -> bytes:
        """Take the first message out of a box, waiting for it."""
        self.open(box)
        taken: bytes | None = self._ask("take", box, timeout)
        if taken is None:
            raise TimeoutError
        return taken

    def drop(self, box: str, *, openers: int = 1) -> None:
        """Forget a box."""
        if box in self._opened:
            self._opened.discard(box)
            self._ask("drop", box, openers)

    def _ask(self, what: str, *arguments: Any) -> Any:
        self.check()
        try:
            # Not by `ray.get`: where Ray is shut down meanwhile, that may end the whole process.
            answer: Future[Any] = getattr(self._boxes, what).remote(*arguments).future()
            while not wait([answer], _LOOK_SECONDS).done and not self.is_gone:
                pass
            return answer.result(0)
        except Exception as error:
            raise ConnectionAbortedError(f"{type(error).__name__}: {error}") from error

    @property
    def is_gone(self) -> bool:
        """Whether Ray cannot be asked any more."""
        return self.is_closed or not ray.is_initialized()

    def check(self) -> None:
        """Raise `ConnectionAbortedError` if Ray was shut down: to ask all the same would start another one."""
        if self.is_gone:
            raise ConnectionAbortedError(GONE)


@dataclass(frozen=True, slots=True)
class RayRoute:
    """How a Ray worker reaches the kernel."""

    boxes: Any
    reception: str

    def connect(self, name: str) -> Connection:
        """Connect with who expects this name in the kernel."""
        return connect_by_mail(RayMailbox(self.boxes), self.reception, name)
