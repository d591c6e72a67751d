"""`Job`: one submission from the notebook, as the user holds it."""

from __future__ import annotations

import functools
import itertools
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self, overload

from nbfutures.engine.job_waiting import as_settled, as_settled_async, is_of_an_item, wait, wait_async
from nbfutures.errors import InvalidOptionError, JobCrashedError, NbfuturesError
from nbfutures.model.events import JobEvent, JobPhase, is_turn
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.prefect.ui import ui_password
from nbfutures.views.card.live_card import CardSubject, LiveCard
from nbfutures.views.clean import leaves
from nbfutures.views.display import LiveDisplay
from nbfutures.views.report import JobReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from nbfutures.model.dry_run import DryRunReport
    from nbfutures.model.job_snapshot import Counts, JobSnapshot
    from nbfutures.prefect.jobs.futures import ItemFuture, JobFuture
    from nbfutures.prefect.jobs.job_run import JobRun
    from nbfutures.views.failures import Failure
    from nbfutures.views.frames import DataFrame
    from nbfutures.views.plots import JobPlots

__all__ = ["Job"]


class JobActions:
    """What can be done with a job by its card.

    Args:
        run: The job as the runtime holds it.
        retry: Runs again what did not complete.
        failure: Returns why an item failed.
    """

    def __init__(self, run: JobRun, retry: Callable[[], Any], failure: Callable[[int], Failure]) -> None:
        self._run = run
        self._retry = retry
        self.failure = failure

    def available(self) -> list[str]:
        """Return what can be done now."""
        state = self._run.state
        owns_calls = self._run.work.owns_calls
        if state.is_done:
            snapshot = state.snapshot()
            is_complete = snapshot.counts.settled == snapshot.counts.completed and not snapshot.crashed
            return ["retry"] if owns_calls and not is_complete else []
        if state.phase is JobPhase.CANCELLING:
            return []
        if not owns_calls or self._run.options.background:
            # What is with workers elsewhere cannot be held.
            return ["cancel"]
        return ["resume" if state.phase is JobPhase.PAUSED else "pause", "cancel"]

    def password(self) -> str | None:
        """Return what the login of Prefect's interface asks for, where it is our own server's."""
        return ui_password(self._run.session)

    def do(self, action: str) -> None:
        """Do one of them."""
        if action == "pause":
            self._run.pause()
        elif action == "resume":
            self._run.resume()
        elif action == "cancel":
            self._run.cancel()
        elif action == "retry":
            if self._run.caller is None:
                self._retry()
            else:
                # It runs to its end there, and a card has to answer meanwhile.
                threading.Thread(
                    target=copy_context().run, args=(self._retry,), name="nbfutures retry", daemon=True
                ).start()


_HOW = {
    OutcomeKind.COMPLETED: "completed",
    OutcomeKind.FAILED: "failed",
    OutcomeKind.CANCELLED: "was cancelled",
    OutcomeKind.SKIPPED: "was skipped",
}


