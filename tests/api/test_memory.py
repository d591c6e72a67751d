"""What a job that is done keeps in memory."""

from __future__ import annotations

import gc

import psutil

import nbfutures as nbf


def test_an_item_that_has_ended_costs_less_than_a_kilobyte():
    total = 100_000
    assert nbf.map(abs, range(2000)).wait(60)
    gc.collect()
    before = psutil.Process().memory_info().rss
    job = nbf.options(workers=2).map(abs, range(total))
    assert job.wait(120)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    assert job.counts.completed == total
    assert grown / total < 1000
    # The measure can fail: the outcomes alone are more than this.
    assert grown / total > 50
