"""Prefect's settings as nbfutures needs them, for this process and its children; taken back on request."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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

    def apply(self, *, api_url: str | None = None, auth: str | None = None) -> None:
        """Set what nbfutures needs; a value that the user has set stays.

        Args:
            api_url: The local server's API; `None` where the user has chosen one.
            auth: `user:password` for it.
        """
        wanted = {name: value for name, value in _QUIET.items() if name not in os.environ} | quiet_logging()
        if api_url is not None:
            wanted["PREFECT_API_URL"] = api_url
            # One request less for each client that Prefect makes, which is one for each flow run; the secret guards it.
            wanted["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = os.environ.get(
                "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false"
            )
            wanted["DO_NOT_TRACK"] = os.environ.get("DO_NOT_TRACK", "1")
            if any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ):
                # Prefect's clients would ask the proxy for this machine's loopback interface.
                present = os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))
                wanted["NO_PROXY"] = ",".join(filter(None, [present, "127.0.0.1", "localhost"]))
        if auth is not None:
            wanted["PREFECT_API_AUTH_STRING"] = auth
        for name, value in wanted.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value
        _refresh()

    def restore(self) -> None:
        """Give back the environment as it was."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
        _refresh()


def _refresh() -> None:
    # Prefect reads the environment when it is imported; if it was imported before, it has to read it again.
    # Asked by attribute: another thread may be in the middle of importing Prefect, which reads the environment itself.
    refresh = getattr(sys.modules.get("prefect.context"), "refresh_global_settings_context", None)
    if refresh is not None:
        refresh()
