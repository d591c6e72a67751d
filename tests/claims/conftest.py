"""The claims are checked as a notebook would, on the real server."""

from __future__ import annotations

import pytest
from tests.claims.proxy import Proxy


@pytest.fixture(autouse=True)
def on_the_real_server(server):
    return server


@pytest.fixture
def proxy(server):
    """A way to the server that can be disturbed."""
    with Proxy(server.api_url) as made:
        yield made
