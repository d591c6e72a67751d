"""Run two groups of tests side by side: most of their time is waiting. What the second one says comes at the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_JOBS = ["tests/api", "tests/background"]
_BUILD = Path("build")


def main(ignored: list[str]) -> int:
    """Return 0 if all tests have passed.

    Args:
        ignored: Folders of tests to leave out.
    """
    _BUILD.mkdir(exist_ok=True)
    pytest = [sys.executable, "-m", "pytest"]
    told = _BUILD / "tests-of-jobs.txt"
    # Not by `&` of a shell, whose commands ignore interrupts: some tests interrupt themselves.
    with told.open("wb") as output, subprocess.Popen([*pytest, *_JOBS], stdout=output, stderr=output) as jobs:  # noqa: S603
        try:
            others = subprocess.call([*pytest, *(f"--ignore={folder}" for folder in [*_JOBS, *ignored])])  # noqa: S603
            jobs.wait()
        finally:
            jobs.terminate()
    sys.stdout.write(told.read_text(encoding="utf-8", errors="replace"))
    return others or jobs.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
