"""Another process that uses nbfutures, as a notebook kernel does."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time

# What IPython does: a kernel that ends cancels its jobs, while a script waits for them.
_AS_IPYTHON = "import builtins; builtins.__IPYTHON__ = True\n"


class Kernel:
    """Runs code in a process of its own; what it prints is read line by line.

    Args:
        code: Python source.
        environment: Its whole environment.
    """

    def __init__(self, code, environment):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AS_IPYTHON + code],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines = queue.SimpleQueue()
        self._errors = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self._lines.put), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self._errors.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, put):
        for line in stream:
            put(line.rstrip("\n"))

    @property
    def stderr(self):
        return "\n".join(self._errors)

    def read(self, timeout=240):
        """Return the next line that it prints."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            has_ended = self._process.poll() is not None
            try:
                return self._lines.get(timeout=0.2)
            except queue.Empty:
                if has_ended:
                    break
        raise AssertionError(f"the kernel printed nothing more; stderr:\n{self.stderr}")

    def say(self, line=""):
        """Send a line to its standard input."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self, timeout=120):
        """Say nothing more, wait for its end, and return its exit status and what it printed and was not read."""
        self._process.stdin.close()
        status = self._process.wait(timeout)
        for reader in self._readers:
            reader.join(120)
        left = []
        while not self._lines.empty():
            left.append(self._lines.get())
        return status, left

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(120)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
