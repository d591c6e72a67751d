"""A notebook that is executed in a real kernel without a browser, saved, and exported."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from nbfutures.prefect.server.lease import lease_server

CELLS = {
    "load": "%load_ext nbfutures\nimport nbfutures as nbf",
    "define": (
        "import threading\n"
        "gate = threading.Event()\n"
        "def check(x):\n"
        "    gate.wait(120)\n"
        "    print('printed by item', x)\n"
        "    if x == 5:\n"
        "        raise ValueError('item five is bad')\n"
        "    return x * 2"
    ),
    "map": "job = nbf.map(check, range(60))\njob",
    "other": "gate.set()\njob.wait()\nprint('only this')",
    "facts": "print(job.counts.completed, job.counts.failed, len(job))",
    "quick": "quick = nbf.map(str, range(10))\nquick.wait()\nquick",
    "hidden": "nbf.map(str, range(3));",
    "magic": "%%map x in range(4) --name doubled --out doubled\ny = x * 2\ny",
    "magic_facts": "print(doubled.result(), 'y' in globals())",
    "flow": (
        "%%flow --out elevator\n"
        "from prefect import flow, task\n"
        "from prefect.futures import wait\n"
        "@task\n"
        "def stop_at_floor(floor):\n"
        "    return floor\n"
        "futures = stop_at_floor.map(range(3, 0, -1))\n"
        "wait(futures)\n"
        "[future.result() for future in futures]"
    ),
    "flow_facts": "print(elevator.result(), elevator.counts.completed)",
    "jobs": "%jobs",
    "error": "%map --wrokers 3 check(range(3))",
    "silent": "'done'",
}


@pytest.fixture(scope="module")
def saved(kernel_environment, tmp_path_factory):
    """The notebook after all cells have run, by cell."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    empty = len(nbformat.writes(book))
    folder = tmp_path_factory.mktemp("notebook")
    client = NotebookClient(book, timeout=180, allow_errors=True, resources={"metadata": {"path": str(folder)}})
    client.execute(env=kernel_environment)
    cells = dict(zip(CELLS, book.cells, strict=True))
    cells["grown"] = len(nbformat.writes(book)) - empty
    cells["page"] = HTMLExporter().from_notebook_node(book)[0]
    return cells


def _data(cell, mime="text/plain"):
    """Return what a cell shows, by MIME type; the output that holds the widget has no text."""
    found = [output["data"][mime] for output in cell.outputs if "data" in output and mime in output["data"]]
    return [one for one in found if one]


def _printed(cell):
    return "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")


def test_the_saved_output_of_a_job_holds_its_final_counts_as_text(saved):
    (text,) = _data(saved["map"])
    assert "1 of 60 failed" in text
    assert "item five is bad" in text


def test_the_exported_page_shows_the_final_counts_without_javascript(saved):
    body = re.sub(r"<script.*?</script>", "", saved["page"], flags=re.DOTALL)
    visible = re.sub(r"<[^>]+>", " ", body)
    assert re.search(r"59\s+completed", visible)
    assert re.search(r"1\s+failed", visible)
    assert "item five is bad" in visible


def test_the_bar_reaches_the_end_although_an_item_failed(saved):
    (html,) = _data(saved["map"], "text/html")
    assert 'aria-valuenow="60"' in html
    assert 'aria-valuemax="60"' in html


def test_the_notebook_stays_small(saved):
    assert saved["grown"] < 50_000


def test_a_job_that_is_done_at_once_shows_its_end_and_no_bar_that_is_not_full(saved):
    (text,) = _data(saved["quick"])
    assert "10 items" in text
    (html,) = _data(saved["quick"], "text/html")
    assert "waiting" not in html
    assert "model not found" not in saved["page"].lower()


def test_what_items_print_lands_in_no_cell(saved):
    assert "printed by item" not in "".join(_printed(cell) for cell in _cells(saved))
    assert _printed(saved["other"]) == "only this\n"


def test_no_cell_shows_a_log_line_or_an_error_of_prefect(saved):
    for name in CELLS:
        cell = saved[name]
        streams = [output for output in cell.outputs if output["output_type"] == "stream"]
        assert all(output["name"] == "stdout" or name == "error" for output in streams), (name, streams)
        assert not [output for output in cell.outputs if output["output_type"] == "error"], name
        if name not in ("map", "quick", "magic", "flow", "jobs", "silent"):
            assert not _data(cell), name


def test_the_items_are_all_accounted_for(saved):
    assert _printed(saved["facts"]) == "59 1 60\n"


def test_a_cell_is_the_function_and_its_names_stay_in_it(saved):
    assert _printed(saved["magic_facts"]) == "[0, 2, 4, 6] False\n"


def test_code_for_a_prefect_flow_runs_in_a_cell_and_its_task_runs_are_items(saved):
    assert _printed(saved["flow_facts"]) == "[3, 2, 1] 3\n"


def test_the_list_of_jobs_names_them_all(saved):
    (text,) = _data(saved["jobs"])
    assert [line.split(":")[0] for line in text.splitlines()][-3:] == ["str", "str", "check"]
    assert "doubled" in text


def test_a_wrong_option_is_one_line_that_names_the_right_one(saved):
    said = "".join(output.get("text", "") for output in saved["error"].outputs).strip()
    assert "--workers" in said
    assert len(said.splitlines()) == 1


def test_no_secret_is_saved(saved):
    with lease_server() as lease:
        secret = lease.address.auth.partition(":")[2]
    assert secret not in saved["page"]


def _cells(saved):
    return [saved[name] for name in CELLS]
