"""What a plain cell is told that uses Prefect or asyncio as a script would."""

from __future__ import annotations

import pytest

FLOW = """
from prefect import flow

@flow
def report(day):
    return day

report.{method}("monday")
"""
ASYNC = """
import asyncio

async def main(): ...

made = main()
asyncio.run(made)
"""


@pytest.mark.parametrize("method", ["delay", "submit", "map"])
def test_what_flows_do_not_have_is_told_with_what_to_write_instead(notebook, method):
    ran = notebook.run(FLOW.format(method=method))
    assert type(ran.error).__name__ == "AttributeError"
    assert ran.err.strip().startswith("nbfutures: Prefect's flows have no such method: call the flow, or run it")


def test_a_cell_that_runs_an_event_loop_of_its_own_is_told_of_await(notebook, monkeypatch):
    monkeypatch.setattr("asyncio.events._get_running_loop", object)
    ran = notebook.run(ASYNC)
    assert "asyncio.run() cannot be called from a running event loop" in str(ran.error)
    assert "write `await main()` in place of asyncio.run(main())" in ran.err
    notebook.ns["made"].close()


@pytest.mark.parametrize("cell", ["1", "1 / 0", "object().delay()", "nbf.map(abs, 3)", "%nothing"])
def test_of_other_cells_nothing_is_said(notebook, cell):
    notebook.run("import nbfutures as nbf")
    assert "nbfutures:" not in notebook.run(cell).err
