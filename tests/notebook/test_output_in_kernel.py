"""In a real kernel, what items write and show lands in no other cell."""

from __future__ import annotations

import queue
import time

import pytest
from jupyter_client.manager import start_new_kernel

SETUP = """
import logging, sys
logging.basicConfig(level=logging.INFO)
import contextlib, io, os, pathlib, subprocess, time
import nbfutures as nbf
from IPython.display import Markdown, display
from tqdm.auto import tqdm

def work(x):
    print("printed", x)
    pathlib.Path(f"came-{x}").touch()
    while not pathlib.Path("open").exists():
        time.sleep(0.01)
    logging.info("logged %d", x)
    os.system(f"echo by system {x}")
    subprocess.run(["echo", f"by run {x}"])
    with contextlib.redirect_stdout(io.StringIO()):
        print("nowhere")
        time.sleep(0.05 * x)
    display(Markdown(f"shown {x}"))
    for _ in tqdm(range(3), desc=f"bar {x}"):
        pass
    print("last", x, file=sys.stderr)
"""
START = """
job = nbf.options(runner={runner!r}, workers=2).map(work, range(2))
"""
OTHER = """
print("the other cell")
while len(list(pathlib.Path().glob("came-*"))) < 2:
    time.sleep(0.01)
pathlib.Path("open").touch()
assert job.wait(120)
logging.info("of the other cell")
os.system("echo by the other cell")
time.sleep(0.5)
"""
TOLD = """
for one in job.outcomes():
    print(repr(one.output.stdout + one.output.stderr))
for one in pathlib.Path().iterdir():
    one.unlink()
"""


@pytest.fixture
def notebook(kernel_environment, tmp_path):
    # In tests of its own, the kernel does not watch its descriptors.
    environment = {name: value for name, value in kernel_environment.items() if name != "PYTEST_CURRENT_TEST"}
    manager, client = start_new_kernel(env=environment, cwd=str(tmp_path))
    outputs = {}

    def run(code):
        """Run a cell, and return its number."""
        cell = client.execute(code)
        outputs.setdefault(cell, "")
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                message = client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            content, of = message["content"], message["parent_header"].get("msg_id")
            if content.get("execution_state") == "idle" and of == cell:
                return cell
            if message["msg_type"] in {"stream", "error"}:
                outputs[of] += content.get("text") or "\n".join(content["traceback"])
            elif message["msg_type"] == "display_data":
                outputs[of] += f"<{content['data'].get('text/markdown') or content['data'].get('text/plain')}>"
        raise AssertionError(outputs)

    run.outputs = outputs
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_what_items_write_and_show_is_theirs_or_the_cells_that_started_them(notebook):
    assert notebook.outputs[notebook(SETUP)] == ""
    for runner in ("threads", "processes"):
        start, other, told = [notebook(code) for code in (START.format(runner=runner), OTHER, TOLD)]
        items = [line for line in notebook.outputs[told].splitlines() if line]
        assert len(items) == 2
        for x, item in enumerate(items):
            for text in (f"printed {x}", f"by system {x}", f"by run {x}", f"last {x}"):
                assert text in item
            assert "nowhere" not in item
            shown = notebook.outputs[start] if runner == "threads" else item
            assert f"bar {x}" in shown
            if runner == "threads":
                assert f"logged {x}" in item
                assert f"<shown {x}>" in shown
            else:
                assert "Markdown" in item
        lines = sorted(notebook.outputs[other].splitlines())
        assert lines == ["INFO:root:of the other cell", "by the other cell", "the other cell"], lines
        # A card, where there is one, and what the items have shown.
        for text in ("printed", "by system", "by run", "last", "logged", "prefect", "HTTP"):
            assert text not in notebook.outputs[start]
