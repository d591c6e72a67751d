"""A job as pictures. What is here imports matplotlib on first use only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nbfutures.model.job_state import JobState
    from nbfutures.views.plots.overview import JobAxes
    from nbfutures.views.plots.records import JobRecords

__all__ = ["JobPlots"]


class JobPlots:
    """A job's plots, of the items that have ended by now; each call draws anew, and returns what it drew on.

    Each takes the `Axes` to draw on. Without one, it makes a figure as pandas does: with pyplot, so that the notebook
    shows it below the cell, and `plt.show()` and `plt.close()` know it. Neither the backend nor `rcParams` are changed;
    colours of text and background are those of the `Axes`. Time is in seconds since the job was submitted, also where
    the ticks are labelled in minutes or hours.

    Args:
        state: The job's state.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state

    def __call__(self, figure: Figure | SubFigure | None = None) -> JobAxes:
        """Draw all plots on one figure.

        Args:
            figure: Drawn on, with what it holds already; a new one if not given.

        Returns:
            The four `Axes` as a named tuple: `timeline`, `durations`, `concurrency`, `throughput`.
        """
        from nbfutures.views.plots import overview
        from nbfutures.views.plots.records import JobRecords

        return overview.draw(JobRecords.of(self._state), figure)

    def timeline(self, ax: Axes | None = None) -> Axes:
        """Draw a lane for each worker with a bar for each item, or for several where there are too many to be seen.

        A thin line before a bar is the time in which its item waited although the worker was free. Failures are
        hatched, with a cross above. An item that was tried several times is one bar, that of the last attempt, with the
        number below or a dot inside; the time of the attempts before is not known, and counts as waiting.

        Args:
            ax: Drawn on; a new one if not given.
        """
        from nbfutures.views.plots import timeline
        from nbfutures.views.plots.records import JobRecords

        job = JobRecords.of(self._state)
        return timeline.draw(job, ax, job.name)

    def durations(self, ax: Axes | None = None) -> Axes:
        """Draw how many items took how long, failures apart, with median and p95 of those that completed.

        Args:
            ax: Drawn on; a new one if not given.
        """
        from nbfutures.views.plots import durations

        return self._draw(durations.draw, ax)

    def concurrency(self, ax: Axes | None = None) -> Axes:
        """Draw how many items ran at once over time, against the number of workers.

        Args:
            ax: Drawn on; a new one if not given.
        """
        from nbfutures.views.plots import concurrency

        return self._draw(concurrency.draw, ax)

    def throughput(self, ax: Axes | None = None) -> Axes:
        """Draw how many items completed and failed per second over time, and the mean.

        Args:
            ax: Drawn on; a new one if not given.
        """
        from nbfutures.views.plots import throughput

        return self._draw(throughput.draw, ax)

    def _draw(self, draw: Callable[[JobRecords, Axes, str], Axes], ax: Axes | None) -> Axes:
        from nbfutures.views.plots.canvas import new_axes
        from nbfutures.views.plots.records import JobRecords

        job = JobRecords.of(self._state)
        return draw(job, ax or new_axes(), job.name)
