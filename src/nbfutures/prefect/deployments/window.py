"""The window of a deployment's job: a bounded number of its flow runs, made some at a time and watched in bulk."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from prefect.context import TagsContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic_core import PydanticSerializationError

from nbfutures.errors import DeploymentNotFoundError, ItemSkippedError, MapArgumentsError
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.deployments.watcher import OpenRun, Watcher
from nbfutures.prefect.names import run_name
from nbfutures.prefect.shared_client import shared_client

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

    from nbfutures.engine.dispatcher import Dispatcher
    from nbfutures.prefect.deployments.work import DeploymentWork

__all__ = ["OPEN_RUNS", "DeploymentWindow"]

OPEN_RUNS = 200
"""Flow runs at once where `in_flight` does not say otherwise: as many as Prefect tells of in one request."""

_MAKERS = 4
"""Flow runs that are made at once."""
_LOCAL_MAKERS = 1
"""The same on the local server: its SQLite takes one write at a time, and more than one at once take twice as long."""


class DeploymentWindow:
    """Keeps a bounded number of flow runs open.

    Args:
        dispatcher: The dispatcher that owns this window.
        work: The parameters of the flow runs.
        deployment: As the API gives it.
        size: Flow runs that are made and have not ended, at most.
    """

    def __init__(
        self, dispatcher: Dispatcher, work: DeploymentWork, deployment: DeploymentResponse, *, size: int
    ) -> None:
        self._dispatcher = dispatcher
        self._run = dispatcher.run
        self._work = work
        self._deployment = deployment
        self._size = size
        self._making = 0
        self._lock = threading.Lock()
        self._tags = sorted(TagsContext.get().current_tags)
        self._at_once = _LOCAL_MAKERS if self._run.is_server_local else _MAKERS
        self._makers = ThreadPoolExecutor(self._at_once, thread_name_prefix="nbfutures deployment")
        self._watcher = Watcher(self._run, work.deployment, deployment, dispatcher.wake)

    @property
    def is_growing(self) -> bool:
        """Whether a look follows soon: never, since each flow run that is made and each that ends makes one."""
        return False

    @property
    def busy(self) -> bool:
        """Whether flow runs are open."""
        return bool(self._making or len(self._watcher))

    def refill(self) -> None:
        """Have flow runs made up to the window's size."""
        # No more are taken than are made at once: what waits here could be neither paused nor cancelled.
        while self._making < self._at_once and len(self._watcher) + self._making < self._size:
            index = self._dispatcher.queue.try_pull()
            if index is None:
                return
            with self._lock:
                self._making += 1
            self._makers.submit(copy_context().run, self._make, index)

    def sweep(self) -> None:
        """Do nothing: the watcher tells how flow runs end."""

    def running(self) -> int:
        """Return how many flow runs are running."""
        return self._watcher.running()

    def is_running(self, index: int) -> bool:
        """Tell whether the item's flow run is running."""
        return self._watcher.is_running(index)

    def missing(self) -> int:
        """Return 0: a deployment's flow runs take no slots of the job's; see `DeploymentWork.check_options`."""
        return 0

    def cancel_queued(self) -> None:
        """Have the open flow runs cancelled in Prefect. Does not block."""
        self._watcher.cancel()

    def close(self) -> None:
        """Stop watching: every item has ended."""
        self._makers.shutdown(wait=False)
        self._watcher.close()

    def _make(self, index: int) -> None:
        """Make an item's flow run; on a thread of the pool."""
        made = None
        try:
            if self._run.stopped.is_set():
                # The cancel came between taking the item and here: it goes back, and is cancelled with the others.
                self._dispatcher.queue.put([index])
                return
            made = OpenRun(index, self._run.state.round_of(index), self._create(index))
        except ItemSkippedError as error:
            self._settle(index, OutcomeKind.SKIPPED, error)
        except Exception as error:
            self._settle(index, OutcomeKind.FAILED, self._explained(index, error))
        finally:
            # Counted as open before it is no longer counted as being made: the window never seems empty in between.
            if made is not None:
                self._watcher.add(made)
            with self._lock:
                self._making -= 1
            self._dispatcher.wake()

    def _create(self, index: int) -> uuid.UUID:
        parameters = self._work.resolved_parameters(index)
        again = f" (retry {self._run.rounds})" if self._run.rounds else ""
        with shared_client() as client:
            flow_run = client.create_flow_run_from_deployment(
                self._deployment.id,
                parameters=parameters,
                name=run_name(f"{self._run.name} {index}{again}"),
                tags=self._tags,
                # The client tries again where the server was busy: that must not make two of one.
                idempotency_key=str(uuid.uuid4()),
            )
        return flow_run.id

    def _explained(self, index: int, error: Exception) -> Exception:
        name = self._work.deployment
        if isinstance(error, PydanticSerializationError):
            return MapArgumentsError(
                f"The parameters of item {index} cannot be sent to the deployment {name!r} as JSON: {error}. Give "
                f"numbers, texts, lists and dicts, or the path of a file."
            )
        if isinstance(error, ObjectNotFound):
            return DeploymentNotFoundError(
                f"The deployment {name!r} was deleted. Serve or deploy its flow again, then run job.retry()."
            )
        if isinstance(error, PrefectHTTPStatusError):
            return MapArgumentsError(
                f"Prefect refused the flow run of item {index}, HTTP {error.response.status_code}: {_detail(error)}"
            )
        return error

    def _settle(self, index: int, kind: OutcomeKind, error: BaseException) -> None:
        state = self._run.state
        self._run.settle([
            Outcome(
                index, kind, None, error, self._run.queued, None, state.clock.now(),
                round=state.round_of(index), traceback=error.__traceback__,
            )
        ])  # fmt: skip


def _detail(error: PrefectHTTPStatusError) -> str:
    try:
        told: Any = error.response.json()
    except ValueError:
        return error.response.text
    return str(told.get("detail") or told) if isinstance(told, dict) else str(told)
