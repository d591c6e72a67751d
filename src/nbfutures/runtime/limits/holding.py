"""The slots that a job holds and uses, and what is to be done about them next: no thread, no request, no clock."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

__all__ = ["Acquire", "End", "Holding", "Lease", "Lose", "Release", "Renew", "Step", "Turn", "Wait"]

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
