"""What items and jobs are told when a process ended."""

from __future__ import annotations

from nbfutures.errors import ItemCancelledError, ItemTimeoutError, JobCrashedError, WorkerDiedError

__all__ = ["GRACE_SECONDS", "cancelled_in_mid_run", "no_worker", "out_of_time", "worker_died"]

GRACE_SECONDS = 0.5
"""How long an item may take to notice its timeout, or a cancel, before its process is ended."""


def cancelled_in_mid_run(index: int) -> ItemCancelledError:
    """Return the error of an item whose process was stopped by a cancel."""
    return ItemCancelledError(f"Item {index} was stopped by the cancel while it ran. Run it with job.retry().")


def out_of_time(timeout: float, *, was_ended: bool) -> ItemTimeoutError:
    """Return the error of an item that did not notice its timeout.

    Args:
        timeout: Seconds.
        was_ended: Whether its worker was ended for it.
    """
    how = "its process was ended" if was_ended else "it was given up on; its call ends by itself"
    return ItemTimeoutError(
        f"The item ran longer than its timeout of {timeout:g} s, and {how}. Give it more time, or split its work into "
        f"smaller items."
    )


def worker_died(kind: str, index: int, problem: BaseException | None) -> WorkerDiedError:
    """Return the error of an item that ended its worker.

    Args:
        kind: What people call the worker.
        index: The item.
        problem: What is known of it.
    """
    told = f" ({problem})" if problem is not None else ""
    return WorkerDiedError(
        f"The {kind} that ran item {index} ended under it{told}: it ran out of memory, crashed, was stopped, or "
        f"called os._exit. "
        f"The other items go on in a new one; run this one again with job.retry()."
    )


def no_worker(kind: str, problem: BaseException | None) -> JobCrashedError:
    """Return the error of a job whose workers do not start to work."""
    if kind != "process":
        return JobCrashedError(
            f"No {kind} takes up the work ({problem}). Its workers need nbfutures and Prefect, in the versions of this "
            f"kernel, and have to reach the Prefect server if that is not local. Or use runner='processes'."
        )
    return JobCrashedError(
        f"Worker processes end before they can work ({problem}). In a script, put what starts jobs below "
        f'`if __name__ == "__main__":`. Else the task runs in Prefect\'s UI (job.url) say more. '
        f"Or use runner='threads'."
    )
