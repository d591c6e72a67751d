"""What lanes outside the kernel need of the place where they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["Connection", "Post", "RemoteRunner", "Route"]


class Connection(Protocol):
    """Carries messages both ways, in their order."""

    def send_bytes(self, data: bytes) -> None:
        """Send a message.

        Raises:
            OSError: If the other end is gone.
        """
        ...

    def recv_bytes(self) -> bytes:
        """Return the next message, waiting for it.

        Raises:
            EOFError: If nothing more will come.
        """
        ...

    def cut(self) -> None:
        """Have `recv_bytes` end once it has returned what had come; from any thread."""
        ...

    def close(self) -> None:
        """Let go of it; the other end notices."""
        ...


class Route(Protocol):
    """The way from a worker to the kernel; sent to the worker with its work."""

    def connect(self, name: str) -> Connection:
        """Connect with who expects this name in the kernel.

        Raises:
            OSError: If nobody does, or the kernel cannot be reached.
        """
        ...


class Post(Protocol):
    """Where workers reach the kernel."""

    @property
    def route(self) -> Route:
        """How they do."""
        ...

    def expect(self, name: str, then: Callable[[Connection, int | None], None]) -> None:
        """Have `then` called, on a thread of its own, with the connection of who gives this name.

        Its second argument is the id of the process, where that is one of this machine that may be ended by it.
        """
        ...

    def forget(self, name: str) -> None:
        """Expect it no more: it is turned away."""
        ...


class RemoteRunner(Protocol):
    """Runs task runs outside the kernel."""

    has_own_processes: bool
    """Whether a lane has a process of this machine for itself, which it may change and end as it likes."""
    deaths_allowed: int
    """How often an item whose worker died is run again before it fails, beyond the retries that the user asks for."""

    @property
    def kind(self) -> str:
        """What people call a worker: "process"."""
        ...

    @property
    def post(self) -> Post:
        """Where the workers reach the kernel."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether its workers were started by this kernel, on this machine, each for one task run at a time."""
        ...

    @property
    def capacity(self) -> int | None:
        """How many task runs it can run at once; `None` for as many as are submitted."""
        ...

    def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
        """Run a task. Does not block for long."""
        ...

    def let_go(self, future: Any) -> None:
        """Let others have the worker of a task that will soon end."""
        ...

    def take_back(self, future: Any) -> None:
        """Have a task not run, if it has not begun. Does not block."""
        ...

    def kill(self, future: Any) -> bool:
        """End the worker that runs a task, or the task; return whether that can be done here. Does not block."""
        ...

    def is_stopped(self, future: Any) -> bool:
        """Tell whether the worker that runs a task is there and does nothing; `False` where that is not known."""
        ...

    def is_death(self, error: BaseException | None) -> bool:
        """Tell whether an error is a worker's end, not a task's."""
        ...
