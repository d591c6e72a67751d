"""The list of a kernel's jobs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from nbfutures.model.events import JobEvent, is_turn
from nbfutures.model.job_snapshot import JobSnapshot
from nbfutures.views.card.live_card import CardSubject, LiveCard
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

    def __init__(self, jobs: Sequence[Job | JobSnapshot]) -> None:
        # Only those that are shown, and of those that are over no more than is shown: a list that stays in the notebook
        # must not keep values alive.
        shown = list(reversed(jobs))[:SHOWN]
        self._older = len(jobs) - len(shown)
        self._shown = [_subject(one, number) for number, one in enumerate(shown)]
        self._display = LiveDisplay(
            self._bundle,
            lambda: all(line.state.is_done for line in self._shown),
            LiveCard(self._shown),
        )
        for one in shown:
            if not isinstance(one, JobSnapshot):
                _follow(one, weakref.ref(self._display))

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self._shown) + self._older

    def __repr__(self) -> str:
        return jobs_text([line.state.snapshot() for line in self._shown], self._older)

    def _ipython_display_(self) -> None:
        self._display.show()

    def _bundle(self) -> dict[str, str]:
        snapshots = [line.state.snapshot() for line in self._shown]
        return {"text/plain": jobs_text(snapshots, self._older), "text/html": jobs_html(snapshots, self._older)}


class _Ended:
    """A job that has ended and that nobody holds: how it ended is all that is known of it."""

    is_done = True

    def __init__(self, snapshot: JobSnapshot) -> None:
        self._snapshot = snapshot

    def snapshot(self) -> JobSnapshot:
        """Return how it ended."""
        return self._snapshot

    def available(self) -> list[str]:
        """Return what can be done with it: nothing."""
        return []

    def do(self, what: str) -> None:
        """Do nothing."""


def _subject(one: Job | JobSnapshot, number: int) -> CardSubject:
    if not isinstance(one, JobSnapshot):
        return one.card_subject
    # In a list, nothing else is asked of a job.
    ended: Any = _Ended(one)
    return CardSubject(f"ended {number}", ended, ended)


def _follow(job: Job, display: weakref.ref[LiveDisplay]) -> None:
    """Have the display look again when the job ends or runs once more, as long as there is a display."""

    def on_event(event: JobEvent) -> None:
        shown = display()
        if shown is None:
            unsubscribe()
        elif is_turn(event):
            shown.poke()

    unsubscribe = job.card_subject.state.subscribe(on_event)
