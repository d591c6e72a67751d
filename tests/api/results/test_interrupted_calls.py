"""Interrupts that meet a call of nbfutures, and not the work of a job."""

from __future__ import annotations

import sys
import threading

import pytest
from tests.support import eventually

import nbfutures as nbf


class InterruptAt:
    """Raises KeyboardInterrupt in this thread at one of the places where Python looks for an interrupt."""

    def __init__(self, position):
        self._left = position
        self.is_over = False

    def __enter__(self):
        sys.setprofile(self._look)

    def __exit__(self, *_):
        sys.setprofile(None)

    def _look(self, frame, event, _argument):
        # In their midst, Python's own locks do not stand it: they stay locked.
        if event not in {"call", "c_return"} or frame.f_globals.get("__name__") == "threading":
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            self.is_over = True
            raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["list", "generator"])
def test_a_call_that_is_interrupted_leaves_no_job_that_runs(jobs, how):
    """Wherever the interrupt meets it, the call returns its job, or the job is cancelled."""
    gate = threading.Event()

    def wait(x):
        gate.wait(120)
        return x

    position, returned, raised = 1, 0, 0
    try:
        while True:
            before = len(jobs)
            job = None
            meet = InterruptAt(position)
            try:
                with meet:
                    job = nbf.options(workers=1).map(wait, [1, 2, 3] if how == "list" else iter([1, 2, 3]))
            except (KeyboardInterrupt, RuntimeError):
                # In the midst of a thread's start Python makes an error of its lock of it.
                raised += 1
            if job is not None:
                returned += 1
                job.cancel()
                assert job.wait(60)
                jobs.clear()
            elif len(jobs) > before:
                made = nbf.api.session_jobs()[-1]
                assert made.is_done or made.phase == "cancelling", f"goes on after an interrupt at {position}"
            if not meet.is_over:
                break
            position += 41
    finally:
        gate.set()
    assert returned
    assert raised > 10
    for job in nbf.api.session_jobs():
        assert job.wait(120)
    eventually(lambda: all(job.is_done for job in nbf.api.session_jobs()))
