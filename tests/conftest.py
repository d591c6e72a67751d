"""One Prefect server for the whole run of the tests, apart from the user's own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

# Ray's servers on loopback, where they need no token; read when Ray is imported.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

# A shell that runs tests in its background (`nohup make test &`) has them ignore interrupts, and what they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests import `tests.support`, however pytest is started.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.kernel import Kernel
from tests.support import eventually


def pytest_collection_modifyitems(items):
    # The server starts in the background while the tests run that do not need it.
    items.sort(key=_needs_server)


def _needs_server(item):
    return "server" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def user(request, tmp_path_factory):
    """A user of nbfutures and Prefect who has set nothing: the directories are new, the environment is clean."""
    from nbfutures import api

    directory = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PREFECT_", "NBFUTURES_")):
                patch.delenv(name)
        patch.setenv("NBFUTURES_HOME", str(directory / "nbfutures"))
        patch.setenv("NBFUTURES_SERVER_GRACE", "1")
        patch.setenv("PREFECT_HOME", str(directory / "prefect"))
        if any(map(_needs_server, request.session.items)):
            api.warm_up()
        yield directory
        if "nbfutures.prefect.session" in sys.modules:
            _end_session()


def _end_session():
    """End the jobs while the server is still there for their last states; it stops by itself, after this process."""
    from nbfutures import api
    from nbfutures.prefect.session import get_session

    for run in get_session().jobs:
        run.cancel()
        if run.thread is not None:
            run.thread.join(120)
    api.close()
    servers = sys.modules.get("prefect.server.api.server")
    # Prefect starts one where it is asked for anything without an address.
    assert servers is None or not servers.SubprocessASGIServer._instances, "a server of Prefect's own was started"


@pytest.fixture(scope="session")
def server(user):
    """The session of this process, connected to the embedded Prefect server that all tests share."""
    from nbfutures.prefect.session import get_session

    session = get_session()
    session.wait_until_ready()
    return session


@pytest.fixture(scope="session")
def kernel_environment(server):
    """The environment of another kernel of the same user: it has to find the server by itself."""
    return {
        name: value for name, value in os.environ.items() if name == "PREFECT_HOME" or not name.startswith("PREFECT_")
    }


@pytest.fixture
def start_kernel(kernel_environment):
    """Start another kernel of the same user; it has to find the server by itself, or is told of another."""
    kernels = []

    def start(code, **more):
        kernels.append(Kernel(code, {**kernel_environment, **more}))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.kill()


class Gate:
    """Items wait in it until it is opened; who came in is known."""

    def __init__(self):
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.came = []
        """Those who came in, in order."""
        self.inside = 0
        self.most = 0
        """How many were inside at once."""

    def _enter(self, x):
        with self._lock:
            self.came.append(x)
            self.inside += 1
            self.most = max(self.most, self.inside)

    def _leave(self):
        with self._lock:
            self.inside -= 1

    def __call__(self, x):
        """Wait, then return what was given."""
        self._enter(x)
        try:
            assert self._open.wait(600)
        finally:
            self._leave()
        return x

    async def pass_async(self, x):
        """The same without blocking the event loop."""
        self._enter(x)
        try:
            while not self._open.is_set():  # noqa: ASYNC110 - opened from another thread
                await asyncio.sleep(0.005)
        finally:
            self._leave()
        return x

    def wait_for(self, count):
        """Block until so many have come in."""
        eventually(lambda: len(self.came) >= count, interval=0.005)

    def open(self):
        self._open.set()


@pytest.fixture
def gate():
    """A gate, which is open in the end: no thread waits in it for ever."""
    made = Gate()
    yield made
    made.open()
