"""Prefect's interface, from the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.api.brief_errors import with_brief_errors
from nbfutures.errors import NbfuturesError
from nbfutures.prefect.session import get_session
from nbfutures.prefect.ui import flow_run_path, ui_password, ui_place
from nbfutures.views.dashboard.view import DashboardView

if TYPE_CHECKING:
    from nbfutures.api.job import Job
    from nbfutures.model.ui_place import UiPlace

__all__ = ["dashboard"]


@with_brief_errors
def dashboard(job: Job | None = None) -> DashboardView:
    """Show Prefect's interface below the cell, or a link to it. Does not block: it appears once Prefect answers.

    The local server's interface is shown in the notebook, logged in: directly where the browser is on the same machine,
    and through jupyter-server-proxy on JupyterHub and Binder (`pip install jupyter-server-proxy` beside JupyterLab).
    The password goes from the kernel to Prefect's page, which keeps it in the browser as Prefect's own login does. It
    is never in an address, in an output or in the notebook.

    Of a server of your own (`PREFECT_API_URL`) and of Prefect Cloud there is a link: to `PREFECT_UI_URL`, if it is set.

    Args:
        job: The job whose run to show; if not given, Prefect's first page.

    Returns:
        What shows itself as the last line of a cell; its `url` is the page's address.

    Raises:
        NbfuturesError: If the job has no flow run (yet).

    Examples:
        >>> nbf.dashboard()
        >>> nbf.dashboard(job)
    """
    session = get_session()
    path = ""
    if job is not None:
        if job._run.flow_run_id is None:
            raise NbfuturesError(
                "The job has no flow run in Prefect yet: wait until it runs, then ask again. Jobs of futures that "
                "other code made (track) have none of their own."
            )
        path = flow_run_path(job._run.flow_run_id)

    def find() -> UiPlace | None:
        session.wait_until_ready()
        return ui_place(session)

    return DashboardView(find, lambda: ui_password(session), path)
