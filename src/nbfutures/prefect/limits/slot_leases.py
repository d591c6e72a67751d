"""The thread that takes, renews and gives back the slots of a job's limits."""

from __future__ import annotations

import logging
import sys
import threading
import time
import weakref
from contextvars import Context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from nbfutures.engine.job_note import JobNote
from nbfutures.engine.no_limit import NoLimit
from nbfutures.errors import LimitError
from nbfutures.model.limits import Holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from nbfutures.engine.contracts import Run
    from nbfutures.model.limits import LimitRecord

__all__ = ["Keeper", "holders"]


def waiting_for(limits: Iterable[LimitRecord]) -> str:
    """Return what to say where a job waits for a slot: which limit is full; nothing if none is."""
    full = next((one for one in limits if one.is_full), None)
    return "" if full is None else f"waiting for a slot of {full.name!r} ({full.in_use:,} of {full.slots:,} in use)"


@dataclass(slots=True, eq=False)
class Lease:
    """Slots that Prefect has given, until it is not renewed. Times are those of a clock that only goes forward."""

    id: UUID
    slots: int
    since: float
    """When it was given, or its last turn began."""
    renewed: float
    """When it was renewed last."""
    next_renewal: float
    """When that is to be done again."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask for up to so many slots more."""

    slots: int


@dataclass(frozen=True, slots=True)
class Release:
    """Give back a lease, which has been taken out."""

    lease: Lease
    is_turn: bool = False
    """Whether that is to let others go first."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew a lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Turn:
    """See whether others may wait for a lease that has been held for long."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Lose:
    """Forget a lease, which has been taken out: it could not be renewed in time."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, or until something changes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to be done."""


Step = Acquire | Release | Renew | Turn | Lose | Wait | End


LEASE_SECONDS = 60.0
"""Prefect takes slots back from who has not renewed them for so long: a kernel that died. Prefect takes no less."""
RENEW_SECONDS = 15.0
LINGER_SECONDS = 0.3
"""A slot that no item uses is kept for so long, for the next one."""
TURN_SECONDS = 10.0
"""A slot that was held for so long is given back when its item ends, so that others who wait have a turn."""
SHORT_TURN_SECONDS = 1.0
"""The same where another job of this kernel has none at all."""
GAP_SECONDS = 0.5
"""How long others are let go first then."""
_MARGIN = 5.0
"""Nothing starts on a lease that ends so soon."""
_FAR = 3600.0


