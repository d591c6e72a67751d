"""What a job holds is let go of with the job."""

from __future__ import annotations

import gc
import weakref

import psutil
import pytest
from tests.support import eventually

import nbfutures as nbf
from nbfutures.errors import NbfuturesError


class Large:
    """What a user would not want to be held for ever."""

    def __init__(self, number=0):
        self.number = number


class Refused(Exception):
    """An error that weak references can be made to."""


def turned(large):
    return Large(-large.number)


def refused(large):
    raise Refused(large.number)


def refused_while_another_is_handled(large):
    try:
        refused(large)
    except Refused as error:
        raise Refused(-large.number) from error


async def turned_async(large):
    return Large(-large.number)


# No tasks: Prefect's client holds the context of a task run in timers that it has cancelled, for up to a minute.
FUNCTIONS = [
    turned,
    refused,
    refused_while_another_is_handled,
    turned_async,
]


def test_arguments_values_and_errors_go_with_the_last_variable(runner, jobs):
    seen = []

    def run(fn):
        given = [Large(number) for number in range(5)]
        job = runner.map(fn, given)
        job.wait(120)
        if job.counts.failed:
            with pytest.raises(Refused):
                job.result()
            job.retry()
            job.wait(120)
            job.errors()
        else:
            job.frame()
        chained = nbf.map(lambda one: one, job)
        chained.wait(120)
        outcomes = [*job.outcomes(), *chained.outcomes()]
        found = [
            *given,
            *job.values(),
            *chained.values(),
            *(one.error for one in outcomes if type(one.error) is Refused),
        ]
        seen.extend(weakref.ref(one) for one in found if one is not None)
        return [repr(job).splitlines()[0].partition(" (")[0], chained.name]

    said = [run(fn) for fn in FUNCTIONS]

    def are_gone():
        gc.collect()
        return not [one() for one in seen if one() is not None]

    eventually(are_gone)
    assert len(seen) >= 50
    # Their lines are still there, and say what to do another time.
    told = repr(nbf.api.jobs_view())
    for line, name in said:
        assert line.partition(":")[0] in told
        assert name in told
    assert "failed, 5 items" in told
    assert list(jobs) == []
    with pytest.raises(NbfuturesError, match=r"no variable holds it.*0 completed, 5 failed.*job = "):
        nbf.api.find_job("refused")


def test_a_job_is_held_as_long_as_anything_of_it_is_or_it_runs(gate, jobs):
    future = nbf.map(turned, [Large(1)])[0]
    assert future.result(120).number == -1
    outcomes = nbf.map(turned, [Large(2)]).as_completed(60)
    nbf.map(gate, [3])
    gate.wait_for(1)
    gc.collect()
    assert nbf.api.session_jobs()[-1].counts.total == 1
    nbf.api.session_jobs()[-1].cancel()
    gate.open()
    assert next(outcomes).value.number == -2
    assert future.result().number == -1


def memory_used(_block):
    return psutil.Process().memory_info().rss


def test_what_is_sent_ahead_is_bounded_by_its_size(remote):
    used = remote.map(memory_used, [bytes(1_000_000) for _ in range(600)]).result(120)
    assert max(used) - min(used[:2]) < 300_000_000
