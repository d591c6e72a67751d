"""The start of a flow run: one at a time, and again at once where Prefect's SQLite was locked."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from prefect.context import FlowRunContext, TagsContext, get_settings_context
from prefect.flow_engine import run_flow

from nbfutures.prefect.names import run_name, template_of
from nbfutures.prefect.shared_client import PAUSES, shared_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

__all__ = ["changed_settings", "client_within", "last_start", "start_flow", "started"]

_START_SECONDS = 3.0


class _Turn:
    """Whose turn it is to start a flow run.

    Two that are created at the same moment meet in Prefect's SQLite as "database is locked" (PrefectHQ/prefect#18934).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None
        self.moved = time.monotonic()
        """When it was last taken or given back."""

    def acquire(self) -> None:
        """Wait for the turn of the calling thread, but not for ever: a start that hangs must not hold up the others."""
        self.moved = time.monotonic()
        if self._lock.acquire(timeout=_START_SECONDS):
            self._holder = threading.get_ident()

    def release(self) -> None:
        """Let the next one start, if it is the calling thread's turn."""
        if self._holder == threading.get_ident():
            self._holder = None
            self.moved = time.monotonic()
            self._lock.release()


_turn = _Turn()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Within it, it is the calling thread's turn to start a flow run, until `started`."""
    _turn.acquire()
    try:
        yield
    finally:
        _turn.release()


def started() -> None:
    """Say, on the thread of a flow run, that it has started."""
    _turn.release()


def last_start() -> float:
    """Return when a flow run was last about to start, or had started, by `time.monotonic`."""
    return _turn.moved


def start_flow(flow: Flow[Any, Any], parameters: Mapping[str, Any], *, name: str) -> State[Any]:
    """Run a flow to its end, in a flow run of the given name, with the tags of the context.

    Blocks; the flow's error is in the state that is returned, not raised.

    Args:
        flow: The flow.
        parameters: Parameter name to argument.
        name: Name of the flow run.
    """
    with _one_at_a_time():
        if FlowRunContext.get() is not None:
            # Within another flow run Prefect knows best how to make it a child of that.
            ended: Any = flow.with_options(flow_run_name=template_of(name))(**parameters, return_state=True)
            return cast("State[Any]", ended)
        with client_within() as client:
            flow_run = _create_flow_run(client, flow, parameters, run_name(name))
            ended = run_flow(flow, flow_run=flow_run, parameters=dict(parameters), return_type="state")
            return cast("State[Any]", ended)


@contextmanager
def changed_settings(group: str, **changes: Any) -> Iterator[None]:
    """Within it, some of Prefect's settings differ on this thread.

    As `prefect.settings.temporary_settings`, which reads and checks all settings anew: 30 ms of CPU.

    Args:
        group: The group of settings, such as "client".
        **changes: Names within the group to values; they are not checked.
    """
    context = get_settings_context()
    settings = context.settings
    changed = getattr(settings, group).model_copy(update=changes)
    with context.model_copy(update={"settings": settings.model_copy(update={group: changed})}):
        yield


@contextmanager
def client_within(retries: int = len(PAUSES)) -> Iterator[SyncPrefectClient]:
    """Within it, the kernel's client tries again where Prefect does not answer, and what Prefect does here uses it.

    Args:
        retries: How often. The pauses are short where Prefect's database was locked, and 2, 4, 8 ... seconds where
            nobody is there.
    """
    with shared_client() as client, changed_settings("client", max_retries=retries):
        yield client


def _create_flow_run(
    client: SyncPrefectClient, flow: Flow[Any, Any], parameters: Mapping[str, Any], name: str
) -> FlowRun:
    tags = TagsContext.get().current_tags
    return client.create_flow_run(flow, name=name, parameters=dict(parameters), tags=tags)
