"""What a job that is done keeps in memory."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

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
    assert nbf.map(abs, range(2000)).wait(60)
    before = held()
    job = nbf.options(workers=2).map(abs, range(total))
    assert job.wait(120)
    grown = held() - before
    assert job.counts.completed == total
    assert grown / total < 1000
    # The measure can fail: the outcomes alone are more than this.
    assert grown / total > 50
