"""Find a background job again that another kernel began, and follow it to its end."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName, FlowRunFilterTags
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from nbfutures.engine.calls.work import CallWork
from nbfutures.engine.job_note import JobNote
from nbfutures.errors import ItemCancelledError, NbfuturesError
from nbfutures.model.events import JobPhase
from nbfutures.model.item import Item
from nbfutures.model.options import BACKGROUND_TAG, JOB_TAG
from nbfutures.model.outcome import OutcomeKind
from nbfutures.prefect.background.api_loop import api_loop
from nbfutures.prefect.background.manifest import Manifest, read_manifest, server_id
from nbfutures.prefect.background.packed_tasks import as_task
from nbfutures.prefect.background.runs import BackgroundRuns, Entry, run_id_of
from nbfutures.prefect.background.task_keys import with_steady_key
from nbfutures.prefect.background.unreported_endings import read_by_id
from nbfutures.prefect.background.worker_calls import offered_again
from nbfutures.prefect.flow_runs.flow_end import final_state
from nbfutures.prefect.outcomes import Observed
from nbfutures.prefect.resolving import resolve_inputs
from nbfutures.prefect.watching.watched_work import WatchedWork

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Sequence

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

    from nbfutures.engine.contracts import Run
    from nbfutures.prefect.background.manifest import KernelMark

__all__ = ["AttachedCalls", "AttachedRuns", "find_job", "follow"]


@dataclass(slots=True)
class Found:
    """What Prefect knows of a job that another kernel began."""

    name: str
    """What people call the job."""
    flow_runs: list[FlowRun]
    """The oldest first: a retry has one of its own."""
    runs: dict[int, UUID]
    """Item to the id of its last task run, which need not exist."""
    task_runs: dict[UUID, TaskRun]
    """Those that exist."""
    was_elsewhere: bool
    """Whether it was given to another run of the local server: what waited in that is not known to this one."""
    kernels: dict[UUID, KernelMark] = field(default_factory=dict)
    """Flow run to the kernel that submits its items."""
    items: dict[int, UUID] = field(default_factory=dict)
    """Item to the last flow run that has it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the job that hold for a retry."""

    def is_abandoned(self, index: int) -> bool:
        """Tell whether the kernel that had to submit an item is certainly gone."""
        kernel = self.kernels.get(self.items[index]) if index in self.items else None
        return kernel is not None and kernel.is_gone

    @property
    def began(self) -> float | None:
        """When the job began, in seconds since the epoch."""
        started = self.flow_runs[0].start_time or self.flow_runs[0].expected_start_time
        return started.timestamp() if started is not None else None


class AttachedCalls(CallWork):
    """The calls of a job that another kernel began; they can be made again.

    Args:
        work: The calls.
        found: What Prefect knows of them.
    """

    def __init__(self, work: CallWork, found: Found) -> None:
        super().__init__(work.target, work.arguments, work.table, resolve=resolve_inputs)
        self.found = found


class AttachedRuns(WatchedWork):
    """Task runs whose calls are not known here.

    Args:
        found: What Prefect knows of them.
    """

    is_flow = False

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found
        for index, run_id in found.runs.items():
            task_run = found.task_runs.get(run_id)
            self.items.append(Item(index, {"task run": task_run.name if task_run is not None else str(run_id)}))

    @property
    def known_length(self) -> int:
        """Number of items."""
        return len(self.items)

    def check_retry(self) -> None:
        """Refuse: the calls are not known."""
        raise NbfuturesError(
            "The calls of this job are not known in this kernel (its arguments were futures or could not be pickled, "
            "or a module is missing here), so that they cannot be made again. Define the task and start a new job."
        )


_LATE_SECONDS = 15.0
"""In which Prefect's server has recorded what a kernel sent just before its end, also where its database is busy."""
_NEVER = "Its kernel ended before it was submitted. Run it with job.retry()."
_NOTE = "waiting for the kernel that began it to submit"


