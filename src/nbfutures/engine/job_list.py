"""The jobs of a session: those that run, those that somebody holds, and what is left to say of the others."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfutures.engine.contracts import Run
    from nbfutures.model.job_snapshot import JobSnapshot

__all__ = ["JobList"]

_KEPT = 100
"""Jobs in the list, the newest, beside those that run."""


class _Entry:
    """One job, held while it runs; afterwards only what is said of it in a line."""

    def __init__(self, run: Run) -> None:
        self.ref = weakref.ref(run)
        self.held: Run | None = run
        self.is_kept = False
        """Whether it is held for good: nobody else was given it."""
        self.snapshot: JobSnapshot | None = None

    @property
    def is_over(self) -> bool:
        return self.held is None or (self.held.state.is_done and not _is_at_work(self.held))

    def let_go(self) -> None:
        """Hold the job no longer, if it has ended: who wants its values holds it."""
        if self.held is not None and not self.is_kept and self.is_over:
            self.snapshot = self.held.state.snapshot()
            self.held = None


def _is_at_work(run: Run) -> bool:
    thread = run.thread
    return thread is not None and thread.is_alive() and thread is not threading.current_thread()


class JobList(Sequence["Run"]):
    """The jobs that run or that somebody holds, the newest last; of the others, their last lines. For any thread.

    A job that has ended is kept by whoever holds it: with its values, its arguments and its errors it may be large.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def append(self, run: Run) -> None:
        """Add a job that is about to run, at the end where it is not known yet; it is held until it has ended."""
        with self._lock:
            self._tidy()
            known = next((entry for entry in self._entries if entry.ref() is run), None)
            if known is None:
                self._entries.append(_Entry(run))
            else:
                known.held = run
            over = len(self._entries) - _KEPT
            if over > 0:
                for old in [entry for entry in self._entries if entry.is_over][:over]:
                    self._entries.remove(old)

    def remove(self, run: Run) -> None:
        """Know nothing of a job any more."""
        with self._lock:
            self._entries[:] = [entry for entry in self._entries if entry.ref() is not run]

    def clear(self) -> None:
        """Know nothing of any job any more."""
        with self._lock:
            self._entries.clear()

    def tidy(self) -> None:
        """Hold no longer what has ended."""
        with self._lock:
            self._tidy()

    def keep(self, run: Run) -> None:
        """Hold a job for good, since the call that made it did not return it."""
        with self._lock:
            for entry in self._entries:
                if entry.ref() is run:
                    entry.is_kept, entry.held = True, run

    def known(self) -> list[Run | JobSnapshot]:
        """Return all jobs of the list, the newest last; how it ended for those that nobody holds."""
        found: list[Run | JobSnapshot] = []
        with self._lock:
            for entry in self._entries:
                run = entry.held or entry.ref()
                if run is not None:
                    found.append(run)
                elif entry.snapshot is not None:
                    found.append(entry.snapshot)
        return found

    def _runs(self) -> list[Run]:
        with self._lock:
            found = [entry.held or entry.ref() for entry in self._entries]
        return [run for run in found if run is not None]

    def _tidy(self) -> None:
        for entry in self._entries:
            entry.let_go()

    def __len__(self) -> int:
        return len(self._runs())

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        return self._runs()[index]

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs())

    def __eq__(self, other: object) -> bool:
        return self._runs() == other

    __hash__ = None  # type: ignore[assignment]  # as a list's

    def __repr__(self) -> str:
        return repr(self._runs())
