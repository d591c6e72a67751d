"""Prefect's limits of how many things run at once, from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbfutures.api.brief_errors import with_brief_errors
from nbfutures.prefect.limits import admin
from nbfutures.prefect.session import get_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.model.limits import LimitRecord
    from nbfutures.views.frames import DataFrame

__all__ = ["Limits", "delete_limit", "limit", "limits", "limits_view"]


@with_brief_errors
def limit(name: str, slots: int | None = None, /, *, tag: bool = False, per_second: float | None = None) -> Limits:
    """Create or change a limit of how many items run at once, in all kernels and jobs that use it; or show one.

    It is one of Prefect's: everybody who works with the same Prefect server shares its slots. The items of a job take
    them with `nbf.options(limit=name)`; any code does with Prefect's own `concurrency(name)`. Blocks until Prefect has
    answered: for some milliseconds, and for as long as Prefect takes to start where it does.

    Args:
        name: What it is called; for a tag limit, the tag.
        slots: How many run at once; 0 lets none start (not for tags). Not given: the limit is left as it is.
        tag: Whether it is a limit of the task runs with a tag, which Prefect's tasks obey by themselves.
        per_second: How many slots become free by themselves each second, for Prefect's `rate_limit(name)`; 0 for a
            limit of how many run at once, which a new one is.

    Returns:
        The limit, which shows itself with its slots, how many are in use, and who has them.

    Raises:
        InvalidOptionError: If the name or a number cannot be.
        UnknownLimitError: If `slots` is not given and there is no such limit.
        LimitError: If Prefect refuses it.
        ServerUnreachableError: If Prefect does not answer.

    Examples:
        >>> nbf.limit("db", 4)
        db: 4 slots, none in use
        >>> job = nbf.options(limit="db").map(query, keys)

        >>> nbf.limit("gpu", 1, tag=True)
        tag gpu: 1 slot, none in use
        >>> job = nbf.map(task(train, tags=["gpu"]), models)

        >>> nbf.limit("api", 10, per_second=5)  # for rate_limit("api")
        api: 10 slots, 5 free again each second, none in use
    """
    session = get_session()
    if slots is None and per_second is None:
        return Limits([admin.show_limit(session, name, is_tag=tag)])
    if slots is None:
        slots = admin.show_limit(session, name, is_tag=tag).slots
    return Limits([admin.set_limit(session, name, slots, is_tag=tag, per_second=per_second)])


@with_brief_errors
def delete_limit(name: str, /, *, tag: bool = False) -> None:
    """Delete a limit; who holds slots of it goes on. Blocks until Prefect has answered.

    Args:
        name: What it is called; for a tag limit, the tag.
        tag: Whether it is a limit of the task runs with a tag.

    Raises:
        UnknownLimitError: If there is no such limit.
        ServerUnreachableError: If Prefect does not answer.

    Examples:
        >>> nbf.delete_limit("db")
    """
    admin.delete_limit(get_session(), name, is_tag=tag)


@with_brief_errors
def limits() -> DataFrame:
    """Return all limits as a table: slots, how many are in use, and who has them. Blocks until Prefect has answered.

    Prefect tells which task runs hold the slots of a tag limit. Of a global limit it tells how many are in use only:
    the jobs of this kernel are named, all else is "others".

    Returns:
        One row for each limit: `limit`, `kind` (global, tag or rate), `slots`, `in_use`, `held_by`, `per_second`.

    Raises:
        ServerUnreachableError: If Prefect does not answer.

    Examples:
        >>> nbf.limits()
          limit    kind  slots  in_use                held_by  per_second
        0    db  global      4       3  query (2), others (1)         NaN
    """
    from nbfutures.views.limits import limits_frame

    return limits_frame(admin.list_limits(get_session()))


def limits_view() -> Limits:
    """Return all limits as `%limit` shows them. Blocks until Prefect has answered."""
    return Limits(admin.list_limits(get_session()))


class Limits:
    """Limits as they stood when Prefect was asked; shows itself.

    Args:
        records: The limits.
    """

    def __init__(self, records: Sequence[LimitRecord]) -> None:
        self.records = tuple(records)
        """Each limit: `name`, `slots`, `in_use`, `holders`."""

    def __len__(self) -> int:
        """Return the number of limits."""
        return len(self.records)

    def __repr__(self) -> str:
        from nbfutures.views.limits import limits_text

        return limits_text(self.records)

    def _repr_html_(self) -> str:
        from nbfutures.views.limits import limits_html

        return limits_html(self.records)