class Holding:
    """Counts a job's slots: never are more used than held. Safe to use from any thread.

    Args:
        clock: Tells the time in seconds; it only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._is_stirred = False
        """Whether there may be something else to do than was said last."""
        self._leases: list[Lease] = []
        self._leaving: Lease | None = None
        """Given back as soon as items leave its slots free."""
        self._used = 0
        self._wanted = 0
        self._is_closed = False
        self._idle_since: float | None = None
        self._next_try = 0.0
        self._next_turn = 0.0

    # --- by who starts items ---------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """How many slots there are, used or not."""
        return sum(lease.slots for lease in list(self._leases))

    @property
    def used(self) -> int:
        """How many of them items use."""
        return self._used

    @property
    def free(self) -> int:
        """How many more items may start now."""
        with self._changed:
            return max(self._spare(self._clock()) - self._leaving_slots(), 0)

    @property
    def is_starving(self) -> bool:
        """Whether items wait and none has a slot."""
        return bool(self._wanted and not self._used and not self._leases)

    def take(self, most: int) -> int:
        """Use free slots, up to so many; return how many."""
        with self._changed:
            taken = max(min(most, self._spare(self._clock()) - self._leaving_slots()), 0)
            self._used += taken
            return taken

    def give(self, count: int = 1) -> None:
        """Use so many fewer."""
        if count:
            with self._changed:
                self._used -= count
                if self._leaving is not None or not self._wanted or self._is_closed:
                    self._stir()

    def want(self, count: int) -> None:
        """Say how many more items could start now."""
        with self._changed:
            if self._wanted != count:
                self._wanted = count
                self._stir()

    # --- by who asks Prefect ---------------------------------------------------------------------------------------

    def add(self, lease: Lease) -> None:
        """Take in new slots."""
        with self._changed:
            self._leases.append(lease)

    def remove(self, lease: Lease) -> None:
        """Forget slots that are lost; items that use them go on, and no other starts before there are slots for all."""
        with self._changed:
            self._take_out(lease)

    def renewed(self, lease: Lease, now: float) -> None:
        """Note that a lease was renewed."""
        lease.renewed, lease.next_renewal = now, now + RENEW_SECONDS

    def defer(self, until: float) -> None:
        """Ask for no slots before then."""
        self._next_try = until

    def leave(self, lease: Lease) -> None:
        """Give this lease back as soon as items leave its slots free."""
        with self._changed:
            if lease in self._leases:
                self._leaving = lease

    def stay(self, lease: Lease, now: float) -> None:
        """Keep a lease for another turn."""
        lease.since = now

    def nudge(self) -> None:
        """Have slots asked for at once, if any are wanted: others have given some back."""
        with self._changed:
            if self._wanted:
                self._next_try = 0.0
                self._stir()

    def stir(self) -> None:
        """Have `wait` end, so that `step` is asked again."""
        with self._changed:
            self._stir()

    def wait(self, seconds: float) -> None:
        """Block until something has changed since `step` was asked, or for so many seconds."""
        with self._changed:
            if not self._is_stirred:
                self._changed.wait(seconds)

    def close(self) -> None:
        """Have everything given back, what items use when they end."""
        with self._changed:
            self._is_closed, self._wanted = True, 0
            self._stir()

    def step(self, now: float, *, others_starve: bool = False) -> Step:
        """Say what is to be done next.

        Args:
            now: Seconds, of a clock that only goes forward.
            others_starve: Whether another job of this kernel waits for the same limit and has no slot.
        """
        with self._changed:
            self._is_stirred = False
            step = self._lost(now) or self._given_back(now) or self._to_renew(now)
            if step is not None:
                return step
            if self._is_closed and not self._leases:
                return End()
            need = self._needed(now)
            if need > 0 and now >= self._next_try:
                return Acquire(need)
            times = [now + _FAR, *(min(one.next_renewal, one.renewed + LEASE_SECONDS) for one in self._leases)]
            if need > 0:
                times.append(self._next_try)
            if self._idle_since is not None:
                times.append(self._idle_since + LINGER_SECONDS)
            oldest = min(self._leases, key=lambda one: one.since, default=None)
            if oldest is not None and self._leaving is None and not self._is_closed:
                turn = SHORT_TURN_SECONDS if others_starve else TURN_SECONDS
                at = max(oldest.since + turn, self._next_turn)
                if at <= now:
                    # One after the other, not all at once.
                    self._next_turn = now + turn / len(self._leases)
                    return Turn(oldest)
                times.append(at)
            return Wait(max(min(times) - now, 0.0))

    # --- with the lock held ----------------------------------------------------------------------------------------

    def _stir(self) -> None:
        self._is_stirred = True
        self._changed.notify()

    def _spare(self, now: float) -> int:
        # A request that hangs may keep a lease from being renewed, and from being noticed as lost.
        return sum([one.slots for one in self._leases if now - one.renewed < LEASE_SECONDS - _MARGIN]) - self._used

    def _leaving_slots(self) -> int:
        return self._leaving.slots if self._leaving is not None else 0

    def _needed(self, now: float) -> int:
        """Return how many slots more it takes for what runs, if some were lost, and for what waits."""
        return 0 if self._is_closed else max(self._wanted - self._spare(now), 0)

    def _take_out(self, lease: Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)
        if self._leaving is lease:
            self._leaving = None

    def _lost(self, now: float) -> Lose | None:
        """Take out a lease that could not be renewed in time."""
        lost = next((one for one in self._leases if now - one.renewed >= LEASE_SECONDS), None)
        if lost is None:
            return None
        self._take_out(lost)
        return Lose(lost)

    def _to_renew(self, now: float) -> Renew | None:
        due = min(self._leases, key=lambda one: one.next_renewal, default=None)
        if due is None or due.next_renewal > now:
            return None
        # Tried again soon, should it fail.
        due.next_renewal = now + 1.0
        return Renew(due)

    def _given_back(self, now: float) -> Release | None:
        """Take out a lease that is to be given back now."""
        spare = self._spare(now)
        if self._leaving is not None and self._leaving.slots <= spare:
            lease = self._leaving
            self._take_out(lease)
            self._next_try = now + GAP_SECONDS
            return Release(lease, is_turn=True)
        fitting = max((one for one in self._leases if one.slots <= spare), key=lambda one: one.slots, default=None)
        if self._wanted or fitting is None:
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = now
        if not self._is_closed and now - self._idle_since < LINGER_SECONDS:
            return None
        self._take_out(fitting)
        return Release(fitting)


_POLLS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
"""Seconds between two looks at a limit that is full."""
_FRESH_SECONDS = 0.5
"""How long what Prefect said of a limit is believed, while this job takes the slots that were free."""
_FEW = 12
"""Up to so many slots are taken one by one, since each can then be given back alone; more at a third at a time."""
_AGAIN_SECONDS = 0.2
"""Between two requests, where Prefect could not answer."""
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between two attempts to give slots back."""
_RETRIES = 2
_CLOSE_SECONDS = 10.0
_logger = logging.getLogger(__name__)
_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
_keepers_lock = threading.Lock()


