"""A watched flow that fans out to workers by `.delay()`."""

from __future__ import annotations

import asyncio

from prefect import flow

import nbfutures as nbf


def test_what_a_flow_delays_is_an_item_of_the_job(notebook, served):
    # Prefect sends the flow along: the fixture's class is in a module that a worker need not find.
    double = notebook.double

    @flow
    async def parent(items):
        futures = [double.with_options(name=f"double-{x}").delay(x) for x in items]
        return await asyncio.gather(*(future.result_async() for future in futures))

    job = nbf.run(parent, [1, 2, 3])
    assert job.result(240) == [2, 4, 6]
    assert [one.kind.value for one in job.outcomes()] == ["completed"] * 3
    assert job.values() == [2, 4, 6]
    assert [job._run.item(index).arguments["task"] for index in range(3)] == ["double-1", "double-2", "double-3"]
