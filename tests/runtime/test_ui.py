"""Where a browser finds Prefect's interface."""

from __future__ import annotations

import urllib.request
import uuid
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from nbfutures.model.ui_place import LOGIN_PAGE, UiPlace
from nbfutures.prefect.server import server_state
from nbfutures.prefect.server.health import check_health
from nbfutures.prefect.server.supervisor import server_environment
from nbfutures.prefect.ui import flow_run_path, ui_place

HUB = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/"}


def record(tmp_path, environment, port=20_123):
    return server_state.ServerRecord(
        id="test",
        pid=1,
        port=port,
        api_url=server_state.api_url(port, environment),
        ui_url=server_state.ui_url(port, environment),
        auth="nbfutures:the-secret",
        log=str(tmp_path / "log"),
        log_start=0,
        loopback="",
    )


@dataclass
class Session:
    """What is connected to a server that was started in some environment."""

    lease: object


def connected(tmp_path, environment):
    made = record(tmp_path, environment)
    return Session(SimpleNamespace(address=made, state=tmp_path)), made


def place(tmp_path, environment, **settings):
    session, made = connected(tmp_path, environment)
    with temporary_settings({PREFECT_API_URL: made.api_url, **settings}):
        return ui_place(session)


def test_the_local_server_is_found_directly(tmp_path):
    assert place(tmp_path, {}) == UiPlace("http://127.0.0.1:20123/")
    made = server_environment(tmp_path, record(tmp_path, {}), {})
    assert made["PREFECT_SERVER_UI_API_URL"] == "/api"
    assert made["PREFECT_SERVER_UI_SERVE_BASE"] == "/"


def test_on_a_hub_it_is_found_through_jupyters_server_at_a_path_without_a_host(tmp_path):
    base = "/user/ada/proxy/absolute/20123"
    assert place(tmp_path, HUB).page("runs") == f"{base}/runs"
    made = record(tmp_path, HUB)
    assert made.api_url == f"http://127.0.0.1:20123{base}/api"
    environment = server_environment(tmp_path, made, HUB)
    assert environment["PREFECT_SERVER_UI_SERVE_BASE"] == base
    assert environment["PREFECT_SERVER_API_BASE_PATH"] == f"{base}/api"
    assert environment["PREFECT_SERVER_UI_API_URL"] == f"{base}/api"


def test_a_hub_that_says_its_address_gives_whole_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", "https://hub.example/user/ada/")
    assert place(tmp_path, HUB).address == "https://hub.example/user/ada/proxy/absolute/20123/"


def test_a_base_that_the_user_has_set_is_kept(tmp_path):
    theirs = {**HUB, "PREFECT_SERVER_UI_SERVE_BASE": "/x", "PREFECT_SERVER_API_BASE_PATH": "/x/api"}
    assert place(tmp_path, theirs).address == "http://127.0.0.1:20123/x/"
    made = server_environment(tmp_path, record(tmp_path, theirs), theirs)
    assert (made["PREFECT_SERVER_UI_SERVE_BASE"], made["PREFECT_SERVER_UI_API_URL"]) == ("/x", "/x/api")


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({PREFECT_API_URL: "http://prefect.example:4200/api"}, "http://prefect.example:4200/"),
        (
            {PREFECT_API_URL: "https://api.prefect.cloud/api/accounts/1/workspaces/2"},
            "https://app.prefect.cloud/account/1/workspace/2/",
        ),
        (
            {PREFECT_API_URL: "http://a/api", PREFECT_UI_URL: "https://prefect.example/ui"},
            "https://prefect.example/ui/",
        ),
    ],
)
def test_a_server_of_the_users_is_linked_to_and_gets_no_password_of_ours(settings, address):
    with temporary_settings(settings):
        found = ui_place(Session(None))
    assert found == UiPlace(address)
    assert found.login("runs/1") == f"{address}runs/1"


def test_addresses_of_flow_runs():
    run = uuid.uuid4()
    there = UiPlace("/a/", has_login_page=True)
    assert there.page(flow_run_path(run)) == f"/a/runs/flow-run/{run}"
    assert there.login(flow_run_path(run)) == f"/a/{LOGIN_PAGE}#runs/flow-run/{run}"


def test_the_local_server_has_a_login_page_and_no_address_has_the_secret(server):
    found = ui_place(server)
    assert found.has_login_page
    with urllib.request.urlopen(found.login("runs").partition("#")[0], timeout=120) as answer:
        page = answer.read().decode()
    assert "postMessage" in page
    _user, _, secret = server.lease.address.auth.partition(":")
    assert secret not in page
    assert secret not in found.login("runs")
    assert secret not in repr(found)
    assert check_health(server.api_url, 10).ok
