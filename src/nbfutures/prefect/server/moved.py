"""What Prefect has open in this process, where the server is at another address than before."""

from __future__ import annotations

from typing import Any

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

__all__ = ["renew_senders"]


def renew_senders() -> None:
    """Have Prefect send its events, which become the records of task runs, and its logs to where the server is now.

    What was not sent by then is lost: at the end of the process, Prefect would try for minutes to send it to where
    nobody listens.
    """
    workers: Any = EventsWorker
    # All of Prefect's services; some wait for slots, for calls that go on.
    for sender in list(workers._instances.values()):
        if isinstance(sender, EventsWorker | APILogWorker):
            with sender._queue.mutex:
                sender._queue.queue.clear()
            sender._stop()
