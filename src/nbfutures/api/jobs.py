"""The list of a kernel's jobs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from nbfutures.model.events import JobEvent, is_turn
from nbfutures.views.card.live_card import LiveCard
from nbfutures.views.display import LiveDisplay
from nbfutures.views.jobs import SHOWN, jobs_html, jobs_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.api.job import Job

__all__ = ["JobsView"]


class JobsView:
    """The jobs of a kernel, one line for each, the newest first; follows them while they run.

    Args:
        jobs: The jobs, the newest last.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        # Only those that are shown: a list that stays in the notebook must not keep all values alive.
        self._jobs = list(reversed(jobs))[:SHOWN]
        self._older = len(jobs) - len(self._jobs)
        self._display = LiveDisplay(
            self._bundle,
            lambda: all(job.is_done for job in self._jobs),
            LiveCard([job.card_subject for job in self._jobs]),
        )
        for job in self._jobs:
            _follow(job, weakref.ref(self._display))

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self._jobs) + self._older

    def _ipython_display_(self) -> None:
        self._display.show()

    def __repr__(self) -> str:
        return jobs_text([job.snapshot for job in self._jobs], self._older)

    def _bundle(self) -> dict[str, str]:
        snapshots = [job.snapshot for job in self._jobs]
        return {"text/plain": jobs_text(snapshots, self._older), "text/html": jobs_html(snapshots, self._older)}


def _follow(job: Job, display: weakref.ref[LiveDisplay]) -> None:
    """Have the display look again when the job ends or runs once more, as long as there is a display."""

    def on_event(event: JobEvent) -> None:
        shown = display()
        if shown is None:
            unsubscribe()
        elif is_turn(event):
            shown.poke()

    unsubscribe = job.card_subject.state.subscribe(on_event)
