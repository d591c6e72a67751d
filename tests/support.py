"""What tests of several layers need."""

import time
from contextlib import contextmanager

from prefect import get_client


def eventually(predicate, timeout=120.0, interval=0.05):
    """Poll until the predicate holds, and return what it returned; fail when `timeout` seconds have passed."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline, (
            f"not true within {timeout:g} s: {getattr(predicate, '__name__', predicate)}"
        )
        time.sleep(interval)
    return value


def holds_for(predicate, seconds, interval=0.05):
    """Tell whether the predicate goes on to hold for so long; for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not predicate():
            return False
        time.sleep(interval)
    return True


def end_jobs(session, timeout=120):
    """Have a session without jobs: cancel those that run, and fail where one does not end."""
    from nbfutures.api import session_jobs

    for job in session_jobs():
        job.cancel()
    for job in session_jobs():
        assert job.wait(timeout), f"{job.name} goes on: {job.counts}"
    session.jobs.clear()


@contextmanager
def taken(limit, slots):
    """Some other program holds slots of a global limit, or of a tag's."""
    with get_client(sync_client=True) as client:
        lease = client.increment_concurrency_slots_with_lease([limit], slots, "concurrency", 60).json()["lease_id"]
        try:
            yield
        finally:
            client.release_concurrency_slots_with_lease(lease)
