"""Runs what a job runs, by its kind; once Prefect answers, on the job's flow thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.engine.calls.work import CallWork
from nbfutures.prefect.background.attach import AttachedCalls, AttachedRuns
from nbfutures.prefect.deployments.work import DeploymentWork
from nbfutures.prefect.flow_runs.flow_run import run_calls
from nbfutures.prefect.watching.task_runs import run_flow, watch_futures
from nbfutures.prefect.watching.watched_work import FlowWork, TrackedWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.engine.contracts import Run, Work

__all__ = ["execute"]


def execute(run: Run, work: Work, indices: Sequence[int]) -> None:
    """Run items of a job to their end. Blocks.

    Args:
        run: The job.
        work: What it runs.
        indices: The items; those of a flow become known while it runs.
    """
    if isinstance(work, AttachedRuns) or (isinstance(work, AttachedCalls) and not run.rounds):
        from nbfutures.prefect.background.attach import follow

        follow(run, work)
    elif isinstance(work, DeploymentWork):
        from nbfutures.prefect.deployments.lookup import find_deployment
        from nbfutures.prefect.deployments.window import OPEN_RUNS, DeploymentWindow

        deployment = find_deployment(run, work.deployment)
        size = run.options.in_flight or OPEN_RUNS
        run_calls(
            run,
            work,
            indices,
            lambda dispatcher, _: DeploymentWindow(dispatcher, work, deployment, size=size),
        )
    elif isinstance(work, CallWork):
        run_calls(run, work, indices)
    elif isinstance(work, FlowWork):
        run_flow(run, work.target, work.args, work.kwargs, work.items)
    elif isinstance(work, TrackedWork):
        watch_futures(run, work.futures, work.items)
    else:
        raise TypeError(type(work))
