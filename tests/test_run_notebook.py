"""`make demo` runs a notebook, shows its summary, and tells when it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "run_notebook.py"

CELLS = [
    new_markdown_cell("# A title", metadata={"tags": ["summary"]}),
    new_code_cell("from pathlib import Path\nsecret = 'not part of the summary'\nsecret"),
    new_code_cell(
        "print(Path('beside.txt').read_text())\n{'completed': 2}",
        metadata={"tags": ["summary"]},
    ),
]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "beside.txt").write_text("read from beside the notebook", encoding="utf-8")

    def run(*cells):
        nbformat.write(new_notebook(cells=cells), folder / "lesson.ipynb")
        command = [sys.executable, str(SCRIPT), "notebooks/lesson.ipynb", "build"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    return run


def test_the_summary_and_the_places_of_the_results_are_printed(run, tmp_path):
    done = run(*CELLS)
    assert done.returncode == 0, done.stderr
    _, _, end = done.stdout.partition("Done in ")
    assert "read from beside the notebook" in end
    assert "{'completed': 2}" in end
    assert "not part of the summary" not in end
    for path in ("build/lesson.ipynb", "build/lesson.html"):
        assert path in end
        assert "read from beside the notebook" in (tmp_path / path).read_text(encoding="utf-8")


def test_a_cell_that_fails_fails_the_run_and_is_shown(run, tmp_path):
    done = run(new_code_cell("1 / 0"), new_code_cell("print('never')"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "ZeroDivisionError" in (tmp_path / "build" / "lesson.html").read_text(encoding="utf-8")
