"""On what was measured: the machine and the versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nbfutures.engine.cpus import usable_cpus

__all__ = ["conditions"]

_PACKAGES = ("nbfutures", "prefect", "joblib", "tqdm", "dask", "ray", "ipython")


def conditions() -> dict[str, str]:
    """Return what the figures depend on, by name; in the order in which people want to know it."""
    return {
        "CPUs": str(usable_cpus()),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "load average": f"{os.getloadavg()[0]:.1f}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or "unknown"
