"""Who serves which tasks, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nbfutures.views.words import count_words

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Served", "serving_text"]

_SHOWN = 5
"""Names of task runs in a line, at most."""


class Served(Protocol):
    """How some worker processes stand; `ServiceStatus` of the runtime is what it is."""

    @property
    def names(self) -> tuple[str, ...]:
        """Tasks that they serve."""
        ...

    @property
    def workers(self) -> int:
        """How many live."""
        ...

    @property
    def ready(self) -> int:
        """How many take items."""
        ...

    @property
    def running(self) -> tuple[str, ...]:
        """What they work on."""
        ...

    @property
    def done(self) -> int:
        """How many items they have run."""
        ...

    @property
    def keep(self) -> bool:
        """Whether they outlive the kernel."""
        ...

    @property
    def is_ending(self) -> bool:
        """Whether they take no more items."""
        ...

    @property
    def error(self) -> str:
        """Why there are none."""
        ...

    @property
    def trouble(self) -> str:
        """Why there are fewer than wanted."""
        ...


def serving_text(served: Sequence[Served]) -> str:
    """Return who serves which tasks, one line for each group of worker processes."""
    return "\n".join(map(_line, served)) or "No task is served. To serve one: %serve fetch --workers 2"


def _line(one: Served) -> str:
    names = ", ".join(one.names)
    if one.error:
        return f"{names}: not served: {one.error}"
    if not one.ready:
        return f"{names}: starting"
    told = [count_words(one.workers, "worker"), f"{one.done:,} done"]
    if one.running:
        more = f" and {len(one.running) - _SHOWN} more" if len(one.running) > _SHOWN else ""
        told.append(f"running {', '.join(one.running[:_SHOWN])}{more}")
    else:
        told.append("idle")
    if one.is_ending:
        told.append("ending, others have taken over")
    if one.trouble:
        told.append(one.trouble)
    if one.keep:
        told.append("kept when the kernel ends")
    return f"{names}: {'; '.join(told)}"
