"""How a job stands: the outcomes told so far, and what follows from them."""

from __future__ import annotations

import logging
import threading
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nbfutures.errors import ItemCancelledError
from nbfutures.model.clock import Clock, SystemClock
from nbfutures.model.events import JobEvent, JobPhase, PhaseChanged, Reopened, Settled
from nbfutures.model.job_snapshot import Counts, JobSnapshot
from nbfutures.model.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nbfutures.model.dry_run import DryRunReport

__all__ = ["JobState"]

_RATE_SECONDS = 10.0
"""The rate is taken over this many seconds, so that the time left follows a change of pace."""
_SAMPLE_SECONDS = 0.25


@dataclass(slots=True)
class Totals:
    """Sums over the outcomes told, kept up to date so that a snapshot costs the same for any number of items."""

    kinds: dict[OutcomeKind, int] = field(default_factory=lambda: dict.fromkeys(OutcomeKind, 0))
    item_seconds: float = 0.0
    first_started: float | None = None
    last_ended: float | None = None
    idle: float = 0.0
    """Seconds of the time since `first_started` in which the job was done, waiting for a retry."""

    def rate(self, now: float, *, begun: float) -> float | None:
        """Return the items per second of a job that is done, from its first item's start on.

        Args:
            now: When it ended.
            begun: When it was submitted, as if it had been idle before; counts where no item ran.
        """
        seconds = now - begun if self.first_started is None else now - self.first_started - self.idle
        # The others did not run: they would make a job that was cancelled look fast.
        count = self.kinds[OutcomeKind.COMPLETED] + self.kinds[OutcomeKind.FAILED]
        return count / seconds if count and seconds > 0 else None

    @property
    def speed_up(self) -> float | None:
        """Sum of the items' seconds over the wall-clock seconds in which they ran; `None` before the first."""
        if self.first_started is None or self.last_ended is None:
            return None
        wall = self.last_ended - self.first_started - self.idle
        return self.item_seconds / wall if wall > 0 else None


class Pace:
    """The rate of a running job over the last seconds.

    Args:
        now: When it began.
    """

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, 0)], maxlen=64)

    def note(self, now: float, settled: int) -> None:
        """Take in that so many items have ended by now; more often than four times a second changes nothing."""
        if now - self._samples[-1][0] >= _SAMPLE_SECONDS:
            self._samples.append((now, settled))

    def restart(self, now: float, settled: int) -> None:
        """Take the rate from now on: what is past was a start, a pause or an end."""
        self._samples.clear()
        self._samples.append((now, settled))

    def rate(self, now: float, settled: int) -> float | None:
        """Return the items per second; `None` where nothing is known."""
        # Items that take longer than the window would have no rate within it, so that it reaches further back.
        known = [(now - when, settled - before) for when, before in self._samples if settled > before]
        if not known:
            return None
        within = [sample for sample in known if sample[0] >= _RATE_SECONDS]
        seconds, count = min(within, default=known[0])
        return count / seconds if count and seconds > 0 else None


_logger = logging.getLogger(__name__)


