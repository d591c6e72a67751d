"""Flows of a notebook that are served as deployments: real processes, on the real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from tests.support import eventually

import nbfutures as nbf
from nbfutures import api
from nbfutures.errors import InvalidOptionError, MapArgumentsError, PicklingError, ServeError

FILE = Path(__file__).with_name("deployed_flow.py")


def test_a_flow_of_the_notebook_is_served_run_and_cancelled_in_the_middle(server):
    offset = 100

    @flow(name="behaving")
    def behave(x: int, sleep: float = 0):
        import time

        if x < 0:
            raise ValueError(f"{x} is negative")
        time.sleep(sleep)
        return offset + x

    with ThreadPoolExecutor() as another:
        serving = another.submit(nbf.serve, behave, name="nightly", workers=3)
        eventually(lambda: [one for one in api.served_flows() if one.name == "behaving/nightly"])
        # The job waits until the flow is served.
        job = nbf.options(deployment="behaving/nightly").map([{"x": 1}, {"x": -1}, {"x": 2, "sleep": 600}])
        eventually(lambda: "starting to serve" in repr(job), interval=0.02)
        served = serving.result(240)
    try:
        eventually(lambda: job.counts.settled == 2 and job.counts.running == 1, 150)
        # What it returned is persisted, and so is what it raised.
        assert job.values() == [101, None, None]
        assert job.outcomes()[0].seconds > 0
        with pytest.raises(ValueError, match="-1 is negative"):
            job[1].result(120)
        told = job.failure(1).traceback
        assert ", in behave\n" in told
        assert "prefect" not in told
        assert served.is_ready
        assert served in api.served_flows()
        (running,) = served.running()
        assert running == "behaving/nightly 2"
        assert running in str(served)
        job.cancel()
        assert job.wait(120)
        assert job.frame()["outcome"].tolist() == ["completed", "failed", "cancelled"]
        # By the process that ran it, which has ended it.
        assert "may be gone" not in str(job.outcomes()[2].error)
        assert served.running() == []
    finally:
        served.stop()
    assert not served.is_alive
    assert "not served" in repr(served)


def test_a_deployment_of_a_module_file_runs(server, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(FILE)],
            env={**os.environ, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with get_client(sync_client=True) as client:
            eventually(lambda: any(one.name == "module" for one in client.read_deployments()), 90)
        job = nbf.options(deployment="from-a-file/module").map(x=[4])
        assert job.result(240) == [8]
    finally:
        process.terminate()
        process.wait(120)


def test_a_flow_that_cannot_be_sent_names_the_variable(server):
    lock = threading.Lock()

    @flow
    def locks():
        return lock.locked()

    with pytest.raises(PicklingError, match="'lock'"):
        nbf.serve(locks, name="x")


@pytest.mark.parametrize("name", ["", "a/b", 5])
def test_a_name_that_prefect_would_refuse_is_refused(server, name):
    @flow
    def nothing():
        pass

    with pytest.raises(InvalidOptionError, match="name"):
        nbf.serve(nothing, name=name)


def test_only_flows_become_deployments(server):
    with pytest.raises(MapArgumentsError, match="@flow"):
        nbf.serve(len, name="x")


def test_a_flow_that_cannot_be_loaded_tells_why_and_where_its_log_is(server):
    class Reluctant:
        def __reduce__(self):
            return exec, ("raise RuntimeError('not here')",)

    one = Reluctant()

    @flow(name="reluctant")
    def uses():
        return one

    with pytest.raises(ServeError, match=r"not here.* Its log: "):
        nbf.serve(uses, name="x")
    job = nbf.options(deployment="reluctant/x").map([{}])
    with pytest.raises(ServeError, match="not here"):
        job.result(240)
    assert "Its log: " in repr(job)
    assert "reluctant/x" not in [one.name for one in api.served_flows()]


_KERNEL = """
import nbfutures as nbf
from prefect import flow

@flow(name="{name}")
def remember(x: int):
    return x

served = nbf.serve(remember, name="kernel", workers=1, keep={keep})
assert served.wait_until_ready(120)
print(served.pid, flush=True)
input()
"""


def is_alive(pid):
    # A zombie has ended: nobody waits for the child of a kernel that was killed.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_kernel_takes_the_process_along(start_kernel):
    kernel = start_kernel(_KERNEL.format(name="mortal", keep=False))
    assert "starting" in kernel.read(240)
    pid = int(kernel.read(240))
    assert is_alive(pid)
    kernel.kill()
    try:
        eventually(lambda: not is_alive(pid), 40)
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_kept_process_outlives_its_kernel_and_another_one_finds_and_stops_it(start_kernel):
    kernel = start_kernel(_KERNEL.format(name="kept", keep=True))
    assert "starting" in kernel.read(240)
    pid = int(kernel.read(240))
    kernel.say()
    assert kernel.end()[0] == 0
    (found,) = [one for one in api.served_flows() if one.name == "kept/kernel"]
    try:
        assert found.pid == pid
        assert found.is_ready
        # What `__main__` defined, as a notebook does, runs there.
        assert nbf.options(deployment="kept/kernel").submit(x=8).result(240) == 8
    finally:
        found.stop()
    assert not is_alive(pid)
