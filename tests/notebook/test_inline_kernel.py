"""The runner `inline` in a real kernel: its main thread runs a loop, is interrupted, and talks with a debugger."""

from __future__ import annotations

import queue
import time

import pytest
from jupyter_client.manager import start_new_kernel
from tests.support import eventually

DEFINITIONS = """
import nbfutures as nbf, pathlib, time
inline = nbf.options(runner="inline")
def stop(x):
    if x == 1:
        import pdb; pdb.set_trace()
    return x
def hang(x):
    if x == 2:
        pathlib.Path("hangs").touch()
        time.sleep(60)
    return x
"""


@pytest.fixture
def notebook(kernel_environment, tmp_path):
    manager, client = start_new_kernel(env=kernel_environment, cwd=str(tmp_path))

    def run(code, *answers, then=None):
        """Run a cell; answer what its debugger asks; return the text of its outputs."""
        cell = client.execute(code, allow_stdin=True)
        if then is not None:
            then()
        answers = list(answers)
        texts = []
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                client.get_stdin_msg(timeout=0.01)
                client.input(answers.pop(0))
            except queue.Empty:
                pass
            try:
                message = client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["parent_header"].get("msg_id") != cell:
                continue
            if content.get("execution_state") == "idle":
                return "\n".join(filter(None, texts))
            texts.append(content.get("text") or content.get("evalue") or content.get("data", {}).get("text/plain", ""))
        raise AssertionError(texts)

    run.interrupt = manager.interrupt_kernel
    run(DEFINITIONS)
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_debugger_interrupt_and_debug_work_as_for_code_of_the_cell(notebook, tmp_path):
    told = notebook("inline.map(stop, range(3)).result()", "p 'x is', x", "c")
    assert "('x is', 1)" in told
    assert told.endswith("[0, 1, 2]")

    notebook("%load_ext nbfutures\n%runner inline")

    def interrupt():
        eventually((tmp_path / "hangs").exists)
        notebook.interrupt()

    assert "'hang' was cancelled by the interrupt" in notebook("%map -o job hang(range(5))", then=interrupt)
    assert notebook("job.values(), job.counts.cancelled") == "([0, 1, None, None, None], 3)"
    assert "Interrupted while it ran" in notebook("job.result()")
    told = notebook("%debug", "p 'x is', x", "q")
    assert "('x is', 2)" in told
