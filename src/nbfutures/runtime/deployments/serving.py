"""Serving a flow of the notebook as a deployment, from a process of its own.

Prefect takes no flow that is defined interactively: it is written, by value, next to a small module that can be
imported.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError, PicklingError, ServeError
from nbfutures.model.options import check_whole
from nbfutures.runtime.calls.work import is_prefect_flow
from nbfutures.runtime.deployments import folder as files
from nbfutures.runtime.deployments.served_flow import ServedFlow
from nbfutures.runtime.runners import default_workers

if TYPE_CHECKING:
    from nbfutures.runtime.contracts import Connection

__all__ = ["ServedFlow", "close", "find_served", "serve_flow", "served_flows", "stop_serving"]

_served: dict[str, ServedFlow] = {}
_served_lock = threading.Lock()


def serve_flow(
    flow: Any, name: str, *, session: Connection, workers: int | None = None, keep: bool = False
) -> ServedFlow:
    """Serve a flow as a deployment from a process of its own. Does not block.

    A flow of that name which this kernel serves, or which was kept, is replaced. The flow is sent as it is now: after
    a change, serve it again. Its result is persisted, unless it says `persist_result=False`.

    Args:
        flow: A Prefect flow, also one that is defined in the notebook.
        name: Name of the deployment.
        session: The kernel's connection to Prefect.
        workers: How many of its flow runs run at once, each in a process; the number of CPUs if not given.
        keep: Whether to go on when the kernel ends.

    Raises:
        MapArgumentsError: If it is no flow.
        InvalidOptionError: If the name or the number cannot be taken.
        PicklingError: If something that the flow uses cannot be sent.
        ServeError: If this system cannot do it.
    """
    if sys.platform == "win32":
        raise ServeError("nbfutures cannot serve a flow on Windows. Use Prefect's flow.serve() in a script.")
    if not is_prefect_flow(flow):
        raise MapArgumentsError(
            f"A deployment is made of a Prefect flow, got {type(flow).__name__}. Put @flow above the function."
        )
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "/%&<>"):
        raise InvalidOptionError(
            f"name must be a text without / % & < >, got {name!r}. With name='nightly' the deployment is called "
            f"'{flow.name}/nightly'."
        )
    check_whole("workers", workers, least=1)
    full_name = f"{flow.name}/{name}"
    if flow.persist_result is None:
        # What it returns would be lost with its process.
        flow = flow.with_options(persist_result=True)
    plan = {
        "name": name,
        "workers": workers or default_workers("processes"),
        "keep": keep,
        "path": [path for path in sys.path if path],
    }
    packed = _packed(flow)
    session.start()
    with _served_lock:
        before = [one for one in served_flows(session) if one.name == full_name]
        files.remove_ended({one._folder for one in _served.values()})
        folder = files.make_folder(full_name, flow.fn.__name__, packed, plan)
        made = ServedFlow(full_name, folder, session, is_kept=keep)
        _served[full_name] = made
    made.launch(before)
    return made


def served_flows(session: Connection) -> list[ServedFlow]:
    """Return the flows that this kernel serves, and those that were kept, by name.

    Args:
        session: The kernel's connection to Prefect.
    """
    own = [one for one in _served.values() if one.is_alive]
    known = {one._folder for one in own}
    kept = [
        ServedFlow(plan["full_name"], folder, session, is_kept=True)
        for folder in files.folders()
        if folder not in known and (plan := files.read_plan(folder)) is not None and plan.get("keep")
    ]
    return sorted([*own, *kept], key=lambda one: one.name)


def stop_serving(session: Connection, name: str | None = None) -> list[str]:
    """Stop serving flows; what runs is cancelled. Blocks until their processes have ended.

    Args:
        session: The kernel's connection to Prefect.
        name: Only the deployment of this name; all if not given.

    Returns:
        The names of the deployments.

    Raises:
        NbfuturesError: If no flow is served under this name.
    """
    served = served_flows(session)
    chosen = [one for one in served if name in (None, one.name)]
    if name is not None and not chosen:
        known = ", ".join(one.name for one in served) or "none"
        raise NbfuturesError(f"No flow is served as {name!r}. Served now: {known}.")
    for one in chosen:
        one.ask_to_stop()
    for one in chosen:
        one.stop()
    return [one.name for one in chosen]


def find_served(name: str) -> ServedFlow | None:
    """Return the flow that this kernel serves under a deployment's name, also one whose process has ended."""
    return _served.get(name)


def close() -> None:
    """Tell the processes to end that are not to be kept. Does not block."""
    with _served_lock:
        served = [one for one in _served.values() if not one.is_kept]
        _served.clear()
    for one in served:
        one.ask_to_stop()


def _packed(flow: Any) -> bytes:
    from nbfutures.runtime.remote.packing import pack, unsendable_function

    try:
        return pack(flow)
    except Exception as error:
        told = unsendable_function(flow.fn, {}, flow.name, error)
        raise PicklingError(
            f"{told.problem or told}. Make it inside the flow, or give it as a parameter; then serve the flow again."
        ) from None
