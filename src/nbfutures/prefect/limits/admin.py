"""What people do with Prefect's limits: make, change, list, delete. Each call waits for Prefect, with an end."""

from __future__ import annotations

import queue
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from nbfutures.errors import InvalidOptionError, LimitError, NbfuturesError, ServerUnreachableError, UnknownLimitError
from nbfutures.prefect.limits.slot_leases import holders

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbfutures.model.limits import LimitRecord
    from nbfutures.prefect.session import Session

__all__ = ["delete_limit", "list_limits", "set_limit", "show_limit"]

T = TypeVar("T")

START_SECONDS = 180.0
"""How long Prefect may take to start."""
ANSWER_SECONDS = 20.0
"""How long it may take to answer."""


def set_limit(session: Session, name: str, slots: int, *, is_tag: bool, per_second: float | None) -> LimitRecord:
    """Create a limit, or change one; return it as it stands then. Blocks for as long as Prefect takes.

    Args:
        session: The kernel's session.
        name: Its name, or the tag.
        slots: How many may run at once.
        is_tag: Whether it is for task runs with a tag.
        per_second: Slots that become free by themselves each second; `None` to leave that as it is.

    Raises:
        InvalidOptionError: If it cannot have this name or number.
        LimitError: If Prefect refuses it.
        ServerUnreachableError: If Prefect does not answer.
    """
    check_name(name, is_tag=is_tag)
    if isinstance(slots, bool) or not isinstance(slots, int) or slots < 0:
        raise InvalidOptionError(f"A limit takes a whole number of slots, 0 or more, got {slots!r}.")
    if is_tag and not slots:
        # Prefect fails such task runs, and does not hold them back.
        raise InvalidOptionError("A tag limit takes 1 slot or more. To have task runs wait, pause their jobs.")
    if per_second is not None and (isinstance(per_second, bool) or not _is_rate(per_second)):
        raise InvalidOptionError(f"per_second must be a number of slots per second, 0 or more, got {per_second!r}.")
    if is_tag and per_second is not None:
        raise InvalidOptionError("per_second is for global limits; a tag limit is of how many task runs run at once.")

    def work(api: Any, client: Any) -> LimitRecord:
        api.change(client, name, slots, is_tag=is_tag, per_second=per_second)
        return _find(api, client, name, is_tag=is_tag)

    return _ask(session, work)


def show_limit(session: Session, name: str, *, is_tag: bool) -> LimitRecord:
    """Return one limit. Blocks for as long as Prefect takes; raises what `set_limit` does.

    Raises:
        UnknownLimitError: If there is none.
    """
    check_name(name, is_tag=is_tag)

    def work(api: Any, client: Any) -> LimitRecord:
        return _find(api, client, name, is_tag=is_tag)

    return _ask(session, work)


def delete_limit(session: Session, name: str, *, is_tag: bool) -> None:
    """Delete a limit. Blocks for as long as Prefect takes; raises what `set_limit` does.

    Raises:
        UnknownLimitError: If there is none.
    """
    check_name(name, is_tag=is_tag)
    _ask(session, lambda api, client: api.delete(client, name, is_tag=is_tag))


def list_limits(session: Session) -> list[LimitRecord]:
    """Return all limits of Prefect's, by name. Blocks for as long as Prefect takes; raises what `set_limit` does."""

    def work(api: Any, client: Any) -> list[LimitRecord]:
        jobs = {run.flow_run_id: run.name for run in session.jobs if run.flow_run_id is not None}
        found: list[LimitRecord] = api.read_all(client, holders(), jobs)
        return found

    return sorted(_ask(session, work), key=lambda one: (one.is_tag, one.name))


def check_name(name: Any, *, is_tag: bool) -> None:
    """Raise `InvalidOptionError` for what cannot be the name of a limit."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidOptionError(f"A limit's name must be a text that is not empty, got {name!r}.")
    if not is_tag and name.startswith("tag:"):
        raise InvalidOptionError(
            f"{name!r} is how Prefect calls the limit of a tag. Use nbf.limit({name.removeprefix('tag:')!r}, ..., "
            f"tag=True), or %limit --tag {name.removeprefix('tag:')}."
        )


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")


def _find(api: Any, client: Any, name: str, *, is_tag: bool) -> LimitRecord:
    for one in api.read_all(client, holders(), {}):
        if one.name == name and one.is_tag is is_tag:
            found: LimitRecord = one
            return found
    error: UnknownLimitError = api.unknown_limit(name, is_tag=is_tag)
    raise error


def _ask(session: Session, work: Callable[[Any, Any], T]) -> T:
    """Ask Prefect, in a thread: the caller's waiting has an end, and can be interrupted, whatever Prefect does."""
    told: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    stop = threading.Event()

    def ask() -> None:
        try:
            session.wait_until_ready(stop)
            from nbfutures.prefect.flow_runs.flow_start import client_within
            from nbfutures.prefect.limits import prefect_limits as api

            with client_within() as client:
                told.put((True, api.explained(lambda: work(api, client))))
        except BaseException as error:
            told.put((False, error))

    session.start()
    threading.Thread(target=copy_context().run, args=(ask,), name="nbfutures limits", daemon=True).start()
    try:
        is_good, value = _get(session, told)
    finally:
        stop.set()
    if is_good:
        answer: T = value
        return answer
    value = session.explained(value)
    if isinstance(value, NbfuturesError):
        raise value
    raise LimitError(f"Prefect could not do it: {value}") from value


def _get(session: Session, told: queue.SimpleQueue[tuple[bool, Any]]) -> tuple[bool, Any]:
    began = time.monotonic()
    ready: float | None = None
    while True:
        try:
            return told.get(timeout=0.2)
        except queue.Empty:
            now = time.monotonic()
        if ready is None and session.ready.is_set():
            ready = now
        if now - began > START_SECONDS or (ready is not None and now - ready > ANSWER_SECONDS):
            raise ServerUnreachableError(
                f"Prefect did not answer within {now - (ready or began):.0f} s. Try again in a moment; if it goes on, "
                f"restart the kernel, or look after the server that PREFECT_API_URL names."
            )