class JobState:
    """The outcomes of a job's items. Safe to use from any thread.

    Args:
        name: What people call the job.
        total: Number of items known so far.
        workers: Number of workers that the job may use.
        clock: Where the time comes from.
        is_flow: Whether it is a flow, which may end well without any item.
    """

    def __init__(
        self, name: str, total: int, *, workers: int = 1, clock: Clock | None = None, is_flow: bool = False
    ) -> None:
        self.name = name
        self.is_flow = is_flow
        self.workers = workers
        self.links: tuple[tuple[str, str], ...] = ()
        """Pages about the job: what they are called, and their addresses."""
        self.clock: Clock = clock or SystemClock()
        self.created: float = self.clock.now()
        self.ended: float | None = None
        self._idle = 0.0
        self.dry_run: DryRunReport | None = None
        """What a dry run tells of the whole job, from its end on."""
        self.changed = threading.Condition()
        """Held while the state changes, and notified afterwards."""
        self._outcomes: list[Outcome | None] = [None] * total
        self.rounds: dict[int, int] = {}
        """Item to how often it was reopened, of those that were; changed with the lock held."""
        self._order = array("q")
        self._totals = Totals()
        self._running = 0
        self._phase = JobPhase.DONE if total == 0 else JobPhase.STARTING
        self._note = ""
        self._crashed: BaseException | None = None
        self._open_ended = False
        self._pace = Pace(self.created)
        self._listeners: list[Callable[[JobEvent], None]] = []
        if total == 0:
            self.ended = self.created

    # --- telling -----------------------------------------------------------------------------------------------

    # One loop, on purpose: it runs once for every item of every job.
    def settle(self, outcomes: Iterable[Outcome]) -> int:  # noqa: C901
        """Record how items ended; an outcome told before changes nothing, and the order does not matter.

        Args:
            outcomes: Outcomes of this job's items.

        Returns:
            How many of them changed something.
        """
        fresh: list[Outcome] = []
        with self.changed:
            table, totals, rounds = self._outcomes, self._totals, self.rounds
            kinds = totals.kinds
            first, last, seconds = totals.first_started, totals.last_ended, totals.item_seconds
            for outcome in outcomes:
                index = outcome.index
                if outcome.round != (rounds.get(index, 0) if rounds else 0):
                    continue
                old = table[index]
                if old is outcome:
                    continue
                started, ended = outcome.started, outcome.ended
                if started is not None and ended is not None:
                    # Also of an outcome that another one superseded, whichever was told first.
                    if first is None or started < first:
                        first = started
                    if last is None or ended > last:
                        last = ended
                if old is not None:
                    if not outcome.supersedes(old):
                        continue
                    kinds[old.kind] -= 1
                    seconds -= old.seconds or 0.0
                table[index] = outcome
                kinds[outcome.kind] += 1
                if started is not None and ended is not None:
                    seconds += ended - started
                fresh.append(outcome)
            totals.first_started, totals.last_ended, totals.item_seconds = first, last, seconds
            if not fresh:
                return 0
            self._order.extend([outcome.index for outcome in fresh])
            now = self.clock.now()
            self._pace.note(now, self._settled())
            done = self._finish_if_settled(now)
            self.changed.notify_all()
        self._tell(Settled(tuple(fresh)))
        if done:
            self._tell(PhaseChanged(JobPhase.DONE))
        return len(fresh)

    def reopen(self, indices: Iterable[int]) -> tuple[int, ...]:
        """Forget how items ended, since they are to run once more.

        Args:
            indices: Items to reopen; those that have not ended are left alone.

        Returns:
            The indices that were reopened.
        """
        with self.changed:
            opened: list[int] = []
            for index in indices:
                old = self._outcomes[index]
                if old is None:
                    continue
                self._outcomes[index] = None
                self._totals.kinds[old.kind] -= 1
                self._totals.item_seconds -= old.seconds or 0.0
                self.rounds[index] = old.round + 1
                opened.append(index)
            if opened:
                self._wake_up()
                self._crashed = self.dry_run = None
                self._note = ""
                self._phase = JobPhase.RUNNING
                self._pace.restart(self.clock.now(), self._settled())
                self.changed.notify_all()
        if opened:
            self._tell(Reopened(tuple(opened)))
        return tuple(opened)

    def grow(self, count: int) -> range:
        """Add items to the end, for a job whose items become known while it runs.

        Args:
            count: How many to add.

        Returns:
            Their indices.
        """
        with self.changed:
            start = len(self._outcomes)
            self._outcomes.extend([None] * count)
            if self._phase is JobPhase.DONE and count:
                self._phase = JobPhase.RUNNING
                self._wake_up()
            self.changed.notify_all()
        return range(start, start + count)

    def restart(self) -> None:
        """Begin anew, for a job that ended before it came to know its items."""
        with self.changed:
            self._wake_up()
            self._crashed = None
            self._note = ""
            self._open_ended = True
            self._phase = JobPhase.STARTING
            self.changed.notify_all()
        self._tell(Reopened(()))

    @property
    def is_open_ended(self) -> bool:
        """Whether more items may come."""
        return self._open_ended

    def set_open_ended(self, *, is_open: bool) -> None:
        """Say whether more items may come; the job is not done before this is over."""
        with self.changed:
            self._open_ended = is_open
            if is_open and self._phase is JobPhase.DONE:
                self._phase = JobPhase.STARTING
                self._wake_up()
            done = not is_open and self._finish_if_settled(self.clock.now())
            self.changed.notify_all()
        if done:
            self._tell(PhaseChanged(JobPhase.DONE))

    def set_phase(self, phase: JobPhase) -> None:
        """Move the job to another phase, unless it is done: that follows from the outcomes alone."""
        with self.changed:
            if self._phase is JobPhase.DONE or self._phase is phase or phase is JobPhase.DONE:
                return
            self._phase = phase
            if phase is JobPhase.RUNNING:
                self._pace.restart(self.clock.now(), self._settled())
            self.changed.notify_all()
        self._tell(PhaseChanged(phase))

    def set_running(self, count: int) -> None:
        """Say how many items are being worked on."""
        self._running = count

    def put_link(self, name: str, address: str, *, is_first: bool = False) -> None:
        """Lead to a page about the job, in place of the one of that name."""
        others = tuple(link for link in self.links if link[0] != name)
        self.links = ((name, address), *others) if is_first else (*others, (name, address))

    def set_note(self, note: str) -> None:
        """Say what the job waits for, in a sentence; empty for nothing."""
        if note != self._note:
            with self.changed:
                self._note = note
                self.changed.notify_all()

    def crash(self, error: BaseException, note: str = "") -> None:
        """Record that the job as a whole cannot go on; its items are to be settled by the caller.

        Args:
            error: Why.
            note: The same in words, where the error's own do not do.
        """
        with self.changed:
            self._crashed = error
            self._note = note or (str(error) if self._is_cancelled() else f"{type(error).__name__}: {error}")
            self.changed.notify_all()

    def forget_crash(self) -> None:
        """Take what the job has for all that there is to it, though something ended it early."""
        with self.changed:
            self._crashed = None
            self._note = ""
            self.changed.notify_all()
        self._tell(Reopened(()))

    def subscribe(self, listener: Callable[[JobEvent], None]) -> Callable[[], None]:
        """Have `listener` called after each change, on the thread that made it.

        Args:
            listener: Called with the event; it must be quick and must not raise.

        Returns:
            A function that ends the subscription.
        """
        self._listeners = [*self._listeners, listener]

        def unsubscribe() -> None:
            self._listeners = [known for known in self._listeners if known is not listener]

        return unsubscribe

    # --- asking ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of items known so far."""
        return len(self._outcomes)

    def outcome(self, index: int) -> Outcome | None:
        """Return how the item at `index` ended, or `None` if it has not."""
        return self._outcomes[index]

    def outcomes(self) -> Iterator[Outcome | None]:
        """Iterate over a copy of the outcomes, in the order of the items."""
        with self.changed:
            copy: Sequence[Outcome | None] = list(self._outcomes)
        return iter(copy)

    def settled_since(self, position: int, limit: int | None = None) -> tuple[list[Outcome], int]:
        """Return the outcomes told after `position` in the order of telling, and the position to ask with next.

        Args:
            position: From where on; 0 for all.
            limit: How many at most; `None` for all.
        """
        with self.changed:
            end = len(self._order) if limit is None else min(len(self._order), position + limit)
            told = [self._outcomes[index] for index in self._order[position:end]]
        return [outcome for outcome in told if outcome is not None], end

    def has_settled_since(self, position: int) -> bool:
        """Tell whether outcomes were told after `position`, as `settled_since` counts."""
        return len(self._order) > position

    def round_of(self, index: int) -> int:
        """Return how often the item was reopened."""
        return self.rounds.get(index, 0)

    @property
    def phase(self) -> JobPhase:
        """Where the job stands."""
        return self._phase

    @property
    def note(self) -> str:
        """What the job waits for or why it ended; empty if there is nothing to say."""
        return self._note

    @property
    def is_done(self) -> bool:
        """Whether every item is settled and no more can come."""
        return self._phase is JobPhase.DONE

    @property
    def crashed(self) -> BaseException | None:
        """Why the job as a whole could not go on, or `None`."""
        return self._crashed

    @property
    def counts(self) -> Counts:
        """How many items are where."""
        with self.changed:
            return self._counts()

    def snapshot(self) -> JobSnapshot:
        """Return the job as it stands now; the cost does not depend on the number of items."""
        with self.changed:
            now = self.ended if self.ended is not None else self.clock.now()
            counts = self._counts()
            totals = self._totals
            if self.is_done:
                rate = totals.rate(now, begun=self.created + self._idle)
            else:
                rate = self._pace.rate(now, counts.settled)
            unsettled = counts.total - counts.settled
            left = 0.0 if self.is_done else (unsettled / rate if rate else None)
            return JobSnapshot(
                name=self.name,
                phase=self._phase,
                counts=counts,
                workers=self.workers,
                links=self.links,
                elapsed=max(now - self.created - self._idle, 0.0),
                rate=rate,
                seconds_left=left if not self._open_ended else None,
                speed_up=totals.speed_up,
                note=self._note,
                crashed=self._crashed is not None and not self._is_cancelled(),
                is_cancelled=self._is_cancelled(),
                is_flow=self.is_flow,
                is_open_ended=self._open_ended,
                dry_run=self.dry_run if self.is_done else None,
            )

    # --- with the lock held ------------------------------------------------------------------------------------

    def _is_cancelled(self) -> bool:
        return isinstance(self._crashed, ItemCancelledError)

    def _settled(self) -> int:
        return sum(self._totals.kinds.values())

    def _counts(self) -> Counts:
        kinds = self._totals.kinds
        unsettled = len(self._outcomes) - self._settled()
        running = max(min(self._running, unsettled), 0)
        return Counts(
            completed=kinds[OutcomeKind.COMPLETED],
            failed=kinds[OutcomeKind.FAILED],
            cancelled=kinds[OutcomeKind.CANCELLED],
            skipped=kinds[OutcomeKind.SKIPPED],
            running=running,
            waiting=unsettled - running,
        )

    def _finish_if_settled(self, now: float) -> bool:
        if self._phase is JobPhase.DONE or self._open_ended or self._settled() < len(self._outcomes):
            return False
        self._phase = JobPhase.DONE
        self.ended = now
        if self._crashed is None:
            self._note = ""
        return True

    def _wake_up(self) -> None:
        """Count the time since the end as idle: the job goes on after it."""
        if self.ended is not None:
            idle = self.clock.now() - self.ended
            self.ended = None
            self._idle += idle
            if self._totals.first_started is not None:
                self._totals.idle += idle

    def _tell(self, event: JobEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                # Whoever listens must not keep the others from being told, nor the job from going on.
                _logger.exception("A listener of the job %s raised", self.name)
