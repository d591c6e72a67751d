"""A limit of Prefect's as it stands: how many slots, how many of them in use, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Holder", "LimitRecord"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who uses slots of a limit."""

    who: str
    """The name of a job of this kernel, that of a task run, or "others"."""
    slots: int
    """How many it uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRecord:
    """A limit at one moment."""

    name: str
    """Its name, or the tag that it is for."""
    is_tag: bool = False
    """Whether it is for the task runs with a tag, and not a global limit."""
    slots: int
    """How many slots it has."""
    in_use: int = 0
    """How many of them are taken."""
    per_second: float = 0.0
    """Slots that become free by themselves each second: more than 0 for a limit of a rate."""
    is_active: bool = True
    """Whether Prefect holds anybody back by it."""
    holders: tuple[Holder, ...] = ()
    """Who uses the slots, as far as it is known."""

    @property
    def is_full(self) -> bool:
        """Whether it holds back whoever asks for a slot now."""
        return self.is_active and self.slots <= self.in_use

    @property
    def kind(self) -> str:
        """What people call its kind: "global", "tag" or "rate"."""
        return "tag" if self.is_tag else "rate" if self.per_second else "global"
