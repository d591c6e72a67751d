"""The settings that the local Prefect server runs with."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Final

from nbfutures.runtime.prefect_logging import with_prefects_own_logging
from nbfutures.runtime.server import server_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["server_environment"]

# Settings that make Prefect's server fit for one user and thousands of short task runs. Each is a default: it is set
# if none of its names, the first of which is the current one, is in the environment.
_DEFAULTS: Final[Mapping[tuple[str, ...], str]] = {
    # One transaction for each task run event cannot keep up with a fan-out: events are dropped.
    ("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE",): "200",
    ("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL",): "1",
    # The feed of events and automations cost most of the server's time, and notebooks use neither.
    (
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED",
        "PREFECT_API_SERVICES_EVENT_PERSISTER_ENABLED",
    ): "false",
    ("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "PREFECT_API_SERVICES_TRIGGERS_ENABLED"): "false",
    # A lease that is kept in memory is lost with the server, and its slots of a limit would be taken for ever.
    ("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",): "prefect.server.concurrency.lease_storage.filesystem",
    # How often it looks for leases whose holder has died.
    ("PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS",): "5",
    # How long Prefect's `concurrency()` and its tasks with tags wait before they ask again for a slot: one of each
    # process asks at a time, so that a notebook need not wait half a minute for a slot that is free.
    ("PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS",): "0.5",
    (
        "PREFECT_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS",
        "PREFECT_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS",
    ): "0.5",
    # The new user interface asks an analytics host.
    ("PREFECT_SERVER_UI_V2_ENABLED",): "false",
    ("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT",): "false",
    ("PREFECT_SERVER_LOGGING_LEVEL", "PREFECT_LOGGING_SERVER_LEVEL"): "WARNING",
}
_DATABASE_NAMES: Final = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
_UI_DIRECTORY_NAMES: Final = ("PREFECT_SERVER_UI_STATIC_DIRECTORY", "PREFECT_UI_STATIC_DIRECTORY")
_UI_BASE_NAMES: Final = ("PREFECT_SERVER_UI_SERVE_BASE", "PREFECT_UI_SERVE_BASE")
_API_BASE_NAMES: Final = ("PREFECT_SERVER_API_BASE_PATH",)
_UI_API_NAMES: Final = ("PREFECT_SERVER_UI_API_URL", "PREFECT_UI_API_URL")
# About another server, about the user's profile, or about colours: a kernel asks for them even in files, and with
# them Prefect believes that it may ask questions.
_REMOVED: Final = (
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
)


def server_environment(
    state: Path, record: server_state.ServerRecord, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment that the server is started with; its secret is not in it, the server reads the record.

    Args:
        state: The state directory.
        record: Port and addresses.
        environment: The supervisor's own. Tuning settings in it are kept; what guards the server and keeps it from
            reporting to others is not up to it.
    """
    kept = with_prefects_own_logging(environment)
    server = {name: value for name, value in kept.items() if name not in _REMOVED}
    defaults = {
        **_DEFAULTS,
        _DATABASE_NAMES: f"sqlite+aiosqlite:///{server_state.database_file(state)}",
        # By default the built interface goes into the installed package, which may be read-only or shared.
        _UI_DIRECTORY_NAMES: str(server_state.ui_directory(state)),
        # Without a host: a browser may know this machine by another name, or reach it by way of Jupyter's server.
        _UI_API_NAMES: urllib.parse.urlsplit(record.api_url).path,
        _UI_BASE_NAMES: urllib.parse.urlsplit(record.ui_url).path,
        _API_BASE_NAMES: urllib.parse.urlsplit(record.api_url).path,
    }
    for names, value in defaults.items():
        if not any(name in server for name in names):
            server[names[0]] = value
    server |= {
        # Not the user's: its profiles and settings are for clients, and other servers use it too.
        "PREFECT_HOME": str(state / "home"),
        "PREFECT_SERVER_API_HOST": server_state.LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(record.port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "NO_COLOR": "1",
    }
    return server