class Unseen:
    """Tells which items were never submitted, once that is certain: their kernel is gone, and there is no task run.

    Args:
        run: The job.
        runs: Its items that are followed.
        found: What Prefect knew of them.
    """

    def __init__(self, run: Run, runs: BackgroundRuns, found: Found) -> None:
        self._run = run
        self._runs = runs
        self._found = found
        self._note = JobNote(run.state)
        self._left = {index: run_id for index, run_id in found.runs.items() if run_id not in found.task_runs}
        self._gone_since: float | None = None
        """When it was first seen that the kernels of those that are left are gone."""
        self._asking: concurrent.futures.Future[list[TaskRun]] | None = None

    def look(self, now: float) -> None:
        """Look at those that are left. Does not block; on the job's thread.

        Args:
            now: Seconds of a monotonic clock.
        """
        if self._asking is not None:
            if self._asking.done():
                self._take_answer(self._asking)
                self._asking = None
            return
        if not self._left:
            return
        self._left = {index: run_id for index, run_id in self._left.items() if not self._runs.is_there(index)}
        is_gone = all(self._found.is_abandoned(index) for index in self._left)
        self._note.tell_if_free("" if is_gone else f"{_NOTE} {len(self._left):,} of its items")
        if not is_gone:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since > _LATE_SECONDS and self._left:
            self._asking = self._runs.loop.start(self._ask(list(self._left.values())))

    async def _ask(self, ids: Sequence[UUID]) -> list[TaskRun]:
        return await read_by_id(await self._runs.loop.client(), ids)

    def _take_answer(self, answer: concurrent.futures.Future[list[TaskRun]]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # Nothing is certain; it is asked again.
        there = {task_run.id for task_run in answer.result()}
        left, self._left = self._left, {}
        never = [
            index
            for index, run_id in left.items()
            if run_id not in there and not self._runs.is_there(index) and self._runs.drop(index) is not None
        ]
        self._run.settle_unrun(never, OutcomeKind.CANCELLED, ItemCancelledError(_NEVER))


_FIND_SECONDS = 60.0
_PAGE = 200
_ROUNDS = 20
"""Times that an item may have been given back while its flow run went on."""
_KNOWN = 20
"""Names that an error tells."""
_TURN_SECONDS = 0.2


def find_job(name: str) -> AttachedCalls | AttachedRuns:
    """Return the newest background job of a name, or the flow run of a name or id. Blocks, for a minute at most.

    Raises:
        NbfuturesError: If Prefect knows none; it names those that there are.
        ServerUnreachableError: If Prefect does not answer in time.
    """
    return api_loop().run(_find(name), _FIND_SECONDS)


def follow(run: Run, work: AttachedCalls | AttachedRuns) -> None:
    """Settle what has ended, and follow the rest to its end. Blocks; on the job's thread."""
    found = work.found
    state = run.state
    for flow_run in found.flow_runs:
        run.note_flow_run(flow_run.id)
    state.set_phase(JobPhase.RUNNING)
    wake = threading.Event()
    task = with_steady_key(as_task(work.target)) if isinstance(work, AttachedCalls) else None
    runs = BackgroundRuns(run, [one.id for one in found.flow_runs], task, wake.set)
    run.attach_follower(runs.is_running)
    entries = {
        index: Entry(index, run_id, state.round_of(index), Observed(queued=_queued(found, run_id)))
        for index, run_id in found.runs.items()
    }
    runs.follow(entries.values())
    runs.loop.start(_take_all(runs, found))
    unseen = Unseen(run, runs, found)
    try:
        while not state.is_done:
            wake.wait(_TURN_SECONDS)
            wake.clear()
            runs.take_in()
            state.set_running(runs.running())
            if run.stopped.is_set():
                runs.cancel_waiting()
            unseen.look(time.monotonic())
            if not len(runs) and not state.is_done:
                # What is open was given back meanwhile: a flow run of its own runs it.
                break
    finally:
        runs.drop_all()
    if state.is_done and not run.rounds:
        with contextlib.suppress(Exception):
            # Its kernel cannot say any more how it ended.
            runs.loop.run(_end_flow_runs(found, partial(final_state, run)), 10.0)


async def _take_all(runs: BackgroundRuns, found: Found) -> None:
    """Take in what was read, and offer again what waited in a server that is gone."""
    client = await runs.loop.client()
    for task_run in found.task_runs.values():
        runs.watcher.take(task_run)
        task_state = task_run.state
        if found.was_elsewhere and task_state is not None and task_state.is_scheduled():
            await client.set_task_run_state(task_run.id, offered_again(task_state.state_details))


async def _end_flow_runs(found: Found, made: Any) -> None:
    client = await api_loop().client()
    for flow_run in found.flow_runs:
        known = (await client.read_flow_run(flow_run.id)).state
        if known is None or not known.is_final():
            await client.set_flow_run_state(flow_run.id, made(), force=True)


def _queued(found: Found, run_id: UUID) -> float | None:
    task_run = found.task_runs.get(run_id)
    created = getattr(task_run, "created", None)
    return created.timestamp() if created is not None else None


# --- finding ---------------------------------------------------------------------------------------------------------


async def _find(name: str) -> AttachedCalls | AttachedRuns:
    client = await api_loop().client()
    newest = await _flow_run(client, name)
    flow_runs = await _rounds(client, newest)
    manifests = [await read_manifest(flow_run.id) for flow_run in flow_runs]
    task_runs = await _task_runs(client, flow_runs)
    found = Found(
        name=manifests[0].name if manifests[0] is not None else newest.name,
        flow_runs=flow_runs,
        runs={},
        task_runs={task_run.id: task_run for task_run in task_runs},
        was_elsewhere=any(one is not None and one.server not in ("", server_id()) for one in manifests),
        options=manifests[0].options if manifests[0] is not None else {},
    )
    first = manifests[0]
    if first is None:
        # Task runs that other code gave to workers, in the order in which it did.
        found.runs = {index: task_run.id for index, task_run in enumerate(task_runs)}
        return AttachedRuns(found)
    for flow_run, manifest in zip(flow_runs, manifests, strict=True):
        if manifest is not None:
            found.runs.update(await _ids(client, flow_run, manifest, found.task_runs))
            found.items.update(dict.fromkeys(manifest.indices, flow_run.id))
            found.kernels[flow_run.id] = manifest.kernel
    found.runs = dict(sorted(found.runs.items()))
    # A retry may have given the items to another function.
    latest = next(manifest for manifest in reversed(manifests) if manifest is not None)
    work = latest.work()
    return AttachedCalls(work, found) if work is not None else AttachedRuns(found)


async def _ids(
    client: PrefectClient, flow_run: FlowRun, manifest: Manifest, known: dict[UUID, TaskRun]
) -> dict[int, UUID]:
    """Return, for the items of a flow run, the ids of their last task runs; those that are found are added to `known`.

    Prefect's own workers take a task run out of its flow run while it waits in them, so that it is asked for by its id.
    """
    rounds = {index: _known_rounds(flow_run, index, known) for index in manifest.indices}
    # The first round here is the number of retries before this flow run.
    usual = {round_ for some in rounds.values() for round_ in some} or {0}
    tried = range(max(usual) + 2)
    unknown = [index for index, some in rounds.items() if not some]
    asked = [run_id_of(flow_run.id, index, round_) for index in unknown for round_ in tried]
    known.update({task_run.id: task_run for task_run in await read_by_id(client, asked)})
    rounds.update({index: _known_rounds(flow_run, index, known) for index in unknown})
    # One that is not there is expected as its kernel would submit it.
    return {index: run_id_of(flow_run.id, index, max(some, default=min(usual))) for index, some in rounds.items()}


def _known_rounds(flow_run: FlowRun, index: int, known: dict[UUID, TaskRun]) -> list[int]:
    return [round_ for round_ in range(_ROUNDS) if run_id_of(flow_run.id, index, round_) in known]


async def _flow_run(client: PrefectClient, name: str) -> FlowRun:
    wanted = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    with contextlib.suppress(ValueError):
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(name)]))
    found = await client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_PAGE)
    if not found:
        known = FlowRunFilter(tags=FlowRunFilterTags(all_=[BACKGROUND_TAG]))
        there = await client.read_flow_runs(
            flow_run_filter=known, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_PAGE
        )
        names = list(dict.fromkeys(one.name for one in there))[:_KNOWN]
        raise NbfuturesError(
            f"Prefect knows no background job {name!r}. Those that it knows, the newest first: "
            f"{', '.join(names) or 'none yet'}."
        )
    return next((one for one in found if BACKGROUND_TAG in one.tags), found[0])


async def _rounds(client: PrefectClient, newest: FlowRun) -> list[FlowRun]:
    """Return the flow runs of a job: its own, and those of its retries, the oldest first."""
    tag = next((one for one in newest.tags if one.startswith(JOB_TAG)), None)
    if tag is None:
        return [newest]
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    return await client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_PAGE)


async def _task_runs(client: PrefectClient, flow_runs: list[FlowRun]) -> list[TaskRun]:
    """Return the task runs of flow runs, in the order in which they were made."""
    made: list[TaskRun] = []
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[one.id for one in flow_runs]))
    while True:
        page = await client.read_task_runs(
            flow_run_filter=wanted, sort=TaskRunSort.ID_DESC, limit=_PAGE, offset=len(made)
        )
        # In an order that stays: what is added meanwhile moves others to the next page, where they are read twice.
        made.extend(page)
        if len(page) < _PAGE:
            return sorted({one.id: one for one in made}.values(), key=_when_expected)


def _when_expected(task_run: TaskRun) -> float:
    when = task_run.expected_start_time or task_run.created
    return when.timestamp() if when is not None else 0.0
