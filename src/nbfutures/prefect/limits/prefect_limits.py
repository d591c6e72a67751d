"""The requests to Prefect's API that are about limits. Each blocks; none is for the notebook's main thread."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from nbfutures.errors import LimitError, ServerUnreachableError, UnknownLimitError
from nbfutures.model.limits import Holder, LimitRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prefect.client.orchestration import SyncPrefectClient

__all__ = [
    "acquire",
    "change",
    "delete",
    "explained",
    "is_passing",
    "is_some_full",
    "read_all",
    "read_named",
    "release",
    "renew",
    "unknown_limit",
    "usable",
]

_TAG_PREFIX = "tag:"
"""What Prefect puts before a tag to name its limit."""
OTHERS = "others"
"""Who uses slots of a global limit besides this kernel's jobs: Prefect does not tell."""
_PAGE = 200
_MOST_PAGES = 50
_MOST_RUNS = 200


def read_named(client: SyncPrefectClient, names: Iterable[str]) -> list[LimitRecord]:
    """Return global limits, without who uses them.

    Raises:
        UnknownLimitError: If there is none of a name.
    """
    found = []
    for name in names:
        try:
            found.append(_record(client.read_global_concurrency_limit_by_name(name)))
        except ObjectNotFound:
            raise unknown_limit(name) from None
    return found


def read_all(
    client: SyncPrefectClient, jobs: Mapping[str, Sequence[Holder]], runs: Mapping[UUID, str]
) -> list[LimitRecord]:
    """Return all limits, with who uses them as far as that is known.

    Args:
        client: Prefect's client.
        jobs: Global limit to the jobs of this kernel that hold slots of it.
        runs: Flow run to the name of this kernel's job.
    """
    found, by_tag = _records(client)
    who = _task_run_names(client, [run_id for run_ids in by_tag.values() for run_id in run_ids], runs)
    return [
        _with_holders(one, _grouped(who, by_tag.get(one.name, ())) if one.is_tag else list(jobs.get(one.name, ())))
        for one in found
    ]


def is_some_full(client: SyncPrefectClient) -> bool:
    """Tell whether some limit is full: two requests, where there are not hundreds of limits."""
    return any(one.is_full for one in _records(client)[0])


def _records(client: SyncPrefectClient) -> tuple[list[LimitRecord], dict[str, list[UUID]]]:
    """Return all limits, and of each tag the task runs that have its slots."""
    # The first list has all limits and how many slots are in use; the second one which task runs have those of tags.
    found = [_record(one) for one in _pages(client.read_global_concurrency_limits)]
    tags = _pages(client.read_concurrency_limits)
    listed = {one.name for one in found if one.is_tag}
    found += [
        LimitRecord(name=one.tag, is_tag=True, slots=one.concurrency_limit, in_use=len(one.active_slots))
        for one in tags
        # Older servers keep them apart.
        if one.tag not in listed
    ]
    return found, {one.tag: one.active_slots for one in tags}


def change(client: SyncPrefectClient, name: str, slots: int, *, is_tag: bool, per_second: float | None) -> None:
    """Create a limit, or change it."""
    if is_tag:
        client.create_concurrency_limit(name, slots)
    else:
        client.upsert_global_concurrency_limit_by_name(name, slots, per_second)


def delete(client: SyncPrefectClient, name: str, *, is_tag: bool) -> None:
    """Delete a limit.

    Raises:
        UnknownLimitError: If there is none of this name.
    """
    try:
        if is_tag:
            client.delete_concurrency_limit_by_tag(name)
        else:
            client.delete_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        raise unknown_limit(name, is_tag=is_tag) from None


def acquire(
    client: SyncPrefectClient, names: Sequence[str], slots: int, *, seconds: float, flow_run_id: UUID | None
) -> UUID | None:
    """Take slots of all limits at once.

    Args:
        client: Prefect's client.
        names: The limits.
        slots: How many of each.
        seconds: Prefect takes them back after so long, unless they are renewed.
        flow_run_id: For whom.

    Returns:
        The lease, or `None` if one of the limits has not as many free.

    Raises:
        UnknownLimitError: If one of them does not exist.
    """
    holder = ConcurrencyLeaseHolder(type="flow_run", id=flow_run_id) if flow_run_id is not None else None
    try:
        response = client.increment_concurrency_slots_with_lease(
            list(names), slots, "concurrency", lease_duration=seconds, holder=holder
        )
    except httpx.HTTPStatusError as error:
        # Fewer free than that, or fewer in all.
        if error.response.status_code in {HTTPStatus.LOCKED, HTTPStatus.UNPROCESSABLE_ENTITY}:
            return None
        raise
    given: dict[str, Any] = response.json()
    lease = UUID(given["lease_id"])
    missing = set(names) - {one["name"] for one in given["limits"]}
    if missing:
        # Prefect lets pass what it does not know.
        release(client, lease)
        raise unknown_limit(min(missing))
    return lease


