"""The errors that nbfutures raises; every message says what to do next."""

from __future__ import annotations

__all__ = [
    "DeploymentNotFoundError",
    "FlowCallError",
    "InvalidOptionError",
    "ItemCancelledError",
    "ItemExitedError",
    "ItemSkippedError",
    "ItemTimeoutError",
    "JobCrashedError",
    "LimitError",
    "MapArgumentsError",
    "NbfuturesError",
    "PicklingError",
    "ResultUnreadableError",
    "ServeError",
    "ServerStartError",
    "ServerUnreachableError",
    "UnknownLimitError",
    "WorkerDiedError",
]


class NbfuturesError(Exception):
    """Base of every error that nbfutures itself raises."""


class InvalidOptionError(NbfuturesError, ValueError):
    """An option has a value that it cannot take."""


class MapArgumentsError(NbfuturesError, TypeError):
    """The arguments do not fit the function, or there is nothing to map over."""


class FlowCallError(NbfuturesError, AttributeError):
    """A flow was used in a way that Prefect has for tasks only."""


class ItemCancelledError(NbfuturesError):
    """The item's result was asked for, but the item was cancelled."""


class ItemExitedError(NbfuturesError):
    """The item's result was asked for, but the item called `sys.exit`; its `SystemExit` is the cause."""


class ItemSkippedError(NbfuturesError):
    """The item's result was asked for, but the item did not run since what it depends on failed."""


class ItemTimeoutError(NbfuturesError, TimeoutError):
    """The item ran longer than its `timeout`."""


class JobCrashedError(NbfuturesError):
    """The job as a whole could not go on; its unfinished items were not run."""


class ServerStartError(NbfuturesError, RuntimeError):
    """The local Prefect server did not start."""


class ServerUnreachableError(NbfuturesError, ConnectionError):
    """The Prefect server that `PREFECT_API_URL` names does not answer."""


class ServerFailedError(NbfuturesError, RuntimeError):
    """The local Prefect server failed at what it was asked for, such as for a full disk."""


class LimitError(NbfuturesError):
    """A limit cannot be made, changed or used as it was asked for."""


class UnknownLimitError(LimitError, LookupError):
    """A limit is used that does not exist."""


class RunnerUnavailableError(NbfuturesError, ImportError):
    """What a runner needs is not installed."""


class ClusterUnreachableError(NbfuturesError, ConnectionError):
    """The Dask or Ray cluster that the user named does not answer."""


class DeploymentNotFoundError(NbfuturesError, LookupError):
    """Prefect has no deployment of that name."""


class ServeError(NbfuturesError, RuntimeError):
    """The process that serves a flow of the notebook did not start, or has ended."""


class PicklingError(NbfuturesError, TypeError):
    """A function, an argument or a value cannot be sent to or from another process."""

    problem = ""
    """What cannot be sent and why, without the advice; empty where the message does not name it."""


class ResultUnreadableError(NbfuturesError):
    """A background task ran, but what it returned is not in Prefect's result storage."""


class WorkerDiedError(NbfuturesError, RuntimeError):
    """The process or the cluster's worker that ran the item ended under it."""
