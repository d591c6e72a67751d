"""What Prefect has open in this process, where the server is at another address than before."""

from __future__ import annotations

from prefect.events.worker import EventsWorker

__all__ = ["leave_events_behind"]

_SECONDS = 0.1


def leave_events_behind() -> None:
    """Have Prefect send its events, of which it makes the records of task runs, to where the server is now.

    What is not sent yet is lost: it stays with who sends it to the old address.
    """
    EventsWorker.drain_all(timeout=_SECONDS)
