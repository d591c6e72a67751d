"""What the parts of the runtime know of a job, without knowing the class that holds it all together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from nbfutures.model.item import Item
    from nbfutures.model.job_state import JobState
    from nbfutures.model.options import JobOptions
    from nbfutures.model.outcome import Outcome, OutcomeKind

__all__ = ["Caller", "Connected", "Connection", "Run", "Work"]


class Work(Protocol):
    """What a job runs."""

    @property
    def known_length(self) -> int | None:
        """Number of items, or `None` if they become known while the job runs."""
        ...

    @property
    def is_flow(self) -> bool:
        """Whether the job's result is a flow's, not its items'."""
        ...

    @property
    def owns_calls(self) -> bool:
        """Whether the calls are the job's own, so that they can be held back and made again."""
        ...

    @property
    def stream(self) -> Any:
        """Where items come from while the job runs, if they come from iterators: an `ItemStream`, or `None`."""
        ...

    def all_indices(self) -> Sequence[int]:
        """Return the items to start with."""
        ...

    def item(self, index: int) -> Item:
        """Return the item at `index`."""
        ...

    def call_again(self, index: int) -> Any:
        """Make the call of an item again, in the calling thread."""
        ...

    def check_retry(self) -> None:
        """Raise `NbfuturesError` if items cannot be run again."""
        ...

    def replace_function(self, fn: Callable[..., Any]) -> None:
        """Call another function from now on."""
        ...


class Connected(Protocol):
    """What is connected to Prefect; `Session` is what it is."""

    lease: Any
    """The right to use the local server; `None` where the user has chosen another, or before it is connected."""


class Connection(Connected, Protocol):
    """What connects to Prefect; `Session` is what it is."""

    ready: threading.Event
    """Set once Prefect answers or cannot be had."""

    def start(self) -> None:
        """Connect in the background."""
        ...

    def wait_until_ready(self, stop: threading.Event | None = None) -> None:
        """Block until Prefect answers."""
        ...


class Caller(Protocol):
    """The thread that makes a job's calls, where that is the one which asked for it; `CallingThread` is what it is."""

    @property
    def name(self) -> str:
        """What people call the thread."""
        ...

    def call(self, body: Callable[[], Any]) -> Any:
        """Have `body` called in that thread, and wait for it."""
        ...

    def serve(self) -> None:
        """Make the job's calls in the current thread until the job is done."""
        ...


class Run(Protocol):
    """A job, for those who run it; `JobRun` is what it is."""

    key: str
    name: str
    options: JobOptions
    state: JobState
    workers: int
    flow_run_ids: list[UUID]
    queued: float
    rounds: int
    lock: threading.Lock
    summarize: Callable[[], str] | None
    result: Any
    owner: Any
    thread: threading.Thread | None
    caller: Caller | None

    def note_flow_run(self, flow_run_id: UUID) -> None:
        """Tell the job which flow run of Prefect's is its own from now on."""
        ...

    @property
    def cpu_clock(self) -> Callable[[], float]:
        """What tells the CPU seconds of the calling thread."""
        ...

    @property
    def is_halted(self) -> bool:
        """Whether nothing new may start."""
        ...

    @property
    def flow_run_id(self) -> UUID | None:
        """Prefect's id of the job's flow run; `None` before there is one."""
        ...

    @property
    def is_server_local(self) -> bool:
        """Whether Prefect's server is the one of this machine that nbfutures has started."""
        ...

    @property
    def stopped(self) -> threading.Event:
        """Set while the job is being cancelled."""
        ...

    @property
    def work(self) -> Work:
        """What it runs."""
        ...

    def future(self, index: int) -> Any:
        """Return the item's future."""
        ...

    def is_running(self, index: int) -> bool:
        """Tell whether the item is being worked on."""
        ...

    def cancel(self, reason: str = ...) -> None:
        """Cancel what has not started."""
        ...

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Tell how items ended."""
        ...

    def settle_unrun(self, indices: Iterable[int], kind: OutcomeKind, error: BaseException) -> None:
        """Settle items that never ran."""
        ...

    def settle_open(self, kind: OutcomeKind, error: BaseException) -> None:
        """Settle all items that have not ended."""
        ...

    def skip_all(self, reason: str) -> None:
        """Settle every open item as skipped."""
        ...

    def fail(self, error: BaseException) -> None:
        """Record that the flow itself failed."""
        ...

    def crash(self, error: BaseException) -> None:
        """End the job, since it cannot go on."""
        ...

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Have `stop` called when the job is cancelled."""
        ...

    def on_item_done(self, index: int, then: Callable[[], None]) -> None:
        """Have `then` called when the item ended."""
        ...

    def on_done(self, then: Callable[[], None]) -> None:
        """Have `then` called once when the job is done."""
        ...

    def collect(self, timeout: float | None, *, single: bool) -> Any:
        """Block until the job is done and return the values."""
        ...

    def attach_dispatcher(self, dispatcher: Any) -> None:
        """Take a new dispatcher."""
        ...

    def attach_follower(self, is_running: Callable[[int], bool]) -> None:
        """Have it asked which items run, where others than dispatchers know it."""
        ...

    def note_health(self, trouble: str) -> None:
        """Say on the job that Prefect does not answer, or that it does again (an empty text)."""
        ...

    def drain_at_exit(self) -> None:
        """Have the kernel's jobs end before Prefect's services do when the process ends."""
        ...
