"""What runs of a deployment now."""

from __future__ import annotations

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from nbfutures.prefect.shared_client import shared_client

__all__ = ["running_flow_runs"]


def running_flow_runs(name: str) -> list[str]:
    """Return the names of the flow runs of a deployment that are running. Blocks; asks Prefect.

    Args:
        name: "flow/name".
    """
    with shared_client() as client:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            return []
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
            ),
        )
    return sorted(one.name for one in found)
