"""Run four groups of tests side by side: much of their time is waiting. Those in the background are told at the end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

_GROUPS = {
    "results": ["tests/api/results"],
    # In this order: the second uses what the first has started.
    "jobs": ["tests/api", "tests/clusters"],
    "background": ["tests/background", "tests/browser", "tests/magics", "tests/notebook"],
}
"""Name to the folders of a group, without those that are another group's; what is in none of them is the last group.
About equally long, each with its server, and two of them with the clusters."""
_BUILD = Path("build")


def main(ignored: list[str]) -> int:
    """Return 0 if all tests have passed.

    Args:
        ignored: Folders of tests to leave out.
    """
    _BUILD.mkdir(exist_ok=True)
    grouped = [folder for folders in _GROUPS.values() for folder in folders]
    printed = {name: _BUILD / f"tests-of-{name}.txt" for name in _GROUPS}
    # Not by `&` of a shell, whose commands ignore interrupts: some tests interrupt themselves.
    with ExitStack() as stack:
        # Directories of their own: pytest removes what it takes for left over by other runs.
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True)))
        running = []
        for name, folders in _GROUPS.items():
            output = stack.enter_context(printed[name].open("wb"))
            arguments = [folder for folder in folders if folder not in ignored]
            arguments += [f"--ignore={one}" for one in grouped if any(one.startswith(f"{mine}/") for mine in folders)]
            running.append(
                stack.enter_context(subprocess.Popen(_pytest(place / name, *arguments), stdout=output, stderr=output))  # noqa: S603
            )
        try:
            rest = [f"--ignore={folder}" for folder in [*grouped, *ignored]]
            statuses = [subprocess.call(_pytest(place / "others", *rest))]  # noqa: S603
            statuses += [group.wait() for group in running]
        finally:
            for group in running:
                group.terminate()
    for file in printed.values():
        sys.stdout.write(file.read_text(encoding="utf-8", errors="replace"))
    return next(filter(None, statuses), 0)


def _pytest(place: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", f"--basetemp={place}", *arguments]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
