"""The list of jobs follows each of them, also one that runs again."""

from __future__ import annotations

import types

import pytest
from tests.support import eventually

import nbfutures as nbf
from nbfutures.api.jobs import JobsView
from nbfutures.views import display


@pytest.fixture
def sent(monkeypatch):
    """The texts that were sent to the notebook."""
    texts = []
    monkeypatch.setattr(display, "_shell", lambda: types.SimpleNamespace(kernel=object()))
    # The output that holds the widget has no text.
    monkeypatch.setattr(display, "_send", lambda data, *_, **__: texts.extend(filter(None, [data["text/plain"]])))
    return texts


def test_a_list_of_jobs_that_are_done_follows_one_that_runs_again(sent):
    bad = {1}

    def work(x):
        if x in bad:
            raise ValueError(x)
        return x

    job = nbf.options(name="mended").map(work, range(2))
    assert job.wait(120)
    view = JobsView([job])
    view._ipython_display_()
    assert "1 of 2 failed" in sent[-1]
    bad.clear()
    job.retry()
    eventually(lambda: sent[-1].startswith("mended: completed, 2 items"))


def test_a_list_says_how_many_older_jobs_there_are():
    jobs = [nbf.submit(abs, -1) for _ in range(2)]
    for job in jobs:
        job.wait(120)
    assert len(JobsView(jobs * 20)) == 40
    assert repr(JobsView(jobs * 20)).splitlines()[-1] == "and 10 older"
