"""What a job's thread does: wait for Prefect, have the items run, and settle them if that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.errors import ItemCancelledError
from nbfutures.model.outcome import OutcomeKind
from nbfutures.runtime import capture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.runtime.contracts import Connection, Run, Work

__all__ = ["run_job"]

_NOT_BEGUN = "The flow was cancelled before it began. Run it again, such as by nbf.run(flow, ...)."


def run_job(run: Run, work: Work, indices: Sequence[int], connection: Connection) -> None:
    """Run items of a job to their end. Blocks; raises nothing: what goes wrong is told on the job.

    Args:
        run: The job.
        work: What it runs.
        indices: The items.
        connection: What connects to Prefect.
    """
    capture.install()
    try:
        if not connection.ready.is_set():
            run.state.set_note("Prefect is starting: some ten seconds, and up to thirty the first time.")
        connection.wait_until_ready(run.stopped)
        run.state.set_note("")
        from nbfutures.runtime.execution import execute

        execute(run, work, indices)
    except BaseException as error:
        if not run.state.is_done:
            if run.stopped.is_set() and run.state.crashed is None:
                told = ItemCancelledError("Cancelled before it ran. Run it with job.retry().")
                run.settle_open(OutcomeKind.CANCELLED, told)
                if work.is_flow:
                    run.fail(ItemCancelledError(_NOT_BEGUN))
                run.state.set_open_ended(is_open=False)
            else:
                run.crash(error)
    finally:
        capture.uninstall()
