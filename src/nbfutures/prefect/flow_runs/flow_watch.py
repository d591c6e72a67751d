"""Cancels jobs whose flow runs somebody has cancelled in Prefect's interface, or by its API."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from nbfutures.prefect.flow_runs.flow_start import client_within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from nbfutures.engine.contracts import Run

__all__ = ["WATCH_SECONDS", "Watched", "watched_in_prefect"]

WATCH_SECONDS = 2.0
"""Between two looks. A job that is over sooner is never asked for."""
_IDS = 200
"""Flow runs in one request, at most."""
_REASON = "Cancelled in Prefect. Run it with job.retry()."

_logger = logging.getLogger(__name__)


class Watched:
    """A flow run of a job that runs."""

    def __init__(self, run: Run, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self.is_cancelled = False
        """Whether somebody has cancelled it in Prefect."""
        self._run = run

    def cancel(self) -> None:
        """Cancel the job. Does not block."""
        self.is_cancelled = True
        self._run.cancel(_REASON)


class _Watch:
    """Looks at the flow runs of all jobs together, in a thread that lives as long as there are some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[UUID, Watched] = {}
        self._thread: threading.Thread | None = None

    def add(self, watched: Watched) -> None:
        with self._lock:
            self._watched[watched.flow_run_id] = watched
            if self._thread is None:
                # Without a context: the settings of one job are not those of the others.
                self._thread = threading.Thread(target=self._look, name="nbfutures flow runs", daemon=True)
                self._thread.start()

    def remove(self, watched: Watched) -> None:
        with self._lock:
            if self._watched.get(watched.flow_run_id) is watched:
                del self._watched[watched.flow_run_id]

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(WATCH_SECONDS)
            with self._lock:
                ids = list(self._watched)
                if not ids:
                    self._thread = None
                    return
            try:
                cancelled = _cancelled(ids)
            except Exception:
                # The server is away, which the job says; it is asked again.
                _logger.debug("Prefect could not be asked for flow runs that were cancelled", exc_info=True)
                continue
            for flow_run_id in cancelled:
                with self._lock:
                    found = self._watched.get(flow_run_id)
                if found is not None and not found.is_cancelled:
                    found.cancel()


def _cancelled(ids: list[UUID]) -> list[UUID]:
    """Return those of some flow runs that are cancelled, or are to be."""
    kinds = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED]))
    found: list[UUID] = []
    with client_within(0) as client:
        for start in range(0, len(ids), _IDS):
            asked = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + _IDS]), state=kinds)
            found += [flow_run.id for flow_run in client.read_flow_runs(flow_run_filter=asked, limit=_IDS)]
    return found


_watch = _Watch()


@contextmanager
def watched_in_prefect(run: Run, flow_run_id: UUID) -> Iterator[Watched]:
    """Within it, the job is cancelled if its flow run is.

    Args:
        run: The job.
        flow_run_id: Its flow run.
    """
    made = Watched(run, flow_run_id)
    _watch.add(made)
    try:
        yield made
    finally:
        _watch.remove(made)
