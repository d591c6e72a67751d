"""A gate that processes share."""

import time
from pathlib import Path

import pytest
from tests.support import eventually

_PATIENCE = 600
"""Seconds that an item waits: longer than a busy machine takes for whatever has to happen before it is opened."""


class FileGate:
    """Items wait in it until it is opened; who came in is known. It can be sent to other processes."""

    def __init__(self, place):
        self._place = Path(place)

    def __call__(self, x):
        self.note(x)
        deadline = time.monotonic() + _PATIENCE
        while not (self._place / "open").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return x

    def note(self, x):
        """Note that an item came; return how often it has."""
        for number in range(1, 1000):
            try:
                (self._place / f"came-{x}-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return number
        raise AssertionError

    @property
    def came(self):
        return sorted(int(path.name.split("-")[1]) for path in self._place.glob("came-*"))

    def wait_for(self, count):
        eventually(lambda: len(self.came) >= count, interval=0.005)

    def open(self):
        (self._place / "open").touch()


@pytest.fixture
def gate(tmp_path):
    """A gate that processes share."""
    made = FileGate(tmp_path)
    yield made
    made.open()
