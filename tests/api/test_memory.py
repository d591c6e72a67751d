"""What a job that is done keeps in memory."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest
from tests.support import eventually

import nbfutures as nbf


@pytest.fixture
def held():
    """Tell how many bytes Python's objects hold. What the process holds says little: it may have had them to spare."""
    tracemalloc.start()

    def bytes_held():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    yield bytes_held
    tracemalloc.stop()


def test_an_item_that_has_ended_costs_less_than_a_kilobyte(held):
    total = 50_000
    assert nbf.map(abs, range(2000)).wait(120)
    before = held()
    job = nbf.options(workers=2).map(abs, range(total))
    assert job.wait(240)
    grown = held() - before
    assert job.counts.completed == total
    assert grown / total < 1000
    # The measure can fail: the outcomes alone are more than this.
    assert grown / total > 50


def raises(x):
    raise ValueError(x)


def returns_what_it_caught(x):
    try:
        raise ValueError(x)
    except ValueError as error:
        return error


@pytest.mark.parametrize("runner", ["threads", "processes"])
@pytest.mark.parametrize("fn", [raises, returns_what_it_caught])
def test_a_job_that_nobody_holds_is_let_go_with_its_errors(runner, fn):
    job = nbf.options(runner=runner, workers=1).map(fn, range(3))
    assert job.wait(120)
    if fn is raises:
        with pytest.raises(ValueError, match="0"):
            job.result()
    job._run.thread.join(120)
    job._run.session.jobs.remove(job._run)
    state = weakref.ref(job._run.state)
    del job

    def is_gone():
        gc.collect()
        return state() is None

    eventually(is_gone)
