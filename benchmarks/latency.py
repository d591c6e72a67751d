"""How soon something happens, on a session that is warm."""

from __future__ import annotations

from benchmarks.columns import SECONDS
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Section, Target, rounds_for

__all__ = ["plan"]


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (less of everything), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    rounds = rounds_for(size, repeats, full=2)
    jobs, noops = {"full": (20, 100_000), "quick": (8, 100_000), "smoke": (1, 500)}[size]
    held = 10_000_000 if size != "smoke" else 10_000
    return [
        Section(
            "From the call to the start of the first item, threads",
            (
                Contender(NBFUTURES, "nbfutures_map", "start", jobs),
                Contender("nbfutures, Prefect task", "nbfutures_map", "task start", jobs),
                Contender("bare Prefect, with its flow", "prefect_threads", "start", jobs),
            ),
            (SECONDS,),
            (Target(NBFUTURES, SECONDS.title, 0.3, is_least=False),),
            rounds,
        ),
        Section(
            "%load_ext nbfutures in a fresh IPython",
            (Contender(NBFUTURES, "extension", "load", 1, needs_process=True),),
            (SECONDS,),
            (Target(NBFUTURES, SECONDS.title, 0.3, is_least=False),),
            rounds,
        ),
        Section(
            f"Until nbf.map returns, {noops:,} items",
            (
                Contender("a range", "call", "range", noops),
                Contender("a list of texts", "call", "texts", noops),
            ),
            (SECONDS,),
            (
                Target("a range", SECONDS.title, 0.2, is_least=False),
                Target("a list of texts", SECONDS.title, 0.2, is_least=False),
            ),
            rounds,
        ),
        Section(
            f"Until nbf.map returns, arguments that hold {held:,} numbers",
            (
                Contender("in 1,000 lists", "call", "lists", held),
                Contender("in one list for all", "call", "shared", held),
            ),
            (SECONDS,),
            (
                Target("in 1,000 lists", SECONDS.title, 0.02, is_least=False),
                Target("in one list for all", SECONDS.title, 0.02, is_least=False),
            ),
            rounds,
        ),
    ]
