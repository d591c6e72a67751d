"""Worker processes as guests of the machine: their inner threads, their idle time, and what they leave behind."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import eventually

import nbfutures as nbf
from nbfutures.engine.cpus import usable_cpus

processes = nbf.options(runner="processes", workers=2)
CAPS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"]
KERNEL = """
import sys
import nbfutures as nbf
if __name__ == "__main__":
    print(nbf.options(runner="processes", workers=1).map(abs, [-1]).result(240), flush=True)
    sys.stdin.read()
"""


def is_alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_inner_threads_are_capped_in_workers_and_not_in_the_kernel(monkeypatch):
    nbf.stop_workers()
    # What the kernel has set and has deleted again is as never set.
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert processes.submit(abs, -1).result(120) == 1
    for name in CAPS:
        monkeypatch.delenv(name, raising=False)
    caps = processes.map(lambda name: int(__import__("os").environ[name]), CAPS).result(120)
    assert caps == [max(1, usable_cpus() // 2)] * len(CAPS)
    # A warm process that was started for fewer workers has another share.
    alone = nbf.options(runner="processes", workers=1)
    assert int(alone.submit(lambda: __import__("os").environ["OMP_NUM_THREADS"]).result(120)) == usable_cpus()
    assert processes.map(lambda name: int(__import__("os").environ[name]), CAPS).result(120) == caps
    assert not any(name in os.environ for name in CAPS)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert processes.submit(lambda: __import__("os").environ["OMP_NUM_THREADS"]).result(120) == "7"


def test_idle_workers_end_after_a_time_or_when_told_and_the_next_job_starts_others(monkeypatch):
    nbf.stop_workers()
    monkeypatch.setenv("NBFUTURES_IDLE_SECONDS", "0.2")
    first = processes.submit(os.getpid).result(120)
    eventually(lambda: not is_alive(first))
    monkeypatch.setenv("NBFUTURES_IDLE_SECONDS", "inf")
    second = processes.submit(os.getpid).result(120)
    job = processes.submit(os.getpid)
    assert job.result(120) == second
    job._run.thread.join(60)
    nbf.stop_workers()
    eventually(lambda: not is_alive(second))
    assert processes.submit(os.getpid).result(120) not in {first, second}


def test_a_kernel_leaves_nothing_in_the_temporary_directory_and_removes_what_a_killed_one_left(start_kernel, tmp_path):
    killed = start_kernel(KERNEL, TMPDIR=str(tmp_path))
    assert killed.read() == "[1]"
    assert list(tmp_path.glob("nbfutures-kernel-*"))
    killed.kill()
    left = set(tmp_path.iterdir())
    assert left
    other = start_kernel(KERNEL, TMPDIR=str(tmp_path))
    assert other.read() == "[1]"
    assert not left & set(tmp_path.iterdir())
    assert other.end()[0] == 0
    eventually(lambda: not list(tmp_path.iterdir()))
