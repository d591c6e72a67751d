"""The pure functions of `card.js`, in Node."""

from __future__ import annotations

import subprocess
from pathlib import Path

import playwright

TESTS = Path(__file__).parent / "card.test.mjs"
# The Node that Playwright brings along: the same everywhere.
NODE = Path(playwright.__file__).parent / "driver" / "node"


def test_the_pure_functions_of_the_card_pass_their_own_tests():
    done = subprocess.run([NODE, "--test", TESTS], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 11" in done.stdout
