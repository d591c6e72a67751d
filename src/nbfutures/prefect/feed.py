"""The feed: one thread that runs `prefect.futures.as_completed` over the futures of a job."""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectFuture, as_completed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["Feed"]

_logger = logging.getLogger(__name__)
_MANY = 100


class _Watched(PrefectFuture[Any]):
    """A future in the feed, which may be given to `as_completed` again and again.

    `as_completed` takes a list once, while a job's futures come in one by one: the feed starts it anew. A callback can
    not be taken off a future, so that this keeps one callback on it, whatever the number of starts.
    """

    def __init__(self, future: PrefectFuture[Any] | None, on_done: Callable[[], None] | None) -> None:
        self.future = future
        self.on_done = on_done
        self._final_state: Any = None
        self._callback: Callable[[PrefectFuture[Any]], None] | None = None
        self._lock = threading.Lock()

    def finish(self, _: Any = None) -> None:
        with self._lock:
            self._final_state = True
            callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)

    def renew(self) -> None:
        with self._lock:
            self._final_state = None

    def add_done_callback(self, fn: Callable[[PrefectFuture[Any]], None]) -> None:
        with self._lock:
            if not self._final_state:
                self._callback = fn
                return
        fn(self)

    def wait(self, timeout: float | None = None) -> None:
        raise NotImplementedError

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        raise NotImplementedError


class Feed:
    """Tells when futures are done, one after the other, on a thread of its own.

    Args:
        name: Name of the job, for the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._arrived: list[_Watched] = []
        self._lock = threading.Lock()
        self._closing = False
        self._pause = threading.Event()
        # Rings when futures arrived, which ends a running `as_completed`.
        self._bell = _Watched(None, None)
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"nbfutures feed {name}", daemon=True
        )

    def watch(self, future: PrefectFuture[Any], on_done: Callable[[], None]) -> None:
        """Have `on_done` called on the feed's thread when `future` is done. Does not block."""
        with self._lock:
            self._arrived.append(_Watched(future, on_done))
        self._bell.finish()

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread once every future is done."""
        self.close()
        self._thread.join()

    def close(self) -> None:
        """End the thread once every future that was given is done; does not wait for it."""
        with self._lock:
            self._closing = True
        self._bell.finish()

    def _run(self) -> None:
        pending: set[_Watched] = set()
        while True:
            self._bell.renew()
            with self._lock:
                arrived, self._arrived = self._arrived, []
                closing = self._closing
            for watched in arrived:
                self._register(watched)
            pending.update(arrived)
            if closing and not pending:
                return
            for future in as_completed([self._bell, *pending]):
                if future is self._bell:
                    break
                assert isinstance(future, _Watched)
                pending.discard(future)
                self._tell(future)
                if closing and not pending:
                    return
            # Starting anew costs about 2 us for each future: where there are many, let more arrive before it.
            if len(pending) > _MANY:
                self._pause.wait(min(len(pending) * 1e-5, 0.1))

    def _register(self, watched: _Watched) -> None:
        assert watched.future is not None
        try:
            watched.future.add_done_callback(watched.finish)
        except Exception:
            # Asking Prefect about a run that lives elsewhere can fail; who is told finds the error in the future.
            _logger.debug("A future could not be watched", exc_info=True)
            watched.finish()

    def _tell(self, watched: _Watched) -> None:
        try:
            if watched.on_done is not None:
                watched.on_done()
        except Exception:
            _logger.exception("nbfutures could not take in the end of a task run")
