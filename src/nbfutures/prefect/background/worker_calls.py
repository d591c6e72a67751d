"""How a worker process makes the calls of task runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.cache_policies import DEFAULT, NO_CACHE, CachePolicy
from prefect.results import ResultStore, get_or_create_default_task_scheduling_storage
from prefect.states import Pending, Scheduled
from prefect.task_engine import run_task_sync
from prefect.task_worker import read_parameters
from prefect.utilities.annotations import NotSet

from nbfutures.prefect.background.task_keys import with_key
from nbfutures.prefect.base_exceptions import without_another_try
from nbfutures.prefect.remote.carrying import carrying
from nbfutures.prefect.shared_client import shared_client

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, StateDetails, TaskRun
    from prefect.tasks import Task

    from nbfutures.prefect.background.packed_tasks import PackedTask

__all__ = ["arguments_of", "offered_again", "prepared", "run_sync"]


def prepared(packed: PackedTask) -> dict[str, Task[Any, Any]]:
    """Return a task as it is served, by each of its keys."""
    task = packed.unpack()
    is_own_key = task.cache_policy in (None, NO_CACHE, NotSet, DEFAULT)
    if is_own_key:
        # By default Prefect takes the value of one item for another with the same arguments, within a flow run.
        made = task.with_options(persist_result=True, cache_policy=CachePolicy.from_cache_key_fn(_own_key))
    else:
        made = task.with_options(persist_result=True)
    if is_own_key or getattr(made, "source_code", None) is not None:
        # Else Prefect may take the code of the function itself for a part of the key of its value.
        made.fn = carrying(made.fn)
        made.retry_condition_fn = without_another_try(made)
    return {key: with_key(made, key) for key in packed.keys}


def _own_key(context: Any, parameters: dict[str, Any]) -> str:  # noqa: ARG001 - Prefect's names
    # Without a key, Prefect does not keep the value.
    return str(context.task_run.id)


async def arguments_of(task: Task[Any, Any], task_run: TaskRun) -> dict[str, Any]:
    """Return the arguments of Prefect's engine for a task run that was taken from the server.

    Args:
        task: Its task.
        task_run: What the server gave.
    """
    scheduled = task_run.state
    assert scheduled is not None
    data: dict[str, Any] = {}
    if (parameters_id := scheduled.state_details.task_parameters_id) is not None:
        storage: Any = await get_or_create_default_task_scheduling_storage()
        store = await ResultStore(result_storage=storage).aupdate_for_task(task)
        data = await read_parameters(store, parameters_id)
    pending: State[Any] = Pending()
    pending.state_details.deferred = True
    pending.state_details.task_run_id = task_run.id
    pending.state_details.flow_run_id = task_run.flow_run_id
    task_run.state = pending
    # Not told, as Prefect's workers do: an event that comes from no run takes a task run out of its flow run.
    return {
        "task": task,
        "task_run_id": task_run.id,
        "task_run": task_run,
        "parameters": data.get("parameters", {}),
        "wait_for": data.get("wait_for", []),
        "return_type": "state",
        "context": _needed(data.get("context") or {}),
    }


def offered_again(details: StateDetails) -> State[Any]:
    """Return the state in which Prefect's server gives a task run, which nobody has begun, to a worker.

    Args:
        details: Those of the state in which it was offered first.
    """
    return Scheduled(state_details=details.model_copy(update={"deferred": True}))


def run_sync(arguments: dict[str, Any]) -> State[Any] | None:
    """Run a task run of a function that is not async, and return its last state."""
    # Prefect makes a client for each task run otherwise, for 30 ms.
    with shared_client():
        state: State[Any] | None = run_task_sync(**arguments)
    return state


def _needed(context: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a task run needs of the context in which it was made; `None` where that is nothing.

    Its settings are left out: where Prefect is may have changed since, and this process knows better.
    """
    kept = {name: value for name, value in context.items() if name != "settings_context" and value}
    if not (kept.get("tags_context") or {}).get("current_tags"):
        kept.pop("tags_context", None)
    # Prefect makes a client for each context otherwise.
    return kept or None
