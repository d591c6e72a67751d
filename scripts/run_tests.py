"""Run two groups of tests side by side: most of their time is waiting. What the second one says comes at the end.

A few tests that failed, on two processors that both groups shared, are run once more, alone; that is told.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_JOBS = ["tests/api", "tests/background"]
_BUILD = Path("build")
_FEW = 3
"""So many may have failed for want of a processor; more have not."""
_TESTS_FAILED = 1
"""As pytest tells it; other numbers are other trouble."""


def main(ignored: list[str]) -> int:
    """Return 0 if all tests have passed.

    Args:
        ignored: Folders of tests to leave out.
    """
    _BUILD.mkdir(exist_ok=True)
    for group in ("jobs", "others"):
        _failed(group).unlink(missing_ok=True)
    jobs_command = [*_pytest("jobs"), *_JOBS]
    others_command = [*_pytest("others"), *(f"--ignore={folder}" for folder in [*_JOBS, *ignored])]
    told = _BUILD / "tests-of-jobs.txt"
    # Not by `&` of a shell, whose commands ignore interrupts: some tests interrupt themselves.
    with told.open("wb") as output, subprocess.Popen(jobs_command, stdout=output, stderr=output) as jobs:  # noqa: S603
        try:
            others = subprocess.call(others_command)  # noqa: S603
            jobs.wait()
        finally:
            jobs.terminate()
    sys.stdout.write(told.read_text(encoding="utf-8", errors="replace"))
    sys.stdout.flush()
    return _once_more("others", others) or _once_more("jobs", jobs.returncode)


def _pytest(group: str) -> list[str]:
    # A cache for each, where it says what failed.
    return [sys.executable, "-m", "pytest", "-o", f"cache_dir={_cache(group).absolute()}"]


def _cache(group: str) -> Path:
    return _BUILD / f"cache-of-{group}"


def _failed(group: str) -> Path:
    return _cache(group) / "v" / "cache" / "lastfailed"


def _once_more(group: str, status: int) -> int:
    """Run again what failed in a group, if that was little; return how the group ended."""
    known = _failed(group)
    if status != _TESTS_FAILED or not known.exists():
        return status
    failed = list(json.loads(known.read_text(encoding="utf-8")))
    if not 0 < len(failed) <= _FEW:
        return status
    sys.stdout.write("\nOnce more, alone, since others ran beside: " + ", ".join(failed) + "\n")
    sys.stdout.flush()
    return subprocess.call([*_pytest(group), *failed])  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
