"""Prefect's interface: where a browser finds it, and the page that logs in whoever comes from a notebook."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from nbfutures.model.ui_place import LOGIN_PAGE, UiPlace
from nbfutures.prefect.server import server_state

if TYPE_CHECKING:
    from uuid import UUID

    from nbfutures.engine.contracts import Connected

__all__ = ["flow_run_path", "ui_password", "ui_place"]

_PAGE = Path(__file__).with_name("login.html")


def ui_place(session: Connected) -> UiPlace | None:
    """Return where a browser finds the interface of the session's Prefect; `None` if it has none.

    The session has to be ready.
    """
    from prefect.settings import PREFECT_UI_URL

    url = PREFECT_UI_URL.value()
    if not url:
        return None
    lease = session.lease
    if lease is None or os.environ.get("PREFECT_UI_URL"):
        return UiPlace(f"{str(url).rstrip('/')}/")
    parts = urllib.parse.urlsplit(lease.address.ui_url)
    path = f"{parts.path.rstrip('/')}/"
    # Read by its path, not by this kernel's environment: another kernel may have started the server.
    is_proxied = path.endswith(f"/proxy/absolute/{parts.port}/")
    host = _public_host() if is_proxied else f"{parts.scheme}://{parts.netloc}"
    return UiPlace(f"{host}{path}", has_login_page=_has_login_page(lease.state))


def _public_host() -> str:
    """Return the address of the JupyterHub that this runs in, without a path; nothing where that is not known."""
    parts = urllib.parse.urlsplit(os.environ.get("JUPYTERHUB_PUBLIC_URL", ""))
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def ui_password(session: Connected) -> str | None:
    """Return what the login of the local server's interface asks for. A secret: not for outputs, addresses or logs."""
    return session.lease.address.auth if session.lease is not None else None


def flow_run_path(flow_run_id: UUID) -> str:
    """Return the path of a flow run's page in Prefect's interface."""
    return f"runs/flow-run/{flow_run_id}"


def _has_login_page(state: Path) -> bool:
    """Tell whether the login page is beside the files of the interface, and put it there if it can be.

    The server writes those files as it starts, without it.

    Args:
        state: The state directory.
    """
    folder = server_state.ui_directory(state) / "v1"
    wanted = _PAGE.read_bytes()
    try:
        page = folder / LOGIN_PAGE
        if not page.exists() or page.read_bytes() != wanted:
            if not (folder / "index.html").exists():
                # The user has the interface in a directory of their own.
                return False
            new = folder / f".{LOGIN_PAGE}.{os.getpid()}"
            new.write_bytes(wanted)
            new.replace(page)
    except OSError:
        return False
    return True
