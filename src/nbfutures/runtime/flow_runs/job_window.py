"""What is in flight for a job: one task run for each item, or lanes that work through many, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbfutures.runtime.lanes.inline_lane import InlineLaneWindow, InlineTaskWindow
from nbfutures.runtime.lanes.lane_window import LaneWindow
from nbfutures.runtime.lanes.lane_work import LaneWork
from nbfutures.runtime.runners import KERNEL_RUNNERS
from nbfutures.runtime.tasks.task_window import TaskWindow

if TYPE_CHECKING:
    from nbfutures.runtime.dispatcher import Dispatcher, Window
    from nbfutures.runtime.feed import Feed

__all__ = ["COROUTINES", "job_window"]

COROUTINES = 100
"""Coroutines at once where neither `workers` nor `in_flight` says otherwise."""


def job_window(dispatcher: Dispatcher, feed: Feed, *, runner: Any) -> Window:
    """Return a window for a job's runner and function.

    Args:
        dispatcher: The dispatcher that is to own it.
        feed: Tells when a task run is done.
        runner: Where the task runs run.
    """
    run, work = dispatcher.run, dispatcher.work
    options = run.options
    is_remote = options.runner not in KERNEL_RUNNERS
    if work.is_task and is_remote:
        from nbfutures.runtime.remote.task_window import RemoteTaskWindow

        # One for each worker: what waits can then be taken back, and what runs can be stopped alone.
        size = min(options.in_flight or run.workers, run.workers)
        return RemoteTaskWindow(dispatcher, feed, runner, work, size=size)
    if work.is_task and options.runner == "inline":
        return InlineTaskWindow(dispatcher, feed, runner, work, size=1)
    if work.is_task:
        # Coroutines need no thread: where no number of workers is given, all of the window runs at once.
        is_open = work.is_async and not options.workers
        size = options.in_flight or (COROUTINES if is_open else 2 * run.workers + 2)
        if options.limit and not work.is_async:
            # What waits for a thread would hold a slot.
            size = min(size, run.workers)
        return TaskWindow(dispatcher, feed, runner, work, size=size)
    shared = LaneWork(
        work=work,
        queue=dispatcher.queue,
        limit=dispatcher.limit,
        state=run.state,
        wake=dispatcher.wake,
        # One at a time: whoever runs a coroutine inline is blocked by it as by a plain function.
        is_async=work.is_async and options.runner != "inline",
        quota=None if isinstance(options.batch, str) else options.batch,
        retries=options.retries or 0,
        retry_delay=options.retry_delay or 0.0,
        timeout=options.timeout,
        fail_fast=options.fail_fast,
        stopped=run.stopped,
        queued=run.queued,
        cpu_clock=run.cpu_clock,
    )
    if is_remote:
        from nbfutures.runtime.remote.window import RemoteWindow

        return RemoteWindow(
            dispatcher, feed, runner, shared, workers=run.workers, in_flight=options.in_flight, name=run.name
        )
    if options.runner == "inline":
        return InlineLaneWindow(dispatcher, feed, runner, shared, workers=1, in_flight=1, name=run.name)
    in_flight = options.in_flight or ((options.workers or COROUTINES) if work.is_async else None)
    return LaneWindow(dispatcher, feed, runner, shared, workers=run.workers, in_flight=in_flight, name=run.name)
