"""Puts the summaries of jobs below their flow runs in Prefect, when nothing else is to be done there."""

from __future__ import annotations

import contextvars
import logging
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect.client.schemas.actions import ArtifactCreate

from nbfutures.prefect.flow_runs.flow_start import changed_settings, client_within, last_start

if TYPE_CHECKING:
    from uuid import UUID

    from nbfutures.engine.contracts import Run

__all__ = ["flush_summaries", "record_summary"]

_CALM_SECONDS = 0.5
"""Since the last start of a flow run. Prefect's SQLite takes one writer at a time: small jobs that follow one another
would each wait for the summary of the one before, for some 50 ms."""
_PATIENCE_SECONDS = 10.0
"""After which a summary is sent all the same."""
_RETRIES = 2
_KEY_LENGTH = 80

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Summary:
    artifact: ArtifactCreate
    queued: float
    context: contextvars.Context
    """Of the job: its settings say which Prefect it is for."""

    def send(self) -> None:
        self.context.run(self._send)

    def _send(self) -> None:
        try:
            with client_within(_RETRIES) as client:
                client.create_artifact(self.artifact)
        except Exception:
            _logger.debug("The summary %s could not be recorded", self.artifact.key, exc_info=True)


class _Post:
    """Sends one summary after the other, in a thread that lives as long as there are some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: deque[_Summary] = deque()
        self._thread: threading.Thread | None = None

    def put(self, summary: _Summary) -> None:
        with self._lock:
            self._waiting.append(summary)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="nbfutures summaries", daemon=True)
                self._thread.start()

    def flush(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._send_next():
            pass

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                oldest = self._waiting[0].queued
            now = time.monotonic()
            wait = min(last_start() + _CALM_SECONDS, oldest + _PATIENCE_SECONDS) - now
            if wait > 0:
                pause.wait(wait)
            else:
                self._send_next()

    def _send_next(self) -> bool:
        # With one at a time, a flush that finds nothing more knows that all is sent.
        with self._sending:
            with self._lock:
                summary = self._waiting.popleft() if self._waiting else None
            if summary is not None:
                summary.send()
        return summary is not None


_post = _Post()


def record_summary(run: Run, flow_run_id: UUID | None) -> None:
    """Have the summary of a job put below its flow run soon, as an artifact: one request.

    Does not block, and trouble with it is logged only. Nothing is done for a dry run.

    Args:
        run: The job, which has ended.
        flow_run_id: Its flow run; `None` if Prefect never began one.
    """
    if flow_run_id is None or run.summarize is None or run.options.dry_run:
        return
    try:
        artifact = ArtifactCreate(
            key=_key(run.name),
            type="markdown",
            description=f"How the items of {run.name!r} ended",
            data=run.summarize(),
            flow_run_id=flow_run_id,
        )
    except Exception:
        _logger.debug("The summary of %s could not be made", run.key, exc_info=True)
        return
    # The settings as they are now: by then the session may be closed, and Prefect would start a server of its own.
    with changed_settings("client"):
        _post.put(_Summary(artifact, time.monotonic(), contextvars.copy_context()))


def flush_summaries(timeout: float) -> None:
    """Send the summaries that wait, on the calling thread.

    Args:
        timeout: Seconds after which no further one is begun.
    """
    _post.flush(timeout)


def _key(name: str) -> str:
    """Return the artifact's key, which Prefect wants in small letters: jobs of one name have one, and so a history."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_KEY_LENGTH].strip("-")
    return f"nbfutures-{slug}" if slug else "nbfutures-job"
