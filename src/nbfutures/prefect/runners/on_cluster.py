"""What the runners on Dask and on Ray have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from nbfutures.engine.workers.mailbox import MailPost

__all__ = ["OnCluster"]


class _Cluster(Protocol):
    post: MailPost

    @property
    def is_local(self) -> bool: ...

    @property
    def dashboard(self) -> str | None: ...


class OnCluster:
    """A runner on a cluster that stays connected between jobs; beside one of Prefect's, which it comes before."""

    cluster: _Cluster
    cluster_name: str
    """What people call the cluster: "Dask"."""
    has_own_processes = False

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def duplicate(self) -> Self:
        """Return another runner on the same cluster."""
        return type(self)(self.cluster)  # type: ignore[call-arg]  # as both take it

    @property
    def kind(self) -> str:
        """What people call a worker."""
        return f"{self.cluster_name} worker"

    @property
    def post(self) -> MailPost:
        """Where the workers reach the kernel."""
        return self.cluster.post

    @property
    def is_local(self) -> bool:
        """Whether the workers were started by this kernel."""
        return self.cluster.is_local

    def is_stopped(self, future: object) -> bool:  # noqa: ARG002 - as every runner's
        """Return `False`: the cluster looks after its workers."""
        return False

    @property
    def dashboard(self) -> tuple[str, str] | None:
        """What its dashboard is called, and its address."""
        link = self.cluster.dashboard
        return (f"{self.cluster_name} dashboard", link) if link else None
