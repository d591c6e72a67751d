"""The thread that takes, renews and gives back the slots of a job's limits."""

from __future__ import annotations

import logging
import sys
import threading
import time
import weakref
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from nbfutures.errors import LimitError
from nbfutures.model.limits import Holder
from nbfutures.runtime.jobs.job_note import JobNote
from nbfutures.runtime.limits.holding import LEASE_SECONDS, RENEW_SECONDS, Holding
from nbfutures.runtime.limits.no_limit import NoLimit
from nbfutures.runtime.limits.note import waiting_for
from nbfutures.runtime.limits.steps import Acquire, End, Lease, Release, Renew, Turn, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.model.limits import LimitRecord
    from nbfutures.runtime.contracts import Run
    from nbfutures.runtime.limits.steps import Step

__all__ = ["Keeper", "holders"]

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
            from nbfutures.runtime.limits import prefect_limits

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
        from nbfutures.runtime.flow_runs.flow_start import client_within

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
