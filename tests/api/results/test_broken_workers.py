"""Items that break their own worker, or leave a child behind: each is blamed alone, and every job ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter

import pytest
from tests import file_gate
from tests.support import eventually

import nbfutures as nbf

gate = file_gate.gate
processes = nbf.options(runner="processes", workers=2)


def close_all():
    os.closerange(3, 4096)


def stop_itself():
    os.kill(os.getpid(), signal.SIGSTOP)


def replace_descriptors():
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3, 30):
        if number != null:
            os.dup2(null, number)


def runs_of(place):
    """How often each item began."""
    return Counter(path.name.split("-")[1] for path in place._place.glob("came-*"))


def breaking(place, break_it):
    def work(x):
        place.note(x)
        # Others have been told by then, which would run again.
        time.sleep(0.1)
        if x == 5:
            break_it()
        return x

    return work


@pytest.mark.parametrize("break_it", [close_all, stop_itself, replace_descriptors])
def test_an_item_that_breaks_its_worker_runs_once_and_no_other_is_lost_or_runs_again(gate, break_it):
    job = processes.map(breaking(gate, break_it), range(12))
    assert job.wait(120)
    assert {one.index for one in job.outcomes() if one.kind.value != "completed"} <= {5}
    assert set(runs_of(gate).values()) == {1}
    assert processes.map(abs, [-1, -2]).result(120) == [1, 2]


def fall_out(how):
    """Fork a child that leaves the call in some way, and wait for its end."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    elif how == "exit":
        sys.exit(0)
    elif how == "raise":
        raise ValueError("in the child")


@pytest.mark.parametrize("runner", ["threads", "processes", "inline"])
def test_a_child_that_falls_out_of_the_call_is_no_second_kernel_or_worker(runner, gate):
    ways = ["return", "exit", "raise"]
    place, kernel = gate, os.getpid()

    def work(how):
        fall_out(how)
        place.note(ways.index(how))
        return os.getpid()

    job = nbf.options(runner=runner, workers=1).map(work, ways)
    # A child that went on would come here, too.
    assert os.getpid() == kernel
    assert job.wait(120)
    assert [one.kind.value for one in job.outcomes()] == ["completed"] * 3
    # What a child that returned did in the call, it did before it ended; it told nobody of it.
    assert runs_of(gate)["1"] == runs_of(gate)["2"] == 1


def test_cancel_ends_a_job_whose_worker_is_stopped(gate):
    place = gate

    def work(x):
        place.note(x)
        os.kill(os.getpid(), signal.SIGSTOP)

    job = processes.map(work, range(2))
    eventually(lambda: gate.came)
    job.cancel()
    assert job.wait(120)
