"""One Prefect server for the whole run of the tests, apart from the user's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# `from tests.support import ...` works however pytest is started.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


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
        if "nbfutures.runtime.session" in sys.modules:
            _end_session()


def _end_session():
    """End the jobs while the server is still there for their last states; it stops by itself, after this process."""
    from nbfutures import api
    from nbfutures.runtime.session import get_session

    for run in get_session().jobs:
        run.cancel()
        if run.thread is not None:
            run.thread.join(30)
    api.close()


@pytest.fixture(scope="session")
def server(user):
    """The session of this process, connected to the embedded Prefect server that all tests share."""
    from nbfutures.runtime.session import get_session

    session = get_session()
    session.wait_until_ready()
    return session


@pytest.fixture(scope="session")
def kernel_environment(user):
    """The environment of another kernel of the same user: it has to find the server by itself."""
    dropped = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL")
    return {name: value for name, value in os.environ.items() if name not in dropped}