def renew(client: SyncPrefectClient, lease: UUID, seconds: float) -> bool:
    """Keep slots for so many seconds from now on; return whether Prefect still has them for us."""
    try:
        client.renew_concurrency_lease(lease, seconds)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in {HTTPStatus.GONE, HTTPStatus.NOT_FOUND}:
            return False
        raise
    return True


def release(client: SyncPrefectClient, lease: UUID) -> None:
    """Give slots back."""
    client.release_concurrency_slots_with_lease(lease)


def usable(limits: Iterable[LimitRecord]) -> list[LimitRecord]:
    """Return the limits that hold somebody back.

    Raises:
        LimitError: If one of them is for a rate, whose slots cannot be held.
    """
    for one in limits:
        if one.per_second:
            raise LimitError(
                f"The limit {one.name!r} is for a rate: its slots become free by themselves, {one.per_second:g} each "
                f"second, so that an item cannot hold one. Call prefect.concurrency.sync.rate_limit({one.name!r}) in "
                f"the function, or use nbf.options(rate={one.per_second:g}); or make it a limit of how many run at "
                f"once: %limit {one.name} {one.slots} --per-second 0."
            )
    return [one for one in limits if one.is_active]


def is_passing(error: BaseException) -> bool:
    """Tell whether a request failed for something that may pass: no answer, or a server that cannot just now."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.response.status_code in {
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.REQUEST_TIMEOUT,
        }
    return isinstance(error, httpx.HTTPError | OSError)


def unknown_limit(name: str, *, is_tag: bool = False) -> UnknownLimitError:
    """Return the error of a limit that does not exist."""
    kind, flag, argument = ("tag limit", "--tag ", ", tag=True") if is_tag else ("limit", "", "")
    shown = name if " " not in name else repr(name)
    return UnknownLimitError(
        f"There is no {kind} {name!r}. Create it, for example with 4 slots: %limit {flag}{shown} 4, or "
        f"nbf.limit({name!r}, 4{argument}). All limits: %limit."
    )


def _record(limit: Any) -> LimitRecord:
    is_tag = limit.name.startswith(_TAG_PREFIX)
    return LimitRecord(
        name=limit.name.removeprefix(_TAG_PREFIX),
        is_tag=is_tag,
        slots=limit.limit,
        in_use=limit.active_slots or 0,
        per_second=limit.slot_decay_per_second or 0.0,
        is_active=limit.active,
    )


def _with_holders(limit: LimitRecord, known: Sequence[Holder]) -> LimitRecord:
    others = limit.in_use - sum(holder.slots for holder in known)
    more = [Holder(OTHERS, others)] if others > 0 else []
    # What was just given back may still be known here.
    return replace(limit, holders=(*known, *more) if limit.in_use else ())


def _grouped(who: Mapping[UUID, str], run_ids: Iterable[UUID]) -> list[Holder]:
    counted = Counter(who.get(run_id, f"task run {run_id}") for run_id in run_ids)
    return [Holder(name, count) for name, count in counted.items()]


def _task_run_names(client: SyncPrefectClient, ids: list[UUID], jobs: Mapping[UUID, str]) -> dict[UUID, str]:
    """Return what people call task runs: their name and their job, or their flow run."""
    if not ids:
        return {}
    task_runs = client.read_task_runs(
        task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=ids[:_MOST_RUNS])), limit=_MOST_RUNS
    )
    others = list({run.flow_run_id for run in task_runs if run.flow_run_id and run.flow_run_id not in jobs})
    flow_runs = (
        client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=others)), limit=_MOST_RUNS)
        if others
        else []
    )
    names = {run.id: run.name for run in flow_runs} | dict(jobs)
    return {
        run.id: f"{run.name} of {names[run.flow_run_id]}" if run.flow_run_id in names else run.name for run in task_runs
    }


def _pages(read: Callable[[int, int], Sequence[Any]]) -> list[Any]:
    found: list[Any] = []
    for _ in range(_MOST_PAGES):
        page = read(_PAGE, len(found))
        found.extend(page)
        if len(page) < _PAGE:
            break
    return found


def explained(work: Callable[[], Any]) -> Any:
    """Do something, and raise what people can read where Prefect refuses it or does not answer.

    Raises:
        LimitError: If Prefect refuses it.
        ServerUnreachableError: If it does not answer.
    """
    try:
        return work()
    except httpx.HTTPStatusError as error:
        if is_passing(error):
            raise ServerUnreachableError(f"Prefect could not answer: {error}. Try again in a moment.") from error
        raise LimitError(f"Prefect refuses that: {error}.") from error
    except (httpx.HTTPError, OSError) as error:
        raise ServerUnreachableError(f"Prefect does not answer ({error}). Try again in a moment.") from error
    except ValidationError as error:
        raise LimitError(f"Prefect refuses that: {error.errors()[0]['msg']}.") from error
