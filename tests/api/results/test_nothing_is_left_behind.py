"""A warm worker keeps nothing of a job that has ended: each job finds what the kernel has."""

import os
from pathlib import Path

import pytest
from prefect import task
from tests.support import eventually

MARK = "NBFUTURES_TEST_LEFT"


def make_dirty(kept):
    """Change whatever a process has for all that runs in it."""
    import decimal
    import gc
    import locale
    import logging
    import os
    import signal
    import socket
    import sys
    import tempfile
    import threading
    import warnings

    os.environ["NBFUTURES_TEST_SET"] = "by an item"
    os.environ.pop("HOME", None)
    os.environ["PATH"] = "/nowhere"
    os.chdir("/")
    sys.path.insert(0, "/nowhere")
    sys.argv.append("more")
    sys.setrecursionlimit(5_432)
    os.umask(0o777)
    warnings.simplefilter("error")
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C")
    logging.getLogger().setLevel(5)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("a.logger.of.the.items").setLevel(7)
    logging.getLogger("a.logger.of.the.items").addHandler(logging.NullHandler())
    logging.disable(logging.CRITICAL)
    decimal.getcontext().prec = 3
    gc.disable()
    socket.setdefaulttimeout(12.5)
    tempfile.tempdir = "/nowhere"
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR2, lambda *_: None)
    kept.stdout, sys.stdout = sys.stdout, None
    sys.excepthook = print


def look():
    """Return whatever a process has for all that runs in it."""
    import decimal
    import gc
    import locale
    import logging
    import os
    import signal
    import socket
    import sys
    import tempfile
    import warnings

    umask = os.umask(0)
    os.umask(umask)
    return {
        "environment": {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))},
        "directory": str(Path.cwd()),
        "path": list(sys.path),
        "arguments": list(sys.argv),
        "recursion limit": sys.getrecursionlimit(),
        "umask": umask,
        "warnings": [str(one) for one in warnings.filters],
        "locale": locale.setlocale(locale.LC_ALL),
        "log level": logging.getLogger().level,
        "log handlers": [type(one).__name__ for one in logging.getLogger().handlers],
        "level of a logger": logging.getLogger("a.logger.of.the.items").level,
        "handlers of a logger": len(logging.getLogger("a.logger.of.the.items").handlers),
        "logging disabled": logging.root.manager.disable,
        "digits": decimal.getcontext().prec,
        "collects": gc.isenabled(),
        "socket timeout": socket.getdefaulttimeout(),
        "temporary directory": tempfile.gettempdir(),
        "signal": str(signal.getsignal(signal.SIGUSR2)),
        "stdout": sys.stdout is None,
        "excepthook": sys.excepthook.__name__,
    }


class Kept:
    """Streams that a process still uses are not closed."""


def dirty_here(_):
    make_dirty(Kept())
    return os.getpid()


def look_here(_):
    return os.getpid(), look()


def test_a_job_finds_nothing_that_another_one_left_in_a_warm_worker(remote, monkeypatch):
    check(remote, lambda fn: fn, monkeypatch)


@pytest.mark.parametrize("runner", ["processes"], indirect=True)
def test_a_task_on_processes_finds_nothing_that_another_job_left(runner, monkeypatch):
    check(runner, task, monkeypatch)


def check(remote, made, monkeypatch):
    monkeypatch.setenv(MARK, "set in the kernel")
    before = dict(remote.map(look_here, range(6)).result(120))
    dirtied = set(remote.map(made(dirty_here), range(6)).result(120))
    monkeypatch.delenv(MARK)
    found = {}

    def look():
        found.update(remote.map(made(look_here), range(6)).result(120))
        return dirtied & found.keys()

    # Other workers may be warm, too.
    eventually(look)
    for pid in before.keys() & found.keys():
        assert before[pid]["environment"].pop(MARK) == "set in the kernel"
        assert found[pid] == before[pid]
    for one in found.values():
        assert MARK not in one["environment"]
        assert one["environment"]["PATH"] == os.environ["PATH"]
        assert one["directory"] == str(Path.cwd())
