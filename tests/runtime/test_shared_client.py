"""One client of Prefect's for all flow runs of a kernel."""

from __future__ import annotations

import threading

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, temporary_settings
from tests.support import eventually

import nbfutures as nbf
from nbfutures.prefect.flow_runs.summaries import flush_summaries
from nbfutures.prefect.shared_client import close_client, shared_client


@pytest.fixture
def made(monkeypatch, server):
    """The clients that Prefect makes from now on."""
    # What earlier jobs still have to tell Prefect takes a client, too.
    for run in server.jobs:
        if run.thread is not None:
            run.thread.join(120)
    flush_summaries(30)
    clients = []
    original = SyncPrefectClient.__init__

    def note(self, *args, **kwargs):
        clients.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(SyncPrefectClient, "__init__", note)
    close_client()
    yield clients
    close_client()


def test_jobs_share_a_client(made):
    jobs = [nbf.map(abs, [-1, -2]) for _ in range(4)]
    assert [job.result(120) for job in jobs] == [[1, 2]] * 4
    assert len(made) == 1


def test_a_client_that_is_let_go_of_serves_those_who_have_it(made, gate):
    job = nbf.map(gate, range(2))
    gate.wait_for(1)
    close_client()
    assert nbf.map(abs, [-1]).result(120) == [1]
    assert len(made) == 2
    gate.open()
    assert job.result(120) == [0, 1]
    job._run.thread.join(120)
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(job._run.flow_run_id).state.is_completed()


def test_it_closes_with_its_last_user(made):
    inside, over = threading.Event(), threading.Event()

    def use():
        with shared_client():
            inside.set()
            over.wait(120)

    user = threading.Thread(target=use)
    user.start()
    assert inside.wait(120)
    close_client()
    with shared_client() as fresh:
        assert fresh.api_healthcheck() is None
        assert made[0].api_healthcheck() is None
    over.set()
    user.join(120)
    # Another thread of the session may use it for a moment.
    eventually(lambda: isinstance(made[0].api_healthcheck(), RuntimeError))


def test_other_settings_get_a_client_of_their_own(made):
    with shared_client() as first, temporary_settings({PREFECT_API_REQUEST_TIMEOUT: 7}), shared_client() as inner:
        assert inner is first, "Prefect's rule: the client of the context"
    with temporary_settings({PREFECT_API_REQUEST_TIMEOUT: 7}), shared_client() as other:
        assert other is not first


def test_settings_that_are_equal_share_a_client_whichever_copy_they_are(made):
    for _ in range(3):
        with temporary_settings({PREFECT_API_REQUEST_TIMEOUT: 7}), shared_client():
            pass
    assert len(made) == 1


def test_a_database_that_is_locked_for_a_moment_does_not_hold_up_a_job(made, monkeypatch):
    assert nbf.map(abs, [-1]).result(120) == [1]
    (client,) = made
    original, slept = client._client._transport.handle_request, []
    refused = iter([True] * 3)

    def locked(request):
        if request.method == "POST" and next(refused, False):
            return httpx.Response(503, request=request)
        return original(request)

    monkeypatch.setattr(client._client._transport, "handle_request", locked)
    monkeypatch.setattr("prefect.client.base.time.sleep", slept.append)
    assert nbf.map(abs, [-1]).result(120) == [1]
    assert len(slept) >= 3
    assert sum(slept) < 1, "Prefect alone pauses 2 s and more"
