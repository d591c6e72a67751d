"""Clusters that are started apart from the kernel, on loopback."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from tests import file_gate
from tests.support import end_jobs

gate = file_gate.gate


@contextmanager
def started(*command, log, environment=None):
    """A process, ended afterwards; what it prints goes to a file."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | (environment or {}), start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()


def told(log, pattern, process, seconds=240):
    """What a process printed, once that matches."""
    deadline = time.monotonic() + seconds
    while not (found := re.search(pattern, log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found


def is_answered(port):
    """Whether somebody listens there, on loopback."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def python(*arguments):
    return [sys.executable, "-m", *arguments]


@pytest.fixture(autouse=True)
def jobs(server):
    """None is left running by a test."""
    yield
    end_jobs(server)


def hanging(place):
    """Return a function that notes which item it was called for, and does not end by itself."""

    # Within this function, so that it goes to the workers by value: their path is not that of the tests.
    def work(x):
        place.note(x)
        time.sleep(60)

    return work
