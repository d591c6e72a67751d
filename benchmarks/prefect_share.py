"""How much of the work is Prefect's: what is sent to its API, and what its settings can save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.columns import CPU, RATE
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Column, Section, Target, rounds_for

if TYPE_CHECKING:
    from benchmarks.measure import Measured

__all__ = ["plan"]

_BARE = "bare Prefect, a task run each"
_TASK = "nbfutures, a task run each"
_AS_IT_IS = "as it is"
_CANDIDATES = {
    "no logs to the API": "PREFECT_LOGGING_TO_API_ENABLED=false",
    "log level ERROR": "PREFECT_LOGGING_LEVEL=ERROR",
    "both": "PREFECT_LOGGING_TO_API_ENABLED=false PREFECT_LOGGING_LEVEL=ERROR",
    "no caching": "PREFECT_TASKS_DISABLE_CACHING=true",
    "refreshing the cache": "PREFECT_TASKS_REFRESH_CACHE=true",
    "no persisted results": "PREFECT_TASKS_DEFAULT_PERSIST_RESULT=false",
    "no metrics of resources": "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS=false",
    "no check of the version": "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED=false",
}
"""Public settings of Prefect that might save something where each item is a task run."""


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (less of everything), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    noops, tasks = {"full": (100_000, 1_000), "quick": (100_000, 200), "smoke": (500, 3)}[size]
    counted: tuple[Contender, ...] = (
        Contender(NBFUTURES, "prefect_share", "nbfutures_map once noop", noops, needs_process=True),
        Contender("nbfutures, processes", "prefect_share", "nbfutures_processes once noop", noops, needs_process=True),
        Contender(_TASK, "prefect_share", "nbfutures_map task once noop", tasks, needs_process=True),
        Contender(_BARE, "prefect_share", "prefect_threads once noop", tasks, needs_process=True),
    )
    tried = {_AS_IT_IS: "", **_CANDIDATES}
    if size == "smoke":
        counted, tried = counted[2:3], {}
    settings = Section(
        "Settings of Prefect, one item in a task run",
        tuple(
            Contender(
                label, "with_settings", f"nbfutures_map task noop {words}".strip(), tasks // 2, needs_process=True
            )
            for label, words in tried.items()
        ),
        (RATE, CPU),
        (),
        rounds_for(size, repeats, full=2),
    )
    return [
        Section(
            "Sent to Prefect for 1,000 items",
            counted,
            (_MESSAGES, _REQUESTS, _HEALTH_CHECKS),
            tuple(
                Target(_TASK, column.title, 1.05, is_least=False, versus=_BARE)
                for column in (_MESSAGES, _REQUESTS)
                if len(counted) > 1
            ),
            rounds_for(size, repeats, full=1),
        ),
        *([settings] if tried else []),
    ]


def _per_thousand(one: Measured, figure: str) -> list[float]:
    return [one.figures[figure] * 1000 / one.contender.items]


_MESSAGES = Column("events", lambda one: _per_thousand(one, "messages"), "")
_REQUESTS = Column("API calls", lambda one: _per_thousand(one, "requests"), "")
_HEALTH_CHECKS = Column("health checks", lambda one: _per_thousand(one, "health_checks"), "")
