"""How many items a second, beside other libraries, on two workers of this machine."""

from __future__ import annotations

from benchmarks.columns import CPU, NAP_SHARE, RATE, RUNNING_SHARE, SECONDS, SLEPT, SLEPT_SHARE, WHOLE_RATE
from benchmarks.measure import Contender
from benchmarks.sections import NBFUTURES, Section, Target, rounds_for

__all__ = ["plan"]

_LOKY = "joblib loky"
_POOL = "ProcessPoolExecutor"
_BARE = "bare Prefect"
_BARE_PROCESSES = "bare Prefect, processes"


def plan(*, size: str, repeats: int | None = None) -> list[Section]:
    """Return what is measured.

    Args:
        size: "full", "quick" (less of everything), or "smoke" (next to nothing: does it run at all?).
        repeats: Rounds, if not as many as usual.
    """
    rounds = rounds_for(size, repeats, full=5, quick=2)
    noops, slower, bare, naps, bare_naps = {
        "full": (100_000, 20_000, 500, 2_000, 500),
        "quick": (100_000, 10_000, 200, 1_000, 200),
        "smoke": (500, 50, 3, 20, 0),
    }[size]
    return [
        _noops_in_threads(noops, bare, rounds),
        _noops_in_processes(noops, slower, bare, rounds, with_bare=size != "smoke"),
        Section(
            "No-op items, two processes that are yet to start",
            (
                Contender(NBFUTURES, "nbfutures_processes", "cold noop", noops),
                Contender(_LOKY, "joblib_loky", "cold noop", noops),
                Contender(_POOL, "process_pool", "cold noop", slower),
            ),
            (RATE, SECONDS),
            (Target(NBFUTURES, RATE.title, 1.0, versus=_LOKY),),
            rounds_for(size, repeats, full=3),
        ),
        Section(
            "Items of 1 ms, two threads",
            (
                Contender(NBFUTURES, "nbfutures_map", "nap", naps),
                Contender("tqdm thread_map", "tqdm_map", "nap", naps),
                Contender("ThreadPoolExecutor", "thread_pool", "nap", naps),
                Contender("joblib threads", "joblib_threads", "nap", naps),
                Contender("two bare threads", "bare_threads", "nap", naps),
                *((Contender(_BARE, "prefect_threads", "nap", bare_naps),) if bare_naps else ()),
            ),
            (NAP_SHARE, SLEPT_SHARE, RUNNING_SHARE, SLEPT),
            (
                Target(NBFUTURES, NAP_SHARE.title, 0.87),
                Target(NBFUTURES, NAP_SHARE.title, 1.0, versus="joblib threads"),
                Target(NBFUTURES, NAP_SHARE.title, 1.0, versus="tqdm thread_map"),
            ),
            rounds,
        ),
        Section(
            "No-op Prefect tasks, one item in a task run",
            (
                Contender(NBFUTURES, "nbfutures_map", "task noop", bare),
                Contender(_BARE, "prefect_threads", "noop", bare),
            ),
            (RATE, WHOLE_RATE, CPU),
            (
                Target(NBFUTURES, RATE.title, 1.0, versus=_BARE),
                Target(NBFUTURES, WHOLE_RATE.title, 1.0, versus=_BARE),
            ),
            rounds,
        ),
    ]


def _noops_in_threads(noops: int, bare: int, rounds: int) -> Section:
    return Section(
        "No-op items, two threads",
        (
            Contender(NBFUTURES, "nbfutures_map", "noop", noops),
            Contender("tqdm thread_map", "tqdm_map", "noop", noops),
            Contender("ThreadPoolExecutor", "thread_pool", "noop", noops),
            Contender("joblib threads", "joblib_threads", "noop", noops),
            Contender(_BARE, "prefect_threads", "noop", bare),
        ),
        (RATE, CPU),
        (
            Target(NBFUTURES, RATE.title, 200.0, versus=_BARE),
            Target(NBFUTURES, RATE.title, 1.0, versus="ThreadPoolExecutor"),
            Target(NBFUTURES, RATE.title, 1.0, versus="tqdm thread_map"),
        ),
        rounds,
    )


def _noops_in_processes(noops: int, slower: int, bare: int, rounds: int, *, with_bare: bool) -> Section:
    contenders = [
        Contender(NBFUTURES, "nbfutures_processes", "noop", noops),
        Contender(_LOKY, "joblib_loky", "noop", noops),
        Contender(_POOL, "process_pool", "noop", slower),
        Contender("multiprocessing.Pool, chunks of 1,000", "multiprocessing_pool", "noop", noops),
    ]
    targets = [Target(NBFUTURES, RATE.title, 1.0, versus=_LOKY)]
    if with_bare:
        contenders.append(Contender(_BARE_PROCESSES, "prefect_processes", "noop", max(bare // 5, 1)))
        targets.append(Target(NBFUTURES, RATE.title, 200.0, versus=_BARE_PROCESSES))
    return Section("No-op items, two processes", tuple(contenders), (RATE, WHOLE_RATE, CPU), tuple(targets), rounds)
