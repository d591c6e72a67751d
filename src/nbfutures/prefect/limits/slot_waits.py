"""Says on a job that its items wait for slots where Prefect holds them back itself, and tells nobody."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Self

from prefect.context import TagsContext

from nbfutures.engine.job_note import JobNote
from nbfutures.engine.lanes import Lane
from nbfutures.errors import UnknownLimitError
from nbfutures.prefect.limits.awaited import awaited_limits
from nbfutures.prefect.limits.note import waiting_for, waiting_for_slot
from nbfutures.prefect.limits.prefect_limits import TAG_PREFIX, read_named
from nbfutures.prefect.shared_client import has_api, shared_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from uuid import UUID

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.contracts import Run

__all__ = ["SlotWaits", "tag_limits"]

_LOOK_SECONDS = 1.0
"""Between two looks; what is seen in two of them, one after the other, is told."""
_logger = logging.getLogger(__name__)


class SlotWaits:
    """Within it, a job tells which limit is full that its items wait for: in `concurrency`, or by the tags of a task.

    Args:
        run: The job.
        task_run_ids: Returns task runs of the job, also of flows that its own calls.
    """

    def __init__(self, run: Run, task_run_ids: Callable[[], Iterable[UUID]] = tuple) -> None:
        self._run = run
        self._task_run_ids = task_run_ids
        self._sources: list[Callable[[], Counter[str]]] = [self._seen_here]
        self._note = JobNote(run.state)
        self._over = threading.Event()
        # Not in the context of the flow run, whose client may be closed before this one is done.
        self._thread = threading.Thread(
            target=Context().run, args=(self._main,), name=f"nbfutures slots {run.name}", daemon=True
        )

    def add(self, source: Callable[[], Counter[str]]) -> None:
        """Ask another one too which limits are waited for; it is called from another thread, and may not block."""
        self._sources.append(source)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Look no longer, and take back what was told. Does not block."""
        self._over.set()
        self._note.tell_if_free("")

    def _main(self) -> None:
        before: Counter[str] = Counter()
        while not self._over.wait(_LOOK_SECONDS):
            try:
                # What hangs when a job has been ended without it is nobody's business any more.
                names = Counter() if self._run.state.is_done else self._awaited()
                told = _told(names & before) if names & before else ""
            except Exception:
                # It looks at what belongs to others, and only to say something more.
                _logger.debug("Cannot tell what %s waits for", self._run.name, exc_info=True)
                names, told = Counter(), ""
            before = names
            self._note.tell_if_free(told)
            if self._over.is_set():
                self._note.tell_if_free("")

    def _awaited(self) -> Counter[str]:
        return sum((source() for source in list(self._sources)), Counter[str]())

    def _seen_here(self) -> Counter[str]:
        ids = set(self._task_run_ids())
        return awaited_limits(lambda frame: self._is_own(frame, ids))

    def _is_own(self, frame: FrameType, task_run_ids: set[UUID]) -> bool:
        """Tell whether a frame is one that runs an item of the job, or its flow."""
        module = frame.f_globals.get("__name__")
        if module in {"prefect.task_engine", "prefect.flow_engine"}:
            engine = frame.f_locals.get("engine")
            task_run, flow_run = getattr(engine, "task_run", None), getattr(engine, "flow_run", None)
            known = self._run.flow_run_ids
            return (task_run is not None and (task_run.flow_run_id in known or task_run.id in task_run_ids)) or (
                flow_run is not None and flow_run.id in known
            )
        if str(module).startswith("nbfutures.prefect.lanes."):
            # Coroutines of a lane are tasks of their own in an event loop, not below the task run.
            lane = frame.f_locals.get("self")
            return isinstance(lane, Lane) and lane.work.state is self._run.state
        return False


def tag_limits(run: Run, work: CallWork) -> Counter[str]:
    """Return the limits that the tags of a job's task runs may have; called within its flow run, whose tags count."""
    own = work.target.tags if work.is_task else ()
    return Counter(f"{TAG_PREFIX}{tag}" for tag in {*own, *run.options.tags, *TagsContext.get().current_tags})


def _told(names: Iterable[str]) -> str:
    if not has_api():
        # The session was closed: a client would start a server of Prefect's own.
        return ""
    found = []
    with shared_client() as client:
        for name in sorted(names):
            with suppress(UnknownLimitError):
                found += read_named(client, [name])
    # Who asks for several slots may be refused where one is free.
    return waiting_for(found) or next(map(waiting_for_slot, found), "")
