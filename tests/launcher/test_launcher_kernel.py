"""The form in a real kernel, with a frontend's messages in place of a browser."""

from __future__ import annotations

import json

import pytest
from jupyter_client.manager import start_new_kernel

CELL = """
import nbfutures as nbf
def f(x): return x * x
form = nbf.launcher(f)
form.rows["x"].input.value = "7"
form
"""


@pytest.fixture
def client(kernel_environment):
    manager, client = start_new_kernel(env=kernel_environment)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client, message_id):
    """Yield the outputs that belong to a cell, also those that come after it has ended."""
    while True:
        message = client.get_iopub_msg(timeout=120)
        is_output = message["msg_type"] in {"execute_result", "display_data", "update_display_data"}
        if is_output and message["parent_header"].get("msg_id") == message_id:
            yield message["content"]["data"]


def test_submit_shows_the_job_below_the_form(client):
    cell = client.execute(CELL)
    shown = next(outputs(client, cell))
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["text/plain"].startswith("<launcher for f")
    answer = client.execute("", user_expressions={"id": "form.submit.model_id"})
    while (reply := client.get_shell_msg(timeout=120))["parent_header"]["msg_id"] != answer:
        pass
    button = json.loads(reply["content"]["user_expressions"]["id"]["data"]["text/plain"].replace("'", '"'))
    click = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    client.shell_channel.send(client.session.msg("comm_msg", click))
    assert any(data.get("text/plain", "").startswith("f: ") for data in outputs(client, cell))
    value = client.execute("", user_expressions={"value": "job.result(120)"})
    while (reply := client.get_shell_msg(timeout=120))["parent_header"]["msg_id"] != value:
        pass
    assert reply["content"]["user_expressions"]["value"]["data"]["text/plain"] == "49"
