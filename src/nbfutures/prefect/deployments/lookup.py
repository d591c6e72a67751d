"""Finding a deployment by its name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.schemas.filters import FlowFilter, FlowFilterId
from prefect.exceptions import ObjectNotFound

from nbfutures.errors import DeploymentNotFoundError
from nbfutures.prefect.deployments import serving
from nbfutures.prefect.shared_client import shared_client

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    from nbfutures.engine.contracts import Run

__all__ = ["find_deployment"]

_LOOK_SECONDS = 0.2
_TOLD = 10
"""Names of deployments in an error, at most."""


def find_deployment(run: Run, name: str) -> DeploymentResponse:
    """Return a deployment, waiting for a flow of that name which this kernel is just starting to serve. Blocks.

    Args:
        run: The job; it says what it waits for, and its cancel ends the waiting.
        name: "flow/name", or the deployment's id.

    Raises:
        DeploymentNotFoundError: If there is none; it names those that there are.
        ServeError: If the process that is to serve it has ended.
    """
    _wait_for_serving(run, name)
    with shared_client() as client:
        try:
            if _is_id(name):
                return client.read_deployment(UUID(name))
            return client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise _not_found(client, name) from None


def _wait_for_serving(run: Run, name: str) -> None:
    served = serving.find_served(name)
    if served is None:
        return
    while served.is_starting and not run.stopped.is_set():
        run.state.set_note(f"starting to serve {name!r}: some ten seconds")
        served.wait_until_ready(_LOOK_SECONDS)
    run.state.set_note("")
    if not run.stopped.is_set():
        served.check()


def _not_found(client: SyncPrefectClient, name: str) -> DeploymentNotFoundError:
    known = _names(client)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    if not close and "_" in name:
        dashes = name.replace("_", "-")
        meant = f". Prefect writes the name of a flow with dashes: {dashes!r}. What was served just now is starting."
    if known:
        more = f" and {len(known) - _TOLD} more" if len(known) > _TOLD else ""
        there = f"Those that exist: {', '.join(known[:_TOLD])}{more}."
    else:
        there = "Prefect has none yet."
    return DeploymentNotFoundError(
        f"There is no deployment {name!r}{meant} {there} Serve a flow of this notebook: nbf.serve(my_flow, "
        f"name='nightly'), or deploy one with Prefect's flow.serve() or flow.deploy(). Then run job.retry()."
    )


def _names(client: SyncPrefectClient) -> list[str]:
    deployments = client.read_deployments()
    ids = sorted({one.flow_id for one in deployments})
    if not ids:
        return []
    flows = {flow.id: flow.name for flow in client.read_flows(flow_filter=FlowFilter(id=FlowFilterId(any_=ids)))}
    return sorted(f"{flows[one.flow_id]}/{one.name}" for one in deployments if one.flow_id in flows)


def _is_id(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True
