"""Worker processes for background tasks and for deployments: to start them, to look at them, to end them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nbfutures.api.brief_errors import with_brief_errors
from nbfutures.engine.calls.work import is_prefect_flow
from nbfutures.errors import InvalidOptionError, MapArgumentsError
from nbfutures.prefect.background import serving
from nbfutures.prefect.deployments import serving as deployments
from nbfutures.prefect.session import get_session
from nbfutures.views.serving import serving_text

if TYPE_CHECKING:
    from nbfutures.prefect.background.serving import Service, ServiceStatus
    from nbfutures.prefect.deployments.serving import ServedFlow

__all__ = ["Serving", "serve", "served_flows", "stop_serving"]

_LOOK_SECONDS = 0.05
_QUIET_SECONDS = 1.0
"""After which a cell that waits says so."""
_SERVED_SECONDS = 30.0


@with_brief_errors
def serve(
    *what: Any, name: str | None = None, workers: int | None = None, limit: int | None = None, keep: bool = False
) -> Serving | ServedFlow:
    """Start processes that run background tasks, or a deployment's flow; or tell who serves what.

    Of tasks, this does not block. Of a flow, it blocks until the deployment exists, so that the next cell finds it:
    some ten seconds, and 30 at most once Prefect answers.

    What is served may be defined in the notebook. It is served as it is now: after a change, serve it again, which
    takes the place of what was served under the same name. The processes end with the kernel, however it ends, unless
    they are kept.

    Args:
        *what: Prefect tasks, or functions, which become ones; or one flow. Nothing, to tell who serves what.
        name: For a flow, the name of the deployment, which is called "flow/name" then.
        workers: For tasks, how many processes, 1 if not given. For a flow, how many flow runs at once, each in a
            process of its own; the number of CPUs if not given.
        limit: For tasks, how many items each process runs at once; 10 if not given, as in Prefect.
        keep: Whether they outlive the kernel; `stop_serving` ends them.

    Returns:
        What shows what they do, and has `stop()`; that of tasks has `wait(timeout)`, too.

    Raises:
        MapArgumentsError: If something is neither task nor flow.
        InvalidOptionError: If an option has a value that it cannot take, or does not fit what is served.
        PicklingError: If something that is used cannot be sent to another process.
        ServeError: If it cannot be served on this machine, or the process that is to serve a flow ends.
        ServerStartError: If a flow is served, and the local Prefect server does not start.
        ServerUnreachableError: If a flow is served, and the Prefect server that the user has chosen does not answer.

    Examples:
        >>> nbf.serve(fetch, workers=2)
        >>> job = nbf.options(background=True).map(fetch, urls)
        >>> nbf.serve(my_flow, name="nightly")
        >>> job = nbf.options(deployment="my-flow/nightly").map(x=[1, 2, 3])
    """
    if not what:
        return Serving()
    if any(map(is_prefect_flow, what)):
        if len(what) > 1:
            raise MapArgumentsError("A flow is served alone, as a deployment: nbf.serve(my_flow, name='nightly').")
        if limit is not None:
            raise InvalidOptionError("limit is for tasks. Say how many flow runs run at once: workers=2.")
        if name is None:
            raise MapArgumentsError(
                "A flow is served as a deployment, which has a name: nbf.serve(my_flow, name='nightly'). To run it as "
                "a background task, call it in a task, and serve that: flows have no .delay()."
            )
        made = deployments.serve_flow(what[0], name, session=get_session(), workers=workers, keep=keep)
        _wait_until_served(made)
        return made
    if name is not None:
        raise MapArgumentsError(
            "name is for a flow, which becomes a deployment: put @flow above the function. Tasks have their own names."
        )
    return Serving(
        serving.serve(what, get_session(), workers=1 if workers is None else workers, limit=limit, keep=keep)
    )


def _wait_until_served(made: ServedFlow) -> None:
    """Block until a deployment exists: what a later cell asks of Prefect would not find it."""
    if not made.wait_until_ready(_QUIET_SECONDS) and made.is_alive:
        print(f"{made.name}: starting, some ten seconds", flush=True)  # noqa: T201 - for who waits
        get_session().wait_until_ready()
        made.wait_until_ready(_SERVED_SECONDS)
    made.check()
    if made.is_starting:
        print(  # noqa: T201 - as above
            f"{made.name}: still starting after {_SERVED_SECONDS:.0f} s. Jobs of nbf.options(deployment={made.name!r}) "
            f"wait for it; for anything else, call .wait_until_ready() on what nbf.serve() returns. Its log: {made.log}"
        )


@with_brief_errors
def stop_serving(*names: str) -> list[str]:
    """End the processes that serve something, with what they run: tasks fail, and flow runs are cancelled.

    Blocks for some seconds at most. A job whose items are ended by that can be retried.

    Args:
        *names: Tasks, and deployments as "flow/name"; none for all that this kernel serves, and what was kept.

    Returns:
        Names of what is served no longer.

    Raises:
        NbfuturesError: If nobody serves something of such a name.

    Examples:
        >>> nbf.stop_serving("fetch")
        ['fetch']
    """
    session = get_session()
    stopped: list[str] = []
    for name in names or [None]:
        if name is None or "/" in name:
            stopped += deployments.stop_serving(session, name)
    tasks = [name for name in names if "/" not in name]
    return stopped + (serving.stop(tasks) if tasks or not names else [])


def served_flows() -> list[ServedFlow]:
    """Return the flows that this kernel serves, and those that were kept when their kernel ended, by name."""
    return deployments.served_flows(get_session())


class Serving:
    """Worker processes that serve tasks; shows what they do. Made by `serve`.

    Args:
        service: Those of one call of `serve`; all of this user, and flows that are served, if not given.
    """

    def __init__(self, service: Service | None = None) -> None:
        self._service = service

    def statuses(self) -> list[ServiceStatus]:
        """Return how the worker processes stand now, one for each call of `serve`."""
        found = serving.statuses()
        if self._service is None:
            return found
        return [one for one in found if one.id == self._service.record.id]

    def pids(self) -> list[int]:
        """Return the ids of the processes that live."""
        return [pid for one in self.statuses() for pid in one.pids]

    def wait(self, timeout: float = 60.0) -> bool:
        """Block until all worker processes take items, or cannot be started.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether they do.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.statuses()
            if found and all(one.ready and one.ready == one.wanted for one in found):
                return True
            if any(one.error for one in found) or not found:
                return False
            time.sleep(_LOOK_SECONDS)
        return False

    def stop(self) -> None:
        """End them, with what they run: that fails, and can be retried. Blocks for some seconds at most."""
        if self._service is not None:
            serving.end(self._service.record)
        else:
            stop_serving()

    def __repr__(self) -> str:
        flows = [str(flow) for flow in served_flows()] if self._service is None else []
        statuses = self.statuses()
        return "\n".join([*([serving_text(statuses)] if statuses or not flows else []), *flows])