class Job:
    """An ordered set of calls that run in the background. Made by `map`, `submit`, `run` and `track`.

    As the last line of a cell it shows how it stands, until it is done.

    Args:
        run: The job as the runtime holds it.
        single: Whether `result()` is one value, not a list.
    """

    def __init__(self, run: JobRun, *, single: bool = False) -> None:
        self._run = run
        self._single = single
        self._report = JobReport(run.state, run)
        run.summarize = self._report.markdown
        self.card_subject = CardSubject(
            run.key.rpartition("#")[2], run.state, JobActions(run, self.retry, self.failure)
        )
        """The job as a card shows it."""
        self._display = LiveDisplay(
            self._report.bundle, lambda: run.state.is_done, LiveCard([self.card_subject], self._report)
        )
        run.state.subscribe(self._on_event)

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the job is called."""
        return self._run.name

    @property
    def phase(self) -> JobPhase:
        """Where the job stands: starting, running, paused, cancelling or done."""
        return self._run.state.phase

    @property
    def counts(self) -> Counts:
        """How many items are completed, failed, cancelled, skipped, running and waiting."""
        return self._run.state.counts

    @property
    def snapshot(self) -> JobSnapshot:
        """The job at this moment: counts, rate, time left, speed-up."""
        return self._run.state.snapshot()

    @property
    def url(self) -> str | None:
        """Address of the job's flow run in Prefect's UI; `None` before Prefect knows of it.

        On JupyterHub and Binder, where the notebook's own server passes Prefect's pages on, a path on that server.

        Examples:
            >>> job.url
            'http://127.0.0.1:24612/runs/flow-run/0190d1c2-...'
        """
        return self._run.url

    @property
    def is_background(self) -> bool:
        """Whether workers in processes of their own run the items; `nbf.attach(job.name)` finds it again."""
        return self._run.options.background

    @property
    def is_done(self) -> bool:
        """Whether every item has ended."""
        return self._run.state.is_done

    @property
    def dry_run(self) -> DryRunReport | None:
        """What a dry run tells of the whole job, for `nbf.options(dry_run=True)`; `None` for any other job.

        Its `runner`, `expected` seconds, `seconds`, `cpu_share`, `obstacle` and `text` say which runner fits, how long
        all items would take, and why. Never blocks.

        Raises:
            NbfuturesError: If the dry run goes on.
        """
        return self._run.dry_run()

    def __len__(self) -> int:
        """Return the number of items known so far."""
        return len(self._run.state)

    @overload
    def __getitem__(self, index: int) -> ItemFuture[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[ItemFuture[Any]]: ...
    def __getitem__(self, index: int | slice) -> ItemFuture[Any] | list[ItemFuture[Any]]:
        """Return the future of an item, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self._run.future(one) for one in range(len(self))[index]]
        return self._run.future(self._position(index))

    def _position(self, index: int) -> int:
        try:
            return range(len(self))[index]
        except IndexError:
            told = f"its items are 0 to {len(self) - 1:,}" if len(self) else "it has no items"
            raise IndexError(f"The job has no item {index:,}: {told}.") from None

    def __iter__(self) -> Iterator[ItemFuture[Any]]:
        """Iterate over the items' futures, in order."""
        return (self._run.future(index) for index in range(len(self)))

    def __prefect_futures__(self) -> ItemFuture[Any] | JobFuture | list[ItemFuture[Any]]:
        """Return what stands for this job as an argument of another.

        That is its items' futures, the one of a single call, or one for all where the items are not known (yet).
        """
        if self._run.work.is_flow or self._run.state.is_open_ended:
            return self._run.whole()
        return self[0] if self._single and len(self) else list(self)

    # --- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Block until every item has ended. Interrupting it cancels what has not started.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether the job is done.
        """
        try:
            return wait(self._run.state, timeout)
        except KeyboardInterrupt:
            self._run.cancel("Cancelled by an interrupt. Run it with job.retry().")
            raise

    def result(self, timeout: float | None = None) -> Any:
        """Block until every item has ended, and return the values. Interrupting it cancels what has not started.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            The values in the order of the items; the value itself for `submit`; what the flow returned for `run`.

        Raises:
            Exception: The first error, as soon as it is known. The other items go on; see `job.failed`.
            TimeoutError: If the job is not done in time.

        Examples:
            >>> nbf.map(len, ["a", "bb"]).result()
            [1, 2]
        """
        __tracebackhide__ = True  # a failed item's own frames come next
        try:
            return self._run.collect(timeout, single=self._single)
        except KeyboardInterrupt as error:
            if not is_of_an_item(error, self._run.state):
                self._run.cancel("Cancelled by an interrupt. Run it with job.retry().")
            raise

    def values(self, default: Any = None) -> list[Any]:
        """Return the values that are there now, in the order of the items. Never blocks, never raises.

        Args:
            default: Stands for an item that has not completed.
        """
        return [
            outcome.value if outcome is not None and outcome.kind is OutcomeKind.COMPLETED else default
            for outcome in self._run.state.outcomes()
        ]

    def outcomes(self) -> list[Outcome | None]:
        """Return how each item ended, in order; `None` for those that have not. Never blocks."""
        return list(self._run.state.outcomes())

    def as_completed(self, timeout: float | None = None) -> Iterator[Outcome]:
        """Yield outcomes as items end, each item once; failures too.

        Args:
            timeout: Seconds for all items; `None` for no limit.

        Raises:
            TimeoutError: If the job is not done in time.

        Examples:
            >>> for outcome in job.as_completed():
            ...     print(outcome.index, outcome.value, outcome.error)
        """
        return as_settled(self._run.state, timeout)

    def __await__(self) -> Generator[Any, None, Self]:
        """Wait for the job without blocking the notebook, and return it: `(await job).result()`."""
        yield from wait_async(self._run.state, lambda: self.is_done).__await__()
        return self

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        """Yield outcomes as items end: `async for outcome in job`."""
        async for outcome in as_settled_async(self._run.state):
            yield outcome

    # --- steering --------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel what has not started; what runs ends by itself, or is ended with the runners that can. Does not block.

        Examples:
            >>> job.cancel()
            >>> job.retry()  # runs the rest after all
        """
        self._run.cancel()

    def pause(self) -> None:
        """Start no further items until `resume`. Does not block."""
        self._run.pause()

    def resume(self) -> None:
        """Go on after `pause`. Does not block."""
        self._run.resume()

    def retry(self, fn: Callable[..., Any] | None = None, *, errors: Any = None) -> Self:
        """Run what did not complete once more, in the background; the results take the place of the old ones.

        Args:
            fn: Called from now on instead of the job's function: an edited version, with the same parameters.
            errors: Only what failed with this exception type, or the name of one, or a tuple of them. A group is also
                taken for what its members are.

        Returns:
            The job itself.

        Raises:
            MapArgumentsError: If `fn` does not take the job's arguments.

        Examples:
            >>> job.retry()
            >>> job.retry(errors=TimeoutError)
            >>> job.retry(mended_parse)
        """
        wanted = None if errors is None else errors if isinstance(errors, tuple) else (errors,)
        for one in wanted or ():
            if not isinstance(one, str) and not (isinstance(one, type) and issubclass(one, BaseException)):
                raise InvalidOptionError(f"errors takes exception types or their names, got {one!r}.")
        self._run.retry(
            [
                outcome.index
                for outcome in self._run.state.outcomes()
                if outcome is not None and _is_to_retry(outcome, wanted)
            ],
            fn,
        )
        return self

    # --- tables ----------------------------------------------------------------------------------------------------

    def summary(self) -> DataFrame:
        """Return a table with one row for each kind of outcome: count, share, and seconds."""
        from nbfutures.views import frames

        return frames.summary(self._run.state)

    def frame(self) -> DataFrame:
        """Return a table with one row for each item, also for those that have not ended.

        Examples:
            >>> job.frame()
            >>> job.frame().query("outcome == 'completed' and seconds > 1")
        """
        from nbfutures.views import frames

        return frames.frame(self._run.state, self._run)

    @property
    def succeeded(self) -> DataFrame:
        """The rows of `frame` that completed."""
        from nbfutures.views import frames

        return frames.succeeded(self._run.state, self._run)

    @property
    def failed(self) -> DataFrame:
        """The rows of `frame` that failed."""
        from nbfutures.views import frames

        return frames.failed(self._run.state, self._run)

    def errors(self) -> DataFrame:
        """Return a table of the failures, grouped by exception type, line and message."""
        from nbfutures.views import frames

        return frames.errors(self._run.state, self._run)

    def failure(self, index: int) -> Failure:
        """Return why the item at `index` failed: input, traceback, output, and `.reproduce()`.

        Raises:
            NbfuturesError: If the item has not failed.
        """
        from nbfutures.views.failures import Failure

        at = self._position(index)
        outcome = self._run.state.outcome(at)
        if outcome is None or outcome.error is None or outcome.kind is not OutcomeKind.FAILED:
            how = _HOW[outcome.kind] if outcome is not None else "has not ended"
            why = f" {outcome.error}" if outcome is not None and outcome.error is not None else ""
            failed = (str(one.index) for one in self.outcomes() if one is not None and one.kind is OutcomeKind.FAILED)
            known = ", ".join(itertools.islice(failed, 5))
            told = f" Failed: {known}." if known else ""
            raise NbfuturesError(f"Item {at} did not fail: it {how}.{why}{told}")
        outcome.error.with_traceback(outcome.traceback)
        return Failure.of(outcome, self._run.item(at), functools.partial(self._run.work.call_again, at))

    def logs(self, limit: int = 10_000) -> DataFrame:
        """Return a table of the log lines that Prefect has of the job: those of its task runs and of the flow itself.

        Reads them from Prefect. While the job runs, its newest lines take about two seconds to get there; just after
        its end, this waits for them, ten seconds at most.

        What a task with `log_prints=True` prints is here, as lines of level INFO, and not in the item's output
        (`job.outcomes()[i].output`), which has what all others print.

        Args:
            limit: Lines at most, the newest ones.

        Returns:
            A frame with a row for each line, the oldest first, and the columns `time` (in UTC), `level`, `task_run`
            (its name, missing for lines of the flow itself), `message` and `task_run_id` (as in `job.frame()`).

        Raises:
            ServerStartError: If there is no Prefect any more, and the local server does not start again.
            ServerUnreachableError: If the server that the user has chosen does not answer.

        Examples:
            >>> job = nbf.map(task(log_prints=True)(print), ["hello"])
            >>> job.wait()
            >>> job.logs().query("message == 'hello'")
        """
        from nbfutures.views import frames

        if not self._run.flow_run_ids:
            return frames.logs([])
        self._run.session.wait_until_ready()
        from nbfutures.prefect.flow_runs.logs import read_log_lines

        return frames.logs(read_log_lines(self._run, limit))

    # --- plots -----------------------------------------------------------------------------------------------------

    @property
    def plot(self) -> JobPlots:
        """The job as pictures: `job.plot()`, or `.timeline()`, `.durations()` ... of it."""
        from nbfutures.views.plots import JobPlots

        return JobPlots(self._run.state)

    # --- display ---------------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        self._display.show()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002 - IPython's
        return self._report.bundle()

    def __repr__(self) -> str:
        return self._report.bundle()["text/plain"]

    def _on_event(self, event: JobEvent) -> None:
        if is_turn(event):
            self._display.poke()


def _is_to_retry(outcome: Outcome, wanted: tuple[Any, ...] | None) -> bool:
    if outcome.kind is OutcomeKind.COMPLETED:
        return False
    if wanted is None:
        return True
    if outcome.kind is not OutcomeKind.FAILED or isinstance(outcome.error, JobCrashedError):
        return False
    found = [outcome.error, *leaves(outcome.error)] if outcome.error is not None else []
    names = {kind.__name__ for error in found for kind in type(error).__mro__}
    return any(
        one in names if isinstance(one, str) else any(isinstance(error, one) for error in found) for one in wanted
    )
