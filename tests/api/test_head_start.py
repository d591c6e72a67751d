"""Plain functions start before Prefect is there, or without it; what refers to Prefect waits for it."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import types

import prefect
import pytest
from prefect import flow, get_client, get_run_logger, task
from prefect.concurrency.sync import concurrency
from tests.support import eventually

import nbfutures as nbf
from nbfutures.prefect.needs import what_needs_prefect

UNREACHABLE = """
import asyncio, threading, time
import nbfutures as nbf
from prefect import task

def square(x):
    if x == 3 and not allowed:
        raise ValueError(x)
    return x * x

async def square_async(x):
    await asyncio.sleep(0.01)
    return x * x

allowed = False
job = nbf.options(workers=2).map(square, range(6))
print(job.wait(60), job.counts.completed, job.counts.failed, flush=True)
allowed = True
job.retry()
print(job.result(60), nbf.map(square_async, range(3)).result(60), flush=True)
gate = threading.Event()
held = nbf.options(workers=2).map(lambda x: gate.wait(60), range(20))
while held.counts.running < 2:
    time.sleep(0.01)
held.cancel()
gate.set()
print(held.wait(60), held.counts.completed, held.counts.cancelled, flush=True)
late = nbf.options(workers=1, timeout=0.2).map(lambda x: [None for _ in iter(int, 1)] if x else x, range(2))
print(late.wait(60), [type(one.error).__name__ for one in late.outcomes()], flush=True)
job._run.thread.join(60)
print(job.snapshot.note, job.url, flush=True)
try:
    nbf.map(task(square), [1]).result(60)
except Exception as error:
    print(type(error).__name__, flush=True)
"""


def test_plain_functions_run_where_no_prefect_server_answers_and_the_job_says_that_it_is_not_recorded(start_kernel):
    kernel = start_kernel(UNREACHABLE, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert kernel.read() == "True 5 1"
    assert kernel.read() == "[0, 1, 4, 9, 16, 25] [0, 1, 4]"
    assert kernel.read() == "True 2 18"
    assert kernel.read() == "True ['NoneType', 'ItemTimeoutError']"
    note = kernel.read()
    assert note.startswith("not recorded in Prefect: The Prefect server at PREFECT_API_URL=http://127.0.0.1:9/api does")
    assert note.endswith(" None")
    assert kernel.read() == "ServerUnreachableError"
    assert kernel.end() == (0, [])


HELD = """
import threading, time
import nbfutures as nbf
from nbfutures.prefect.session import Session

there = threading.Event()
wait = Session.wait_until_ready
Session.wait_until_ready = lambda self, stop=None: (there.wait(), wait(self, stop))
go_on = threading.Event()

def double(x):
    if x >= 10:
        go_on.wait(100)
        time.sleep(0.01)
    return x * 2

first = nbf.options(name="first").map(lambda x: x * 2, range(20))
print(first.result(60)[-1], first.url, flush=True)
second = nbf.options(name="second", workers=2, batch=1).map(double, range(100))
while second.counts.completed < 10:
    time.sleep(0.01)
there.set()
while second.url is None:
    time.sleep(0.01)
go_on.set()
print(second.result(100)[-1], flush=True)
for job in (first, second):
    job._run.thread.join(100)
    print(job._run.flow_run_id, flush=True)
runs = [outcome.task_run_id is not None for outcome in second.outcomes()]
print(runs[0], runs[-1], flush=True)
"""


def test_what_ran_before_prefect_was_there_is_in_its_record_and_the_rest_runs_in_task_runs(start_kernel):
    kernel = start_kernel(HELD)
    assert kernel.read() == "38 None", "no flow run is waited for"
    assert kernel.read() == "198"
    ids = [kernel.read(), kernel.read()]
    assert kernel.read() == "False True"
    assert kernel.end() == (0, [])
    with get_client(sync_client=True) as client:
        first, second = (eventually(lambda one=one: _ended(client, one)) for one in ids)
    assert first.name == "first"
    assert first.state.message.startswith("20 completed; ran ")
    assert first.state.message.endswith(", before Prefect was there")
    assert second.state.message == "100 completed"


def _ended(client, flow_run_id):
    found = client.read_flow_run(flow_run_id)
    return found if found.state.is_final() else None


USES_PREFECT = """
import nbfutures as nbf
from prefect import get_run_logger, task

