"""Dask and Ray: nbfutures on them, beside what they do by themselves, each with two worker processes."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.columns import PAUSE_SHARE, RATE, SLEPT_SHARE, WHOLE_RATE
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Section, Target, rounds_for

__all__ = ["plan_dask", "plan_ray"]

_RATIO = 20.0
_NOT_SLOWER = 0.98
"""Two percent are less than what two rounds differ by."""


def plan_dask(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured of Dask; arguments as for the other plans."""
    names = _Names(
        "Dask",
        ours={NBFUTURES: "nbfutures_dask", "nbfutures, address of a cluster": "nbfutures_dask_address"},
        peer="client.map, as_completed",
        peer_module="dask_map",
        bare_module="prefect_dask",
    )
    return _plan(names, size, repeats)


def plan_ray(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured of Ray; arguments as for the other plans."""
    names = _Names(
        "Ray", ours={NBFUTURES: "nbfutures_ray"}, peer="Ray tasks", peer_module="ray_tasks", bare_module="prefect_ray"
    )
    return _plan(names, size, repeats)


@dataclass(frozen=True, slots=True)
class _Names:
    """The contenders with one kind of cluster."""

    cluster: str
    ours: dict[str, str]
    """Label to module."""
    peer: str
    """What people use by itself."""
    peer_module: str
    bare_module: str


def _plan(names: _Names, size: str, repeats: int | None) -> list[Section]:
    rounds = rounds_for(size, repeats)
    noops, peer_noops, bare_noops, pauses = {
        "full": (100_000, 5_000, 100, 100),
        "quick": (50_000, 2_000, 50, 60),
        "smoke": (200, 20, 0, 4),
    }[size]
    no_op = [
        *(Contender(label, module, "noop", noops) for label, module in names.ours.items()),
        # In a process of its own in a smoke, too: a process has one Ray, which this one would end.
        Contender(names.peer, names.peer_module, "noop", peer_noops, needs_process=True),
    ]
    if bare_noops:
        no_op.append(Contender(f"bare Prefect, {names.cluster}", names.bare_module, "noop", bare_noops))
    pausing = [
        *(Contender(label, module, "pause", pauses) for label, module in names.ours.items()),
        Contender(names.peer, names.peer_module, "pause", pauses),
    ]
    sections = [
        Section(
            f"No-op items on {names.cluster}, two workers",
            tuple(no_op),
            (RATE, WHOLE_RATE),
            tuple(Target(label, RATE.title, _RATIO, versus=names.peer) for label in names.ours),
            rounds,
        ),
        Section(
            f"Items of 100 ms on {names.cluster}, two workers",
            tuple(pausing),
            (PAUSE_SHARE, SLEPT_SHARE),
            tuple(Target(label, PAUSE_SHARE.title, _NOT_SLOWER, versus=names.peer) for label in names.ours),
            rounds,
        ),
    ]
    # The second has the same contenders: nothing to learn from it but figures.
    return sections[:1] if size == "smoke" else sections
