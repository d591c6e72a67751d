"""What a worker process has been sent: as much of a job as a lane uses."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from nbfutures.model.clock import SystemClock
from nbfutures.runtime.remote.given import Given, Opener
from nbfutures.runtime.remote.packing import unreadable_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nbfutures.runtime.calls.signatures import Layout

__all__ = ["Calls", "Inbox", "Rounds"]


class Calls:
    """The function and the arguments of the calls that were sent."""

    def __init__(self) -> None:
        self.arguments: dict[int, Any] = {}
        self._opener = Opener()
        self._common: tuple[Callable[..., Any], dict[str, Any]] | None = None
        """The function, and the arguments that all calls have in common; `None` if each call has its own of them."""
        self._layout: Any = None

    def replace(self, code: list[Any], layout: Layout, common: Any) -> None:
        """Call this function from now on, with these arguments in common.

        Args:
            code: Functions and classes that what is sent refers to.
            layout: How arguments are passed that are sent by name.
            common: The function and the arguments by parameter name, as they are or `Given`.

        Raises:
            Exception: If they cannot be read.
        """
        self._layout = layout
        self._opener = Opener()
        self._opener.take_code(code)
        if isinstance(common, Given):
            self._opener.take_common(common)
            self._opener.open_common()
            common = None
        self._common = common

    def take(self, indices: list[int], arguments: Iterable[Any], code: list[Any], *, is_sealed: bool) -> None:
        """Take in the arguments of calls: some of them `Sealed`, if it is said so."""
        self._opener.take_code(code)
        if is_sealed:
            arguments = map(_Unopened, arguments)
        self.arguments.update(zip(indices, arguments, strict=True))

    def call(self, index: int) -> Any:
        """Make the call of an item."""
        arguments = self.arguments[index]
        function, statics = self._common or self._opener.open_common()
        if type(arguments) is _Unopened:
            arguments = self._opened(index, arguments.arguments)
        if type(arguments) is tuple:
            return function(*arguments)
        return self._layout.call(function, {**arguments, **statics})

    def _opened(self, index: int, arguments: Any) -> Any:
        try:
            if type(arguments) is tuple:
                return tuple(map(self._opener.open, arguments))
            return {name: self._opener.open(one) for name, one in arguments.items()}
        except Exception as error:
            raise unreadable_arguments(index, error) from None


class _Unopened:
    """Arguments of a call, some of them sealed."""

    __slots__ = ("arguments",)

    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments


class Rounds:
    """As much of a job's state as a lane asks."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.rounds: dict[int, int] = {}
        """Item to how often it was retried, of those that were."""

    def round_of(self, index: int) -> int:
        """Return how often an item was retried."""
        return self.rounds.get(index, 0)


class Inbox:
    """The items that were sent and have not begun; as much of a work queue as a lane uses.

    Args:
        wake: Called when there is something to tell.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._items: deque[int] = deque()
        self._filled = threading.Condition()
        self._later: list[tuple[int, float]] = []
        self._back: list[int] = []
        self._was_asked = False
        self._wake = wake
        self.is_closed = False

    def put(self, indices: list[int]) -> None:
        """Add items."""
        with self._filled:
            self._items.extend(indices)
            self._filled.notify()

    def pull(self) -> int | None:
        """Take the next item, waiting for it; `None` once nothing more will come."""
        try:
            return self._items.popleft()
        except IndexError:
            pass
        while True:
            with self._filled:
                if self._items:
                    return self._items.popleft()
                if self.is_closed:
                    return None
            self._wake()
            with self._filled:
                if not self._items and not self.is_closed:
                    self._filled.wait()

    def try_pull(self) -> int | None:
        """Take the next item if there is one."""
        try:
            return self._items.popleft()
        except IndexError:
            self._wake()
            return None

    def put_later(self, index: int, when: float) -> None:
        """Have the kernel send the item again later."""
        with self._filled:
            self._later.append((index, when))

    def take_later(self) -> list[tuple[int, float]]:
        """Return the items for later, each once."""
        with self._filled:
            taken, self._later = self._later, []
            return taken

    def give_back(self) -> None:
        """Return what has not begun, when the kernel asks."""
        with self._filled:
            self._was_asked = True
            self._empty()

    def take_back(self) -> list[int] | None:
        """Return the items that go back, each once; `None` if the kernel did not ask and there are none."""
        with self._filled:
            taken, self._back = self._back, []
            was_asked, self._was_asked = self._was_asked, False
            return taken if taken or was_asked else None

    def close(self) -> None:
        """Nothing more will come."""
        with self._filled:
            self.is_closed = True
            self._filled.notify_all()

    @property
    def may_get_more(self) -> bool:
        """Whether a lane that finds nothing is to wait for more."""
        return not self.is_closed

    def seconds_to_turn(self) -> float:
        """Return 0: the kernel keeps the rate."""
        return 0.0

    def halt(self) -> None:
        """Start nothing more of what has come: an item failed, and the job is to fail fast."""
        with self._filled:
            self._empty()

    def __len__(self) -> int:
        """Return the number of items that have not begun."""
        return len(self._items)

    def _empty(self) -> None:
        while True:
            try:
                self._back.append(self._items.pop())
            except IndexError:
                return