@task
def inner(x):
    return x + 1

def outer(x):
    get_run_logger().info("in a run")
    return inner(x)

job = nbf.map(outer, range(3))
print(repr(job).splitlines()[1:2], flush=True)
print(job.result(200), flush=True)
"""


def test_a_function_that_uses_prefect_waits_for_it_and_has_its_context(start_kernel):
    kernel = start_kernel(USES_PREFECT)
    assert "outer uses Prefect (inner), which is starting" in kernel.read()
    assert kernel.read() == "[1, 2, 3]"
    assert kernel.end()[0] == 0


# --- what refers to Prefect -------------------------------------------------------------------------------------------


@task
def nested(x):
    return x


table = {"a": [1, 2]}
users_module = types.ModuleType("users_module")
users_module.load = nested


def calls_a_task(x):
    return nested(x)


def calls_one_that_does(x):
    return calls_a_task(x)


def logs(x):
    get_run_logger().info(x)


def takes_a_slot(x):
    with concurrency("db"):
        return x


def imports_inside(x):
    from prefect.logging import get_run_logger as get

    get().info(x)


def imports_by_name(x):
    return __import__("prefect").__version__


def uses_a_module_that_does(x):
    return users_module.load(x)


def in_a_comprehension(xs):
    return [nested(x) for x in xs]


def starts_jobs(x):
    return nbf.map(abs, [x]).result()


def with_default(x, by=nested):
    return by(x)


def closure():
    by = nested.with_options(name="by")
    return lambda x: by(x) + 1


def decorated():
    @functools.wraps(calls_a_task)
    def wrapped(x):
        return x

    return wrapped


class Loader:
    def __init__(self):
        self.by = nested

    def load(self, x):
        return x

    def __call__(self, x):
        return self.help(x)

    def help(self, x):
        return get_run_logger()


class Plain:
    def __init__(self, size=3):
        self.size = size

    def load(self, x):
        return math.sqrt(x) + self.size + len(table["a"])


async def plain_async(x):
    await asyncio.sleep(0)
    logging.getLogger(__name__).info("%s", os.getpid())
    return list(range(x))


@pytest.mark.parametrize(
    "fn",
    [
        *(calls_a_task, calls_one_that_does, logs, takes_a_slot, imports_inside, imports_by_name),
        *(uses_a_module_that_does, in_a_comprehension, starts_jobs, with_default, closure(), decorated()),
        *(Loader().load, Loader(), Loader, functools.partial(abs, nested), functools.partial(logs), flow(logs), nested),
        *(lambda x: nested(x) + 1, lambda x: prefect.runtime.flow_run.id),
    ],
    ids=str,
)
def test_a_function_that_refers_to_prefect_is_found(fn):
    assert what_needs_prefect(fn)


@pytest.mark.parametrize(
    "fn",
    [
        *(abs, len, print, math.sqrt, str.upper, "text".upper, int, plain_async, Plain().load, Plain),
        *(functools.partial(pow, 2), lambda x: x + len(table), lambda x: Plain(x).load(x), asyncio.sleep, os.path.join),
    ],
    ids=str,
)
def test_a_function_that_does_not_is_not(fn):
    assert what_needs_prefect(fn) is None


def test_names_of_attributes_are_not_those_of_globals():
    namespace = {"wait": nested}
    exec("def fn(x): return x.wait()", namespace)
    assert what_needs_prefect(namespace["fn"]) is None


def test_an_argument_that_is_prefects_counts_too():
    assert what_needs_prefect(lambda call: call(1), nested) == "nested"
    assert what_needs_prefect(lambda call: call(1), abs) is None


class AnswersToAll:
    @property
    def __dict__(self):
        raise AssertionError("asked")

    def __getattr__(self, name):
        raise AssertionError(name)


def test_objects_are_not_asked_for_attributes():
    assert what_needs_prefect(lambda x: x, AnswersToAll()) is None
