"""Print the browser that the tests use: `$CHROMIUM`, one on `PATH`, or Playwright's own.

With `--install`, Playwright's is downloaded where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "The browser tests need Chromium, and {why}. Install it (Debian: apt-get install chromium), or name one "
    "(make test CHROMIUM=/path/to/chromium), or leave these tests out (make test BROWSER=no)."
)


def main() -> None:
    """Print its path, or stop with the line that says what to do."""
    named = os.environ.get("CHROMIUM")
    if named:
        if shutil.which(named) is None:
            sys.exit(MISSING.format(why=f"CHROMIUM={named} is no program"))
        print(shutil.which(named))
        return
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    print(on_path or playwrights_own(install="--install" in sys.argv[1:]))


def playwrights_own(*, install: bool) -> Path:
    """Return the path of the browser that comes with Playwright, or exit."""
    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    if not path.exists() and install:
        print("No Chromium found: downloading Playwright's, this once ...", file=sys.stderr)
        command = [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own words
        if done.returncode:
            sys.exit(MISSING.format(why="Playwright's could not be downloaded"))
    if not path.exists():
        sys.exit(MISSING.format(why="none was found"))
    starts = subprocess.run([path, "--version"], check=False, capture_output=True)  # noqa: S603 - as above
    if starts.returncode:
        sys.exit(MISSING.format(why=f"Playwright's does not start ({path})"))
    return path


if __name__ == "__main__":
    main()
