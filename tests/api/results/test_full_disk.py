"""A disk that fills up while the local server runs: what fails names the disk, the directory and the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os
from pathlib import Path
import nbfutures as nbf
from prefect import flow, task

@task
def double(x):
    return 2 * x

@flow
def whole(text):
    return len(text)

def told(call):
    try:
        call()
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return "nothing"

nbf.submit(abs, -1).result(200)
with open(Path(os.environ["NBFUTURES_HOME"], "filler"), "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(65536))
    except OSError:
        pass
def first_failure(call):
    # Some room may be left within the database's own files.
    for _ in range(100):
        if (words := told(call)) != "nothing":
            return words

print(first_failure(lambda: nbf.run(whole, 400_000 * "x").result()), flush=True)
print(first_failure(lambda: nbf.map(double, range(2)).result()), flush=True)
print(first_failure(lambda: nbf.limit(f"db {os.urandom(4).hex()}", 2)), flush=True)
"""


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a disk of its own, of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux":
        pytest.skip("a small disk is made as on Linux")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_is_named(start_kernel, small_disk):
    kernel = start_kernel(CODE, NBFUTURES_HOME=str(small_disk), NBFUTURES_SERVER_GRACE="1")
    for _ in ("flow", "job", "limit"):
        told = kernel.read(300)
        assert told.startswith("ServerFailedError: The disk at " + str(small_disk) + " is full")
        assert "make room" in told.lower()
        assert str(small_disk / "prefect-") in told
        assert "server.log" in told
        assert "500" not in told
