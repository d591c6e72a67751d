"""Every test here uses the api as a notebook does, on the real server."""

from __future__ import annotations

import asyncio
import functools
import logging

import pytest
from prefect import task
from tests.support import end_jobs

import nbfutures as nbf


@pytest.fixture(autouse=True)
def jobs(server):
    """The session's jobs; none is left running by a test."""
    yield server.jobs
    end_jobs(server)


@pytest.fixture
def join(jobs):
    """Wait until Prefect knows how the flow runs of all jobs so far ended."""

    def join():
        for run in jobs:
            if run.thread is not None:
                run.thread.join(120)
                assert not run.thread.is_alive()

    return join


@pytest.fixture
def no_limits(jobs):
    """No test finds limits of another one."""
    yield
    for one in nbf.limits().itertuples():
        nbf.delete_limit(one.limit, tag=one.kind == "tag")


_warm_runners = set()
"""Those that have started: a cluster takes its time, and more on a busy machine."""


def _warm(name):
    submitter = nbf.options(runner=name, workers=2)
    if name not in _warm_runners:
        _warm_runners.add(name)
        assert submitter.map(abs, [-1, -2, -3]).result(240) == [1, 2, 3]
    return submitter


@pytest.fixture(params=["threads", "processes", "dask", "ray", "inline"])
def runner(request):
    """A submitter with two workers of each kind, where there can be two, which have started."""
    return _warm(request.param)


@pytest.fixture(params=["threads", "processes", "dask", "ray"])
def background(request):
    """As `runner`; those with which the test goes on while items run."""
    return _warm(request.param)


@pytest.fixture(params=["processes", "dask", "ray"])
def remote(request):
    """As `runner`; those whose items run in other processes."""
    return _warm(request.param)


class Kind:
    """A kind of function that a job can call."""

    def __init__(self, name, *, is_async, is_task):
        self.name = name
        self.is_async = is_async
        self.is_task = is_task

    def __call__(self, fn):
        """Return a function of this kind that does what `fn`, a plain one, does."""
        made = fn
        if self.is_async:

            @functools.wraps(fn)
            async def made(*args, **kwargs):
                await asyncio.sleep(0)
                return fn(*args, **kwargs)

        return task(made) if self.is_task else made

    def gated(self, gate):
        """Return a function of this kind that waits in the gate."""
        made = gate.pass_async if self.is_async else gate.__call__

        if self.is_async:

            async def pass_gate(x):
                return await made(x)
        else:

            def pass_gate(x):
                return made(x)

        return task(pass_gate) if self.is_task else pass_gate


KINDS = [
    Kind("function", is_async=False, is_task=False),
    Kind("async function", is_async=True, is_task=False),
    Kind("task", is_async=False, is_task=True),
    Kind("async task", is_async=True, is_task=True),
]


def pytest_configure(config):
    config.addinivalue_line("markers", "kinds(*names): which kinds of functions the parameter `kind` stands for")


def pytest_generate_tests(metafunc):
    # A parameter of this name runs the test with each kind of function, or with those that the test is marked with.
    if "kind" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("kinds")
        kinds = [kind for kind in KINDS if marker is None or kind.name in marker.args]
        metafunc.parametrize("kind", kinds, ids=[kind.name for kind in kinds])


@pytest.fixture
def requests_to_prefect():
    """The requests to Prefect's API from now on, as httpx logs them."""
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    logger, handler = logging.getLogger("httpx"), Handler(logging.INFO)
    before = logger.level, logger.disabled
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.disabled = False
    yield seen
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.disabled = before[1]
