"""How many CPUs this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cap_inner_threads", "cgroup_cpus", "inner_threads", "thread_caps", "usable_cpus"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""What BLAS, OpenMP and numexpr read, when they are loaded, for how many threads of their own they start."""


def usable_cpus() -> int:
    """Return the least of the machine's CPUs, this process's affinity, and its cgroup's quota, rounded up; 1 at least.

    A container with half a CPU of a machine with 64, such as on Binder, has one.
    """
    counts = [os.cpu_count() or 1]
    # From Python 3.13 on; it knows `PYTHON_CPU_COUNT`, too.
    by_python: Any = getattr(os, "process_cpu_count", None)
    if by_python is not None:
        counts.append(by_python() or 1)
    affinity: Any = getattr(os, "sched_getaffinity", None)
    if affinity is not None:
        counts.append(len(affinity(0)))
    quota = cgroup_cpus()
    if quota is not None:
        counts.append(math.ceil(quota))
    return max(1, min(counts))


def cgroup_cpus(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the CPUs that the quotas of this process's cgroups leave it, or `None` where there is none.

    Args:
        root: Where cgroups are mounted.
        own: The file that names those of this process, as `proc(5)` says: `hierarchy:controllers:path`.
    """
    quotas: list[float] = []
    with contextlib.suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers:
                quotas += filter(None, map(_quota_of_version_2, _with_parents(root, path)))
            elif "cpu" in controllers.split(","):
                for mounted in (root / controllers, root / "cpu"):
                    quotas += filter(None, map(_quota_of_version_1, _with_parents(mounted, path)))
    return min(quotas, default=None)


def _with_parents(root: Path, path: str) -> Iterator[Path]:
    """Yield a cgroup's folder and those above: the least quota counts. In a container, the path may be the host's."""
    place = root / path.strip("/")
    yield place
    for parent in place.parents:
        if parent == root or root in parent.parents:
            yield parent


def _quota_of_version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_of_version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def inner_threads(workers: int) -> int:
    """Return how many threads BLAS, OpenMP and numexpr may have in each of so many worker processes."""
    return max(1, usable_cpus() // max(workers, 1))


_caps: dict[str, str] = {}


def cap_inner_threads(threads: int) -> None:
    """Have BLAS, OpenMP and numexpr start so many threads in this process, where the user has not said it."""
    _caps.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    for name, value in _caps.items():
        os.environ.setdefault(name, value)


def thread_caps() -> dict[str, str]:
    """Return the environment variables that `cap_inner_threads` has set in this process where they were not there."""
    return _caps
