"""Jobs on Ray: what is particular to it. What holds for every runner is in tests/api/test_runners.py.

A process has one Ray at a time, and each takes its time to start: the kernel's own comes first, since the tests before
have started it, then none, the notebook's, and one apart.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time

import pytest
import ray
from prefect import task
from tests.clusters.conftest import free_port, hanging, is_answered, python, started
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import ClusterUnreachableError, ItemTimeoutError
from nbfutures.prefect.runners import ray as clusters

on_ray = nbf.options(runner="ray", workers=2)


def test_what_runs_is_ended_by_cancel_and_by_its_timeout_and_the_card_leads_to_the_dashboard(gate):
    assert on_ray.map(abs, range(3)).result(240) == [0, 1, 2]
    job = on_ray.map(hanging(gate), range(100))
    gate.wait_for(2)
    begun = time.monotonic()
    job.cancel()
    assert job.wait(120)
    assert time.monotonic() - begun < 10
    assert job.counts.cancelled == 100
    job = on_ray.options(timeout=0.3).map(lambda x: time.sleep(60) if x == 1 else x, range(5))
    assert job.wait(120)
    assert job.values() == [0, None, 2, 3, 4]
    assert isinstance(job[1].exception(), ItemTimeoutError)
    assert {name for name, _ in job._run.state.links} <= {"Ray dashboard", "Prefect run"}


def test_a_job_ends_when_ray_is_let_go_of_and_no_other_ray_is_started(gate):
    job = on_ray.map(hanging(gate), range(4))
    gate.wait_for(2)
    clusters.close()
    assert job.wait(120)
    job._run.thread.join(120)
    assert not job._run.thread.is_alive()
    assert not ray.is_initialized()


def test_an_address_at_which_nobody_answers_ends_the_job_and_says_what_to_do(server, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("nobody there")

    clusters.close()
    # Ray itself tries for half a minute.
    monkeypatch.setattr(ray, "init", refuse)
    job = nbf.options(runner="ray", address="127.0.0.1:9").map(abs, range(3))
    assert job.wait(120)
    with pytest.raises(ClusterUnreachableError, match=r"No Ray cluster answers at 127.0.0.1:9 \(nobody.*leave address"):
        raise job[0].exception().__cause__ or job[0].exception()


def test_the_notebooks_own_ray_is_used_and_left_as_it_is(server):
    clusters.close()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        assert nbf.options(runner="ray").map(abs, range(-3, 0)).result(120) == [3, 2, 1]
        clusters.close()
        assert ray.is_initialized()
        job = nbf.options(runner="ray", address="127.0.0.1:9").map(abs, range(3))
        assert job.wait(120)
        assert "one Ray" in str(job[0].exception())
    finally:
        ray.shutdown()


@pytest.fixture
def head(tmp_path, server):
    """A Ray head with two CPUs, apart from the kernel; its address."""
    log = tmp_path / "ray.log"
    # The names of its sockets may not be long.
    place = tempfile.mkdtemp(prefix="ray-")
    port = free_port()
    options = ["--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block"]
    command = python("ray.scripts.scripts", "start", *options, f"--temp-dir={place}")
    with started(*command, log=log, environment={"RAY_USAGE_STATS_ENABLED": "0"}):
        eventually(lambda: is_answered(port), timeout=120)
        yield f"127.0.0.1:{port}"
        clusters.close()
    shutil.rmtree(place, ignore_errors=True)


def test_a_worker_that_is_killed_in_mid_run_costs_no_item(head, gate, tmp_path):
    place = gate
    pids = tmp_path

    def work(x):
        (pids / f"pid {x}").write_text(str(os.getpid()))
        place(x)
        return x, os.getpid()

    on_head = nbf.options(runner="ray", address=head)
    # Its workers take their time to start.
    assert on_head.map(abs, range(3)).result(240) == [0, 1, 2]
    job = on_head.map(work, range(20))
    gate.wait_for(2)
    os.kill(int((tmp_path / "pid 0").read_text()), signal.SIGKILL)
    gate.open()
    assert job.wait(240)
    assert [value for value, _ in job.result()] == list(range(20))
    assert on_head.map(task(lambda x: x + 1), range(3)).result(240) == [1, 2, 3]
