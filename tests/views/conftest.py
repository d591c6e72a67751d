"""Jobs in any state, made by hand: no Prefect and no waiting."""

from __future__ import annotations

import pytest
from hypothesis import settings

from nbfutures.model.events import JobPhase
from nbfutures.model.item import Item
from nbfutures.model.job_state import JobState
from nbfutures.model.outcome import Outcome, OutcomeKind

# How long an example takes says more about the machine than about the code.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

NOW = 1_700_000_000.0


class HandClock:
    def __init__(self):
        self.time = NOW

    def now(self):
        return self.time


class Source:
    """Items whose arguments a function makes; how often it was asked can be read."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.asked = 0

    def __len__(self):
        return 10**9

    def item(self, index):
        self.asked += 1
        return Item(index, self.arguments(index))


class Jobs:
    """Makes jobs and outcomes."""

    def __init__(self):
        self.clock = HandClock()

    def state(self, total=3, name="parse", workers=4, phase=JobPhase.RUNNING):
        state = JobState(name, total, workers=workers, clock=self.clock)
        for step in (JobPhase.RUNNING, phase) if phase is not JobPhase.STARTING else ():
            state.set_phase(step)
        return state

    def source(self, arguments=lambda index: {"x": index}):
        return Source(arguments)

    def completed(self, index, value=None, **more):
        return self._ran(index, OutcomeKind.COMPLETED, value=value, **more)

    def failed(self, index, error=None, **more):
        return self._ran(index, OutcomeKind.FAILED, error=raised(error or ValueError("bad")), **more)

    def cancelled(self, index, **more):
        return Outcome(index, OutcomeKind.CANCELLED, **more)

    def skipped(self, index, **more):
        return Outcome(index, OutcomeKind.SKIPPED, **more)

    def ended(self, completed=0, failed=0, cancelled=0, skipped=0, seconds=2.0, **more):
        """Return a job that is done, with so many items of each kind, in that order."""
        state = self.state(completed + failed + cancelled + skipped, **more)
        self.clock.time += seconds
        makers = [
            *[self.completed] * completed,
            *[self.failed] * failed,
            *[self.cancelled] * cancelled,
            *[self.skipped] * skipped,
        ]
        state.settle([make(index) for index, make in enumerate(makers)])
        return state

    def _ran(self, index, kind, **more):
        now = self.clock.time
        times = {"queued": now - 2, "started": now - 1, "ended": now, "attempts": 1}
        return Outcome(index, kind, **{**times, **more})


def raised(error):
    """Return the error with a traceback, unless it has one."""
    if error.__traceback__ is None:
        try:
            raise error
        except BaseException as caught:
            return caught
    return error


@pytest.fixture
def jobs():
    return Jobs()


class Nasty:
    """Values and errors that come from elsewhere, at their worst."""

    IMG = "<img src=x onerror=alert(1)>"
    SCRIPT = "</script><script>alert(1)</script>"
    OVERRIDE = "evil\u202etxt.exe\u2066"
    NUL = "a\x00b\x1b[31mred\x1b[0m\x07\x9b"
    HALF = "half \ud800 a character"
    HUGE = "<&'\"" * 2_500_000
    ATTRIBUTE = "\" onmouseover='alert(1)' x=\""
    ALL = (IMG, SCRIPT, OVERRIDE, NUL, HALF, HUGE, ATTRIBUTE)

    class Repr:
        def __repr__(self):
            raise RuntimeError("no repr")

    class Error(Exception):
        def __str__(self):
            raise RuntimeError("no text")

        __repr__ = __str__


@pytest.fixture
def nasty():
    return Nasty


def pytest_generate_tests(metafunc):
    # A parameter of this name runs the test with each of the texts.
    if "nasty_text" in metafunc.fixturenames:
        names = [name for name in vars(Nasty) if name.isupper() and name != "ALL"]
        metafunc.parametrize("nasty_text", list(Nasty.ALL), ids=names)
