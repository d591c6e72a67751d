"""A kernel whose local server has died: the next job starts another, and Prefect knows of its task runs."""

from __future__ import annotations

import pytest

CODE = """
import os, signal, socket, sys, time
import nbfutures as nbf
from nbfutures.prefect.session import get_session
from prefect import get_client, task
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

@task
def double(x):
    return x * 2

def ended(job):
    asked = FlowRunFilter(id=FlowRunFilterId(any_=[job._run.flow_run_id]))
    with get_client(sync_client=True) as client:
        return [one.state_name for one in client.read_task_runs(flow_run_filter=asked)].count("Completed")

def run(items):
    job = nbf.map(double, range(items))
    job.result(200)
    end = time.monotonic() + 60
    while ended(job) < items and time.monotonic() < end:
        time.sleep(0.2)
    print(ended(job), flush=True)

run(3)
session = get_session()
before = session.api_url
os.kill(session.lease.record.pid, signal.SIGKILL)
while session.lease.is_alive():
    time.sleep(0.05)
other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if sys.stdin.readline().strip() == "taken":
    port = session.lease.record.port
    while True:
        try:
            other.bind(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.1)
    other.listen()
run(5)
print(session.api_url == before, flush=True)
other.close()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A server's home of their own: the one that the other tests use stays as it is."""
    return str(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("port", ["free", "taken"])
def test_task_runs_after_a_restart_of_the_server_are_recorded_and_the_kernel_ends(start_kernel, home, port):
    kernel = start_kernel(CODE, NBFUTURES_HOME=home, NBFUTURES_SERVER_GRACE="1")
    assert kernel.read(240) == "3"
    kernel.say(port)
    assert kernel.read(240) == "5"
    assert kernel.read() == str(port == "free")
    status, _ = kernel.end(30)
    assert status == 0, kernel.stderr
