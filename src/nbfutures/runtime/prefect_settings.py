"""Prefect's settings as nbfutures needs them, for this process and its children; taken back on request."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbfutures.runtime.server.lease import ServerAddress

from nbfutures.runtime.prefect_logging import quiet_logging

__all__ = ["ProcessSettings", "configured_api_url"]

_QUIET = {
    # A task that a cell calls outside of any flow has no run to keep its log lines: a warning for each of them.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def configured_api_url() -> str | None:
    """Return the API URL that the user has chosen, by environment or by Prefect's profile; `None` if there is none.

    Imports Prefect only where its profiles mention an API.
    """
    url = os.environ.get("PREFECT_API_URL")
    if url:
        return url
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if not any(map(_may_set_api, (profiles, *map(Path, ("prefect.toml", "pyproject.toml", ".env"))))):
        return None
    from prefect.settings import PREFECT_API_URL

    chosen = PREFECT_API_URL.value()
    return str(chosen) if chosen else None


def _may_set_api(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
    return "prefect_api_url" in text or (file.name in ("prefect.toml", "pyproject.toml") and "api]" in text)


class ProcessSettings:
    """Settings of Prefect that this process runs with."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}
        self._profiles: Path | None = None

    def apply(self) -> None:
        """Have Prefect be quiet; what the user has set stays."""
        self._set({name: value for name, value in _QUIET.items() if name not in os.environ} | quiet_logging())
        _refresh()

    def connect(self, address: ServerAddress, state: Path) -> None:
        """Have Prefect use the local server, in this process and in those that it starts.

        Args:
            address: Where the server is.
            state: Its state directory.
        """
        private = importlib.import_module("nbfutures.runtime.private_settings")
        self._profiles = private.write_profiles(state, address.auth)
        wanted: dict[str, str | None] = {
            "PREFECT_API_URL": address.api_url,
            "PREFECT_PROFILES_PATH": str(self._profiles),
            # It would come before that of the profiles.
            "PREFECT_API_AUTH_STRING": None,
            # One request less for each client that Prefect makes, which is one for each flow run; the secret guards it.
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": os.environ.get("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false"),
            # It is of the same version. A worker process would ask at its start, and give up if the server is away.
            "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": os.environ.get(
                "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false"
            ),
            "DO_NOT_TRACK": os.environ.get("DO_NOT_TRACK", "1"),
        }
        if any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ):
            # Prefect's clients would ask the proxy for this machine's loopback interface.
            present = os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))
            wanted["NO_PROXY"] = ",".join(filter(None, [present, "127.0.0.1", "localhost"]))
        self._set(wanted)
        _refresh()
        private.keep_secret(address.auth)

    def restore(self) -> None:
        """Give back the environment as it was."""
        self._set(self._before)
        self._before.clear()
        _refresh()
        profiles, self._profiles = self._profiles, None
        if profiles is not None:
            importlib.import_module("nbfutures.runtime.private_settings").give_back(profiles)

    def _set(self, wanted: Mapping[str, str | None]) -> None:
        for name, value in list(wanted.items()):
            self._before.setdefault(name, os.environ.get(name))
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _refresh() -> None:
    # Prefect reads the environment when it is imported; if it was imported before, it has to read it again.
    # Asked by attribute: another thread may be in the middle of importing Prefect, which reads the environment itself.
    refresh = getattr(sys.modules.get("prefect.context"), "refresh_global_settings_context", None)
    if refresh is not None:
        refresh()
