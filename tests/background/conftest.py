"""Background tasks on real workers, with tasks that are defined in a notebook."""

from __future__ import annotations

import pytest
from tests import file_gate
from tests.support import end_jobs

import nbfutures as nbf

gate = file_gate.gate
SOURCE = """
import os
import time
import uuid
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner

@task
def double(x):
    return 2 * x

@task
def pick(x):
    time.sleep(0.05)
    return os.getpid(), uuid.uuid4().hex

@task
def invert(x):
    return 1 / x

class OwnError(Exception):
    def __init__(self, number, *, text):
        super().__init__(f"{number}: {text}")

def raise_own(x):
    raise OwnError(x, text="own")

@task
def fail_deep(x):
    try:
        return 1 / (x - x)
    except ZeroDivisionError as error:
        raise_own(x)

@task
async def fail_async(x):
    raise_own(x)

@task
def fail_once(gate, x):
    if gate.note(x) == 1:
        raise ValueError("the first time")
    return x

@task
def wait_in(gate, x):
    return gate(x)

@task
async def double_async(x):
    return 2 * x

@task
def keep_lock(x):
    import threading
    return threading.Lock()

@task
def fail_with_lock(x):
    import threading
    class Bad(Exception):
        def __init__(self, told):
            super().__init__(told)
            self.lock = threading.Lock()
    raise Bad("no luck")

@task
def fall_silent(x):
    # The worker's events are lost for a second.
    import threading
    from prefect import task_engine
    name = "emit_task_run_state_change_event"
    told = getattr(task_engine, name)
    setattr(task_engine, name, lambda **_: None)
    threading.Timer(1.0, setattr, (task_engine, name, told)).start()
    return x

def triple(x):
    return 3 * x
"""


def define(source, **names):
    """Run a cell: what it defines is in no module."""
    namespace = {"__name__": "__main__", **names}
    exec(compile(source, "<cell>", "exec"), namespace)
    return namespace


class Notebook:
    def __init__(self):
        self.__dict__.update(define(SOURCE))


@pytest.fixture(scope="package")
def notebook():
    """What the cells of a notebook have defined."""
    return Notebook()


@pytest.fixture(scope="package")
def served(server, notebook):
    """Two worker processes that serve its tasks, each two items at once."""
    names = ["double", "pick", "invert", "fail_once", "wait_in", "double_async", "keep_lock", "fall_silent", "triple"]
    names += ["fail_deep", "fail_async", "fail_with_lock"]
    serving = nbf.serve(*(getattr(notebook, name) for name in names), workers=2, limit=2)
    assert serving.wait(240), serving
    yield serving
    serving.stop()


@pytest.fixture(autouse=True)
def jobs(server):
    """The session's jobs; none is left running by a test."""
    yield server.jobs
    end_jobs(server)


@pytest.fixture
def background():
    return nbf.options(background=True)
