"""How fast a job is: sums over its outcomes, and samples of the last seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from nbfutures.model.outcome import OutcomeKind

__all__ = ["Pace", "Totals"]

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
