"""The magics on the real api and a real Prefect server."""

import json
import os
import subprocess
import sys
import traceback

import pytest
from tests.magics.flow_cells import FLOW_CELLS
from tests.support import eventually

from nbfutures import api


@pytest.fixture
def nb(bare_notebook, server):
    bare_notebook("%load_ext nbfutures")
    bare_notebook("def square(x): return x * x")
    yield bare_notebook
    bare_notebook.shell.extension_manager.loaded.discard("nbfutures")
    for job in api.session_jobs():
        job.cancel()


def test_map_maps(nb):
    nb("job = %map -q -w 2 square(range(20))")
    assert nb.ns["job"].result(120) == [x * x for x in range(20)]
    assert nb.ns["job"].name == "square"


def test_map_of_a_cell_maps_over_an_iterable_of_pairs(nb):
    nb("%%map -q -o job name, n in {'a': 1, 'b': 2}.items()\nname * n")
    assert nb.ns["job"].result(120) == ["a", "bb"]
    assert nb.ns["job"].name == "cell 3"


def test_map_maps_over_the_futures_of_another_job(nb):
    nb("first = %map -q square([1, 2, 3])")
    nb("%%map -q -o second x in first\nx + 1")
    assert nb.ns["second"].result(120) == [2, 5, 10]


def test_map_makes_the_calls_that_python_makes(nb):
    nb("from pathlib import Path")
    nb("job = %map -q Path(['a', 'b'], 'c')")
    assert [str(path) for path in nb.ns["job"].result(120)] == ["a/c", "b/c"]
    told = nb.run("%map -q (lambda width, height: 0)(zip([1], [2]))").usage_error
    assert "nbf.starmap(<lambda>, ...)" in told


def test_map_of_a_cell_goes_over_what_a_loop_goes_over(nb, recwarn):
    nb("from collections import namedtuple; point = namedtuple('Point', 'x y')(3, 4)")
    for head, values in (("{'a': 1, 'b': 2}", ["a", "b"]), ("point", [3, 4])):
        nb(f"%%map -q -o job x in {head}\nx")
        assert nb.ns["job"].result(120) == values
    assert [str(one.message) for one in recwarn if one.category is UserWarning] == []


def test_a_generator_that_raises_is_told_by_the_job(nb):
    nb("%%map -o job x in (1 / n for n in [1, 0])\nx")
    assert nb.ns["job"].wait(120)
    assert "The iterator for 'x' raised ZeroDivisionError: division by zero after 1 items" in repr(nb.ns["job"])


def test_what_is_not_iterable_is_told_in_one_line(nb):
    assert "There is nothing to map over: x=3." in nb.run("%%map x in 3\nx").usage_error


def test_a_failed_item_points_into_the_cell(nb):
    nb("%%map -q -o job x in [1, 0]\ny = x\n\n1 / y")
    nb.ns["job"].wait(120)
    [error] = [one.error for one in nb.ns["job"].outcomes() if one.error is not None]
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert (last.lineno, last.line) == (4, "1 / y")


def test_a_dry_run_of_a_cell_runs_three_items_and_says_what_to_expect(nb):
    nb("ran = []")
    nb("%%map --dry-run -b -o job x in range(1_001)\nran.append(x)\nx")
    assert nb.ns["ran"] == [0, 500, 1_000]
    assert "Only 3 of 1,001 items ran" in repr(nb.ns["job"])
    nb("other = %map --dry-run square(range(50))")
    assert nb.ns["other"].result(120) == [0, 24 * 24, 49 * 49]


def test_a_cell_that_uses_what_cannot_be_pickled_is_told_which_variable(nb):
    nb("import threading; lock = threading.Lock()")
    nb("%%map --dry-run -b -q -o job x in range(10)\nlock.locked()")
    assert "variable 'lock'" in nb.ns["job"].dry_run.obstacle


def test_a_dry_run_of_a_flow_is_refused_in_one_line(nb):
    assert "There is no dry run of a flow" in nb.run("%%flow --dry-run\n1").usage_error


def test_submit_of_a_cell_awaits(nb):
    nb("%%submit -q -o job\nimport asyncio\nawait asyncio.sleep(0)\nsquare(3)")
    assert nb.ns["job"].result(120) == 9


def test_block_waits_in_the_cell(nb):
    nb("%submit -b -q -o job square(4)")
    assert nb.ns["job"].is_done


def test_jobs_finds_a_job_by_its_name(nb):
    nb("%submit -q -o job -n 'the four' square(4)")
    assert nb("%jobs the four") is nb.ns["job"]
    assert "There is no job 'the five'. Jobs of this notebook:" in nb.run("%jobs the five").usage_error


def test_runner_sets_the_workers_of_the_next_job(nb):
    assert nb.run("%runner threads -w 3").out == "threads, 3 workers\n"
    assert api.session_defaults().workers == 3


def test_a_flow_may_await(nb):
    nb("%%flow -q -o job\nfrom prefect import task\n@task\nasync def one(x): return x\nawait one(3)")
    assert nb.ns["job"].result(120) == 3


@pytest.mark.parametrize("cell", FLOW_CELLS.values(), ids=FLOW_CELLS)
def test_a_cell_that_uses_prefect_as_its_guides_do_runs_and_its_task_runs_are_seen(nb, cell):
    nb(f"%%flow -q -o job\n{cell.code}")
    job = nb.ns["job"]
    assert job.result(240) == cell.result
    tasks = [job._run.item(index).arguments["task"] for index in range(len(job))]
    assert sorted(zip(tasks, job.frame()["outcome"], strict=True)) == cell.seen


def test_loading_imports_nothing_heavy():
    code = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_line_magic("load_ext", "nbfutures")
print(json.dumps([name for name in ("prefect", "pandas", "matplotlib", "anywidget") if name in sys.modules]))
"""
    environment = {**os.environ, "NBFUTURES_WARM_UP": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_limit_is_made_used_shown_and_deleted(nb):
    assert repr(nb("%limit 'of a cell' 2")) == "of a cell: 2 slots, none in use"
    nb("%map -q -o job --limit 'of a cell' square(range(5))")
    assert nb.ns["job"].result(120) == [0, 1, 4, 9, 16]
    assert "of a cell: 2 slots" in repr(nb("%limit"))
    assert nb("%limit 'of a cell' --delete") is None
    assert "There is no limit 'of a cell'" in nb.run("%limit 'of a cell'").usage_error


_DELAYS = """
import asyncio
futures = [slow.delay(x) for x in range(2)]
await asyncio.gather(*[future.result_async() for future in futures])
"""
_SLOW = "from prefect import task\n@task\ndef slow(x): return x"


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        ([_SLOW, f"%%flow -q -o job\n{_DELAYS}"], "waiting for a worker: %serve slow"),
        (
            [f"%%flow -q -o job\n{_SLOW}\n{_DELAYS}"],
            "waiting for a worker: define slow in a cell of its own, and serve it: %serve slow",
        ),
    ],
)
def test_a_flow_that_waits_for_workers_says_what_to_write(nb, cells, note):
    for cell in cells:
        nb(cell)
    job = nb.ns["job"]
    eventually(lambda: job.snapshot.note == note)
    job.cancel()
    assert job.wait(120)
    assert job.counts.cancelled == 2