class Keeper(NoLimit):
    """Holds slots for a job's items, as many as run at once, and never lets more start than it has slots.

    A slot is kept from item to item while there is work, and 0.3 s longer. Where the limit is full, it is given back
    after ten seconds, at the end of its item, so that others have their turn. What is not renewed for a minute, since
    the kernel died, Prefect takes back by itself.

    Args:
        run: The job.
        wake: Called when more items may start.
    """

    is_limited = True

    def __init__(self, run: Run, wake: Callable[[], None]) -> None:
        self.names = run.options.limit
        self.holding = Holding()
        self._run = run
        self._wake = wake
        self._known = threading.Event()
        self._problem: BaseException | None = None
        self._seen: tuple[float, list[LimitRecord]] | None = None
        """What Prefect said of the limits, and when."""
        self._polls = 0
        self._note = JobNote(run.state)
        self._api: Any = None
        self._client: Any = None
        # Not in the context of the flow run, whose client may be closed before the last slot is given back.
        self._thread = threading.Thread(
            target=Context().run, args=(self._main,), name=f"nbfutures limit {run.name}", daemon=True
        )

    @property
    def job_name(self) -> str:
        """Name of the job."""
        return self._run.name

    # --- for who starts items --------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """How many more items may start now."""
        return self.holding.free

    def take(self, most: int) -> int:
        """Take slots for up to so many items that are about to start; return for how many. Never blocks."""
        return self.holding.take(most)

    def give(self, count: int = 1) -> None:
        """Give back the slots of items that have ended, or did not start. Never blocks."""
        self.holding.give(count)

    def want(self, count: int) -> None:
        """Say how many more items could start now if there were slots for them. Never blocks."""
        self.holding.want(count)
        if not count:
            self._note.tell("")

    def wait_until_known(self, stop: threading.Event) -> BaseException | None:
        """Block until Prefect has said whether the limits exist, or until `stop` is set."""
        while not self._known.wait(0.05) and not stop.is_set():
            pass
        return self._problem

    def __enter__(self) -> Self:
        """Start the thread."""
        with _keepers_lock:
            _keepers.add(self)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Give everything back; wait for that, but not for long: what is left is taken back by Prefect."""
        self.holding.close()
        self._thread.join(_CLOSE_SECONDS)

    # --- in its thread ---------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            from nbfutures.prefect.limits import prefect_limits

            self._api = prefect_limits
            while not isinstance(step := self._next_step(), End):
                if isinstance(step, Wait):
                    self.holding.wait(step.seconds)
                else:
                    self._try(step)
        except BaseException as error:
            self._end_job(error)
        finally:
            self._known.set()
            with _keepers_lock:
                _keepers.discard(self)

    def _next_step(self) -> Step:
        starved = any(one.holding.is_starving for one in self._neighbours())
        step = self.holding.step(time.monotonic(), others_starve=starved)
        if isinstance(step, Wait) and not self._known.is_set():
            # Asked before any item starts.
            return Acquire(0)
        return step

    def _try(self, step: Step) -> None:
        from nbfutures.prefect.flow_runs.flow_start import client_within

        try:
            # A client for each step: Prefect may have started again elsewhere.
            with client_within(_RETRIES) as self._client:
                self._do(step)
        except LimitError as error:
            self._end_job(error)
        except Exception as error:
            if not self._api.is_passing(error):
                self._end_job(LimitError(f"Prefect gives no slot of {self._names_told()}: {error}."))
                return
            _logger.debug("Prefect did not answer about %s", self._names_told(), exc_info=True)
            self.holding.defer(time.monotonic() + _AGAIN_SECONDS)
            time.sleep(_AGAIN_SECONDS)

    def _do(self, step: Step) -> None:
        if isinstance(step, Acquire):
            self._acquire(step.slots)
        elif isinstance(step, Release):
            self._seen = None
            self._release(step.lease)
            for one in self._neighbours():
                one.holding.nudge()
        elif isinstance(step, Renew):
            self._renew(step.lease)
        elif isinstance(step, Turn):
            if self._free_slots(self._look()) < 1:
                self.holding.leave(step.lease)
            else:
                self.holding.stay(step.lease, time.monotonic())

    def _release(self, lease: Lease) -> None:
        # Its slots would be taken for another minute.
        for pause in _PAUSES:
            try:
                self._api.release(self._client, lease.id)
            except Exception as error:
                if not self._api.is_passing(error):
                    raise
                time.sleep(pause)
            else:
                return
        _logger.debug("A lease of %s is left to its end", self._names_told())

    def _acquire(self, need: int) -> None:
        limits = self._look()
        self._known.set()
        if need < 1:
            return
        free = self._free_slots(limits)
        lease_id = None
        now = time.monotonic()
        if free > 0:
            slots = min(free, need // 3 if need > _FEW else 1)
            lease_id = self._api.acquire(
                self._client, self.names, slots, seconds=LEASE_SECONDS, flow_run_id=self._run.flow_run_id
            )
        if lease_id is None:
            self._be_held_back(limits)
            return
        self.holding.add(Lease(lease_id, slots, since=now, renewed=now, next_renewal=now + RENEW_SECONDS))
        self._seen = (now, [replace(one, in_use=one.in_use + slots) for one in limits])
        self._polls = 0
        self._note.tell("")
        self._wake()

    def _be_held_back(self, limits: Sequence[LimitRecord]) -> None:
        """Say so, and look again in a moment."""
        self._seen = None
        self.holding.defer(time.monotonic() + _POLLS[min(self._polls, len(_POLLS) - 1)])
        self._polls += 1
        if self.holding.is_starving and (told := waiting_for(limits)):
            self._note.tell(told)
            for one in self._neighbours():
                one.holding.stir()

    def _renew(self, lease: Lease) -> None:
        now = time.monotonic()
        if self._api.renew(self._client, lease.id, LEASE_SECONDS):
            self.holding.renewed(lease, now)
        else:
            # Somebody has reset or deleted the limit.
            self._seen = None
            self.holding.remove(lease)

    def _look(self) -> list[LimitRecord]:
        """Return the limits as they stand, or stood a moment ago."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] > _FRESH_SECONDS:
            self._seen = (now, self._api.read_named(self._client, self.names))
        return self._seen[1]

    def _free_slots(self, limits: Sequence[LimitRecord]) -> int:
        return min((one.slots - one.in_use for one in self._api.usable(limits)), default=sys.maxsize)

    def _neighbours(self) -> list[Keeper]:
        """Return the keepers of this kernel's other jobs that share a limit with this one."""
        with _keepers_lock:
            return [one for one in _keepers if one is not self and set(one.names) & set(self.names)]

    # --- what is told ----------------------------------------------------------------------------------------------

    def _end_job(self, error: BaseException) -> None:
        was_known = self._known.is_set()
        self._problem = error
        self._known.set()
        self.holding.close()
        if was_known and not self._run.stopped.is_set() and not self._run.state.is_done:
            self._run.crash(error)
        self._wake()

    def _names_told(self) -> str:
        return " and ".join(map(repr, self.names))


def holders() -> dict[str, list[Holder]]:
    """Return the jobs of this kernel that hold slots now, by the names of the limits."""
    with _keepers_lock:
        known = list(_keepers)
    found: dict[str, list[Holder]] = {}
    for one in known:
        if held := one.holding.held:
            for name in one.names:
                found.setdefault(name, []).append(Holder(one.job_name, held))
    return found
