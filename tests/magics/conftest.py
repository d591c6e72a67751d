"""A real IPython shell with the magics loaded, on a recording api."""

from __future__ import annotations

import atexit
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from nbfutures.errors import MapArgumentsError, NbfuturesError
from nbfutures.magics import load_ipython_extension, unload_ipython_extension
from nbfutures.model.options import JobOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS_OF_API = ("extension", "requests", "session_magics")


@dataclass(eq=False)
class FakeJob:
    """What the api was asked to run. Its function can be called, its display is counted."""

    verb: str
    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    api: FakeApi

    @property
    def name(self) -> str:
        return self.options.get("name") or self.fn.__name__

    def wait(self, timeout=None):
        self.api.log.append("wait")
        if self.api.error_while_waiting:
            raise self.api.error_while_waiting

    def _ipython_display_(self):
        self.api.log.append("display")

    def values(self):
        """Run the items here, one after the other."""
        return [self.fn(one) for one in self.args[0]]


class FakeSubmitter:
    def __init__(self, api, changes):
        JobOptions().replace(**changes)
        self._api, self._changes = api, changes

    def __getattr__(self, verb):
        def start(fn, /, *args, **kwargs):
            if verb == "map" and not args:
                raise MapArgumentsError("There is nothing to map over.")
            job = FakeJob(verb, fn, args, kwargs, self._changes, self._api)
            self._api.jobs.append(job)
            return job

        return start


@dataclass(eq=False)
class FakeApi:
    jobs: list[FakeJob] = field(default_factory=list)
    defaults: JobOptions = field(default_factory=JobOptions)
    log: list[str] = field(default_factory=list)
    """`display` and `wait`, in the order in which jobs were told to."""
    warm_ups: int = 0
    closings: int = 0
    error_while_waiting: BaseException | None = None

    @property
    def job(self) -> FakeJob:
        [job] = self.jobs
        return job

    def options(self, **changes):
        return FakeSubmitter(self, changes)

    def session_jobs(self):
        return list(self.jobs)

    def find_job(self, name):
        for job in self.jobs:
            if job.name == name:
                return job
        raise NbfuturesError(f"There is no job {name!r}. Jobs of this notebook: none yet.")

    def dashboard(self, job=None):
        return ["dashboard", job]

    def jobs_view(self):
        return ["view", *self.jobs]

    def session_defaults(self):
        return self.defaults

    def set_session_defaults(self, options):
        self.defaults = options

    def limit(self, name, slots=None, **options):
        self.log.append(("limit", name, slots, options))
        return f"limit {name}"

    def limits_view(self):
        return "all limits"

    def delete_limit(self, name, *, tag=False):
        self.log.append(("delete", name, tag))

    def serve(self, *tasks, **options):
        self.log.append(("serve", tasks, options))
        return f"serving {len(tasks)}"

    def stop_serving(self, *names):
        if "nothing" in names:
            raise NbfuturesError("Nobody serves nothing.")
        self.log.append(("stop", names))
        return list(names)

    def default_workers(self):
        return 6

    def workers_of(self, options):
        return options.workers or 6

    def inner_threads(self, workers):
        return 2

    def stop_workers(self):
        self.log.append("stop_workers")

    def warm_up(self):
        self.warm_ups += 1

    def close(self):
        self.closings += 1


@dataclass(eq=False)
class Ran:
    """What a cell did."""

    value: Any
    error: BaseException | None
    out: str
    err: str

    @property
    def usage_error(self) -> str:
        """The one line that the cell printed in place of a traceback."""
        assert type(self.error).__name__ == "UsageError", (self.error, self.out)
        [line] = self.err.strip().splitlines()
        assert self.out == ""
        return line.removeprefix("UsageError: ")


class Notebook:
    """Runs cells in a shell, as a kernel does."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.ns = shell.user_ns

    def run(self, cell: str) -> Ran:
        """Run a cell, and let errors be data."""
        with capture_output() as captured:
            result = self.shell.run_cell(cell, store_history=True)
        return Ran(result.result, result.error_before_exec or result.error_in_exec, captured.stdout, captured.stderr)

    def __call__(self, cell: str) -> Any:
        """Run a cell, and return the value that it displays."""
        ran = self.run(cell)
        if ran.error is not None:
            raise ran.error
        return ran.value


@pytest.fixture
def fake(monkeypatch) -> FakeApi:
    api = FakeApi()
    for module in USERS_OF_API:
        monkeypatch.setattr(importlib.import_module(f"nbfutures.magics.{module}"), "api", api)
    return api


@pytest.fixture(scope="module")
def only_shell(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        shell = InteractiveShell.instance(config=config)
        yield shell
        shell.atexit_operations()
        atexit.unregister(shell.atexit_operations)
        InteractiveShell.clear_instance()


@pytest.fixture
def shell(only_shell) -> Iterator[InteractiveShell]:
    """A shell as it is before the first cell."""
    variables = dict(only_shell.user_ns)
    yield only_shell
    unload_ipython_extension(only_shell)
    only_shell.user_ns.clear()
    only_shell.user_ns.update(variables)
    only_shell.user_ns["Out"].clear()
    only_shell.compile.reset_compiler_flags()
    only_shell.execution_count = 1
    only_shell.config.pop("NBFutures", None)


@pytest.fixture
def bare_notebook(shell) -> Notebook:
    """A notebook that has not loaded the extension."""
    return Notebook(shell)


@pytest.fixture
def notebook(bare_notebook, fake) -> Notebook:
    load_ipython_extension(bare_notebook.shell)
    return bare_notebook
