"""What a job says while its flow runs wait in Prefect, instead of silence."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from prefect.exceptions import ObjectNotFound

from nbfutures.runtime.deployments.serving import find_served
from nbfutures.runtime.jobs.job_note import JobNote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

    from nbfutures.runtime.contracts import Run

__all__ = ["WaitingNote"]

_PATIENCE_SECONDS = 3.0
"""How long nothing may start before the job says so: workers ask for work every few seconds."""
_ASK_SECONDS = 5.0
"""Between two requests for when somebody asked for work."""
_GONE_SECONDS = 60.0
"""Who has not asked for work for so long is not there: workers do it every 10 or 15 s."""


class WaitingNote:
    """Says on a job why its flow runs do not start.

    Args:
        run: The job.
        name: What people call the deployment.
        deployment: As the API gives it.
    """

    def __init__(self, run: Run, name: str, deployment: DeploymentResponse) -> None:
        self._run = run
        self._name = name
        self._deployment = deployment
        self._note = JobNote(run.state)
        self._waiting_since: float | None = None
        self._asked = time.monotonic()

    def update(self, client: SyncPrefectClient, found: Sequence[FlowRun]) -> None:
        """Say what the flow runs wait for, or nothing.

        Args:
            client: Asked, every some seconds, whether a worker is there.
            found: The open flow runs, as the API gives them.
        """
        self._note.tell_if_free("" if self._run.stopped.is_set() else self._reason(client, found))

    def _reason(self, client: SyncPrefectClient, found: Sequence[FlowRun]) -> str:
        served = find_served(self._name)
        if served is not None and not served.is_alive and found:
            # Flow runs that ran there when it was killed are told as running for ever.
            return f"{self._name!r} is not served any longer: serve the flow again, or cancel the job"
        states = [one.state for one in found if one.state is not None]
        if not states or any(not state.is_scheduled() and not state.is_paused() for state in states):
            self._waiting_since = None
            return ""
        self._waiting_since = self._waiting_since or time.monotonic()
        if any(state.is_paused() for state in states):
            return "paused in Prefect: resume the flow runs there"
        if any(state.name == "AwaitingConcurrencySlot" for state in states):
            return f"waiting for a slot: {self._name!r} has a concurrency limit"
        return self._no_worker(client, self._waiting_since)

    def _no_worker(self, client: SyncPrefectClient, since: float) -> str:
        now = time.monotonic()
        if now - since < _PATIENCE_SECONDS:
            return ""
        if now - self._asked > _ASK_SECONDS:
            self._asked = now
            try:
                self._deployment = client.read_deployment(self._deployment.id)
            except ObjectNotFound:
                return f"the deployment {self._name!r} was deleted; cancel the job"
        return f"waiting for a worker of {self._name!r}{self._absence()}"

    def _absence(self) -> str:
        """Return what to do, where nobody asks for work."""
        polled = self._deployment.last_polled
        if polled is not None and (dt.datetime.now(dt.UTC) - polled).total_seconds() < _GONE_SECONDS:
            return ""
        pool = self._deployment.work_pool_name
        todo = (
            f"start one: prefect worker start --pool {pool}"
            if pool
            else "serve it: nbf.serve(flow, name=...), or flow.serve() in a script"
        )
        return f", and there is none; {todo}"
