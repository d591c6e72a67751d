"""What is seen of a Prefect task's function where it runs, told to the kernel over a connection of its own."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any

from nbfutures.engine import capture
from nbfutures.engine.item_pipes import redirected_descriptors, runs_alone
from nbfutures.engine.workers.by_value import mend_cloudpickle
from nbfutures.engine.workers.packing import pack_error, unpack
from nbfutures.model.clock import SystemClock
from nbfutures.prefect.base_exceptions import without_another_try
from nbfutures.prefect.outcomes import Observed
from nbfutures.prefect.prefect_logging import keep_logging_apart
from nbfutures.prefect.private_settings import private_settings
from nbfutures.prefect.processes.start import can_talk
from nbfutures.prefect.remote.carrying import carrying
from nbfutures.prefect.tasks.cache_keys import watch_key
from nbfutures.prefect.tasks.observing import observe

if TYPE_CHECKING:
    from prefect.tasks import Task

    from nbfutures.engine.workers.contracts import Connection, Post, Route

__all__ = ["Ticket", "observe_elsewhere", "tell_kernel"]


class Ticket:
    """Takes in what a worker tells of one task run.

    Args:
        name: Name of the ticket, different from all others.
        seen: Filled in.
        worker: Name of the worker; `None` if only its process tells.
        post: Where the worker tells it.
    """

    def __init__(self, name: str, seen: Observed, worker: str | None, post: Post) -> None:
        self._name = name
        self._post = post
        self._seen = seen
        self._worker = worker
        post.expect(name, self._listen)

    def close(self) -> None:
        """Take in nothing more."""
        self._post.forget(self._name)

    def _listen(self, connection: Connection, pid: int | None) -> None:
        seen = self._seen
        worker = self._worker or f"process {pid}"
        with contextlib.closing(connection):
            try:
                while True:
                    told, payload = pickle.loads(connection.recv_bytes())  # noqa: S301 - as `unpack`
                    for name, value in told.items():
                        setattr(seen, name, value)
                    seen.worker = worker
                    try:
                        seen.error = unpack(payload)
                    except BaseException:
                        # The future tells of it in its own way, if the worker cannot.
                        seen.error = None
                        connection.send_bytes(_UNREADABLE)
                        continue
                    seen.traceback = seen.error.__traceback__ if seen.error is not None else None
                    # The worker goes on once it knows that this was read, so that the end of its task run comes later.
                    connection.send_bytes(b"read")
            except (EOFError, OSError):
                return


def observe_elsewhere(task: Task[Any, Any], ticket: str, route: Route) -> Task[Any, Any]:
    """Return a copy of a task that tells the kernel when its function runs in another process.

    Args:
        task: Any task; one whose function is a generator is returned as it is.
        ticket: Name of the `Ticket`.
        route: How it reaches the kernel.
    """
    mend_cloudpickle()
    fn = task.fn
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return task
    uncached: list[str] = []
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def told_async(*args: Any, **kwargs: Any) -> Any:
            with private_settings(), tell_kernel(ticket, route, fn, uncached) as observed:
                return await observed(*args, **kwargs)

        made: Any = told_async
    else:

        @functools.wraps(fn)
        def told_sync(*args: Any, **kwargs: Any) -> Any:
            with private_settings(), tell_kernel(ticket, route, fn, uncached) as observed:
                return observed(*args, **kwargs)

        made = told_sync
    twin = copy.copy(task)
    twin.fn = carrying(made)
    twin.retry_condition_fn = without_another_try(task)
    watch_key(twin, uncached.append)
    return twin


class tell_kernel:  # noqa: N801 - used as a function
    """Within it, the kernel is told of a function's call: at its start, and at its end."""

    def __init__(self, ticket: str, route: Route, fn: Any, uncached: list[str] | None = None) -> None:
        self._ticket, self._route = ticket, route
        self._fn = fn
        self._uncached = uncached
        """Why it was not cached, where it should have been."""
        self._seen = Observed()
        self._connection: Connection | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Any:
        """Tell of the start; return the function, to be called."""
        keep_logging_apart(is_worker=True)
        capture.install()
        self._open.enter_context(redirected_descriptors() if runs_alone() else contextlib.nullcontext())
        with _lock:
            # Prefect repeats a task within one run of its engine.
            self._seen.attempts = _attempts.pop(self._ticket, 0)
            _attempts[self._ticket] = self._seen.attempts + 1
            while len(_attempts) > _TICKETS_KEPT:
                del _attempts[next(iter(_attempts))]
        try:
            self._connection = self._route.connect(self._ticket)
        except (OSError, EOFError):
            self._connection = None
        clock = SystemClock()
        why = self._uncached[0] if self._uncached else None
        self._send(started=clock.now(), ended=None, attempts=self._seen.attempts + 1, uncached=why)
        # The thing that observes takes a task, of which it looks at nothing but the function.
        return observe(_Holder(self._fn), self._seen, clock.now).fn  # type: ignore[arg-type]  # as above

    def __exit__(self, *raised: object) -> None:
        """Tell of the end."""
        seen = self._seen
        self._send(
            started=seen.started,
            ended=seen.ended,
            cpu_seconds=seen.cpu_seconds,
            output=seen.output,
            attempts=seen.attempts,
        )
        self._open.close()
        capture.uninstall()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        if not can_talk():
            # Else nobody would ever know how the task run ended.
            os._exit(1)

    def _send(self, **told: Any) -> None:
        if self._connection is None:
            return
        error = self._seen.error
        if error is not None:
            error.with_traceback(self._seen.traceback)
        try:
            self._connection.send_bytes(pickle.dumps((told, pack_error(error)), pickle.HIGHEST_PROTOCOL))
            if self._connection.recv_bytes() == _UNREADABLE:
                careful = pack_error(error, is_careful=True)
                self._connection.send_bytes(pickle.dumps((told, careful), pickle.HIGHEST_PROTOCOL))
                self._connection.recv_bytes()
        except (OSError, EOFError):
            # The kernel has lost interest.
            self._connection = None


class _Holder:
    """Something with a function."""

    persist_result = False

    def __init__(self, fn: Any) -> None:
        self.fn = fn


_attempts: dict[str, int] = {}
"""Tickets to the attempts that began here, the latest last; a worker may run several task runs at once."""
_TICKETS_KEPT = 1000
_UNREADABLE = b"unreadable"
_lock = threading.Lock()
