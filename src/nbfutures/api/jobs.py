"""The list of a kernel's jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        self._jobs = list(reversed(jobs))
        self._display = LiveDisplay(
            self._bundle,
            lambda: all(job.is_done for job in self._jobs),
            LiveCard([job._subject for job in self._jobs[:SHOWN]]),
        )

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self._jobs)

    def _ipython_display_(self) -> None:
        self._display.show()

    def __repr__(self) -> str:
        return jobs_text([job.snapshot for job in self._jobs])

    def _bundle(self) -> dict[str, str]:
        snapshots = [job.snapshot for job in self._jobs]
        return {"text/plain": jobs_text(snapshots), "text/html": jobs_html(snapshots)}
