"""Run a notebook from top to bottom without a screen, and show what it says about itself.

`python scripts/run_notebook.py notebooks/01-quickstart.ipynb build` writes the executed notebook and its HTML to
`build`, and prints the outputs, as plain text, of the cells that are tagged "summary".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert import HTMLExporter

CELL_TIMEOUT = 300  # seconds; the first cell may have to wait for a server that starts


def main(notebook: Path, folder: Path) -> int:
    """Run the notebook, write both files, print the summary; return the exit code."""
    content = nbformat.read(notebook, as_version=4)
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    client = NotebookClient(
        content,
        timeout=CELL_TIMEOUT,
        extra_arguments=["--log-level=ERROR"],  # the kernel would warn that it talks over TCP, to this machine alone
        resources={"metadata": {"path": str(notebook.parent)}},
        on_cell_start=lambda cell, **_: show_progress(cells, cell),
    )
    print(f"Running {notebook} ({len(cells)} cells) ...", flush=True)
    began = time.monotonic()
    failure = None
    try:
        client.execute()
    except (CellControlSignal, DeadKernelError) as error:
        failure = str(error)
    paths = write(content, folder, notebook.stem)
    if failure:
        print(f"\nA cell of {notebook} failed:\n\n{failure}", file=sys.stderr)
    else:
        print(f"Done in {time.monotonic() - began:.0f} s.")
        for text in summaries(cells):
            print(f"\n{text}")
    print("\nThe executed notebook: {}\nThe same as a page:    {}".format(*paths))
    return 1 if failure else 0


def show_progress(cells: list[nbformat.NotebookNode], cell: nbformat.NotebookNode) -> None:
    """Print which cell starts, by its number and first line."""
    if cell in cells:
        first = next(iter(cell.source.splitlines()), "")
        print(f"  [{cells.index(cell) + 1}/{len(cells)}] {first[:80]}", flush=True)


def summaries(cells: list[nbformat.NotebookNode]) -> list[str]:
    """Return the plain text of each output of the cells tagged "summary"."""
    outputs = [out for cell in cells if "summary" in cell.metadata.get("tags", []) for out in cell.outputs]
    texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in outputs]
    return [text.rstrip() for text in texts if text]


def write(content: nbformat.NotebookNode, folder: Path, stem: str) -> tuple[Path, Path]:
    """Write the notebook and its HTML, and return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    executed, page = folder / f"{stem}.ipynb", folder / f"{stem}.html"
    nbformat.write(content, executed)
    html, _ = HTMLExporter().from_notebook_node(content)
    page.write_text(html, encoding="utf-8")
    return executed, page


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
