"""A session that is closed while it starts, and started again."""

from __future__ import annotations

import threading

import pytest
from tests.support import eventually

from nbfutures.errors import ServerStartError
from nbfutures.prefect import session as session_module
from nbfutures.prefect import shared_client
from nbfutures.prefect.session import Session


@pytest.fixture
def starts(monkeypatch):
    """What the starts of a session wait for, in order; nothing is connected to."""
    gates = [threading.Event(), threading.Event()]
    waiting = iter(gates)

    def connect(self, closing):
        next(waiting).wait(120)
        if closing.is_set():
            raise ServerStartError("closed")

    monkeypatch.setattr(Session, "_connect", connect)
    monkeypatch.setattr(shared_client, "warm_client", lambda: None)
    monkeypatch.setattr(shared_client, "close_client", lambda: None)
    monkeypatch.setattr(session_module, "_WARM", ())
    yield gates
    for gate in gates:
        gate.set()


def test_a_start_that_was_closed_does_not_say_how_the_next_one_went(starts):
    session = Session()
    session.start()
    first = session._starter
    session.close()
    session.start()
    starts[0].set()
    eventually(lambda: not first.is_alive())
    assert not session.ready.is_set()
    starts[1].set()
    session.wait_until_ready()
    assert session.error is None
    session.close()


def test_who_waits_for_a_start_that_is_closed_is_told(starts):
    session = Session()
    session.start()
    session.close()
    starts[0].set()
    assert session.ready.wait(120)
    assert isinstance(session.error, ServerStartError)
