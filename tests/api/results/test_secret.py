"""The server's secret is handed to whom it is for; no environment has it, and Prefect is let in everywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest
from prefect import flow, get_client, task
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

import nbfutures as nbf

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")


def make_look(secret):
    """Return a function that lists where it finds the secret, and asks Prefect for something."""

    def look(_=None):
        import os
        import subprocess
        from pathlib import Path

        from prefect import get_client

        found = [f"os.environ {name}" for name, value in os.environ.items() if secret in value]
        if secret in subprocess.run(["env"], capture_output=True, text=True, check=True).stdout:
            found.append("a program that it started")
        for pid in ("self", os.getppid()):
            place = Path(f"/proc/{pid}/environ")
            if place.exists() and secret in place.read_text(errors="replace"):
                found.append(str(place))
        with get_client(sync_client=True) as client:
            client.read_flow_runs(limit=1)
        return found

    return look


@pytest.fixture
def look(server):
    return make_look(server.lease.address.auth.partition(":")[2])


def test_no_item_and_no_program_that_it_starts_has_the_secret(runner, look):
    assert runner.map(look, range(2)).result(240) == [[], []]
    assert runner.map(task(look), [1]).result(240) == [[]]


def test_no_process_of_a_pool_of_prefects_has_the_secret(look):
    looked = task(look)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pool():
        return looked.submit().result()

    assert nbf.run(pool).result(240) == []
    # Called in the cell, without nbfutures.
    assert pool() == []
    # Prefect reads its settings anew for this.
    with temporary_settings({PREFECT_LOGGING_LEVEL: "ERROR"}):
        assert nbf.run(pool).result(240) == []
        assert nbf.options(runner="processes", workers=1).submit(looked).result(240) == []
        with get_client(sync_client=True) as client:
            client.read_flow_runs(limit=1)


def test_no_worker_of_background_tasks_and_no_flow_run_of_a_deployment_has_the_secret(look):
    looked = task(look)

    @flow(name="looks", task_runner=ProcessPoolTaskRunner(max_workers=1))
    def looks():
        return [look(), looked(), looked.submit()]

    serving, served = nbf.serve(looked), nbf.serve(looks, name="secretly")
    try:
        assert serving.wait(240)
        in_background = nbf.options(background=True).submit(looked)
        deployed = nbf.options(deployment="looks/secretly").submit()
        assert in_background.result(240) == []
        assert deployed.result(240) == [[], [], []]
    finally:
        serving.stop()
        served.stop()


@ON_LINUX
def test_the_server_itself_does_not_show_its_secret(server):
    secret = server.lease.address.auth.partition(":")[2]
    supervisor = psutil.Process(server.lease.record.pid)
    processes = [supervisor, *supervisor.children(recursive=True)]
    assert len(processes) > 1
    for process in processes:
        assert secret not in str(process.environ())
        assert secret not in str(process.cmdline())
    # The kernel's own environment shows where the secret is, for this user alone.
    profiles = Path(os.environ["PREFECT_PROFILES_PATH"])
    assert secret in profiles.read_text()
    assert profiles.stat().st_mode & 0o077 == 0


COMMANDS = """
import os, subprocess, sys
import nbfutures as nbf

def prefect(*arguments):
    return subprocess.run([sys.executable, "-m", "prefect", *arguments], capture_output=True, text=True)

nbf.submit(abs, -1).result(240)
print(prefect("flow-run", "ls").returncode, flush=True)
print(prefect("config", "set", "PREFECT_DEFAULT_WORK_POOL_NAME=mine").returncode, flush=True)
print("PREFECT_API_AUTH_STRING" in os.environ, flush=True)
"""


def test_prefects_commands_work_in_a_notebook_and_keep_what_they_set(start_kernel, server, tmp_path):
    kernel = start_kernel(COMMANDS, PREFECT_HOME=str(tmp_path))
    assert kernel.read(240) == "0"
    assert kernel.read() == "0"
    assert kernel.read() == "False"
    assert kernel.end()[0] == 0
    kept = (tmp_path / "profiles.toml").read_text()
    assert 'DEFAULT_WORK_POOL_NAME = "mine"' in kept
    assert server.lease.address.auth.partition(":")[2] not in kept
