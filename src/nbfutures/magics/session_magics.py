"""The magics that show and set what the jobs of a session have in common; each makes one call into the api."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, magics_class
from traitlets import Bool, Float, Int, TraitError, Unicode, Union, validate
from traitlets.config import Configurable

from nbfutures import api
from nbfutures.errors import InvalidOptionError
from nbfutures.magics.arguments import JOB_OPTIONS, LIMIT_OPTIONS, RUNNER_OPTIONS, SERVE_OPTIONS, parse_arguments
from nbfutures.magics.decorator import magic
from nbfutures.magics.expressions import evaluate_text, read_names
from nbfutures.magics.requests import errors_in_one_line
from nbfutures.magics.scan import scan
from nbfutures.model.options import RUNNERS

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config.loader import Config

__all__ = ["FuturesSessionMagics", "NBFutures"]

_HELP = {option.field: f"Default: {option.help}." for option in JOB_OPTIONS}


class NBFutures(Configurable):
    """Defaults of the options of all jobs in this session."""

    runner = Unicode(RUNNERS[0], help=_HELP["runner"]).tag(config=True)
    workers = Int(None, allow_none=True, help=_HELP["workers"]).tag(config=True)
    retries = Int(None, allow_none=True, help=_HELP["retries"]).tag(config=True)
    timeout = Float(None, allow_none=True, help=_HELP["timeout"]).tag(config=True)
    batch = Union([Int(), Unicode()], default_value="auto", help=_HELP["batch"]).tag(config=True)
    rate = Float(None, allow_none=True, help=_HELP["rate"]).tag(config=True)
    in_flight = Int(None, allow_none=True, help=_HELP["in_flight"]).tag(config=True)
    fail_fast = Bool(False, help=_HELP["fail_fast"]).tag(config=True)

    def refresh(self) -> None:
        """Show the session's defaults, which `%runner` and Python can change as well."""
        defaults = api.session_defaults()
        for name in self.trait_names(config=True):
            setattr(self, name, getattr(defaults, name))

    def update_config(self, config: Config) -> None:
        """Take values from a configuration; if one is refused, say so in a line and keep what was."""
        before = self.config
        try:
            super().update_config(config)
            # traitlets hands on what is new in the configuration, but the session may have changed otherwise since.
            for name, value in config.get(type(self).__name__, {}).items():
                setattr(self, name, value)
        except TraitError as error:
            # traitlets would keep the value that it refused, and complain about it at every later change.
            self.config = before
            # `%config` logs what is raised, which in a notebook may go anywhere.
            if self.parent is None:
                raise
            self.parent.show_usage_error(error)

    @validate("runner", "workers", "retries", "timeout", "batch", "rate", "in_flight", "fail_fast")
    def _hand_on(self, proposal: dict[str, Any]) -> Any:
        # Not in an observer, for the same reason: a value that is not new here can be new to the session.
        try:
            api.set_session_defaults(api.session_defaults().replace(**{proposal["trait"].name: proposal["value"]}))
        except InvalidOptionError as error:
            raise TraitError(str(error)) from error
        return proposal["value"]


@dataclass(frozen=True, slots=True)
class LimitLine:
    """What one use of `%limit` asks for."""

    name: str
    """The limit, or the tag; empty for all limits."""
    slots: Any
    """How many it is to have; `None` if that is not said."""
    options: dict[str, Any]
    """`tag` and `per_second`, those that are given."""
    is_deletion: bool
    """Whether to delete it."""
    is_quiet: bool
    """Whether to show nothing."""


def read_limit_line(line: str, namespace: dict[str, Any]) -> LimitLine:
    """Read what stands behind `%limit`.

    Args:
        line: The text.
        namespace: The variables that the number of slots may use.

    Raises:
        UsageError: If it is not as it has to be.
    """
    given = parse_arguments(line, LIMIT_OPTIONS, namespace)
    options = dict(given.options)
    is_deletion = bool(options.pop("delete", False))
    words = scan(given.expression).words
    name = words[0].text if words else ""
    if name[:1] in {"'", '"'}:
        name = name.strip(name[0])
    slots = None
    if len(words) > 1:
        text = given.expression[words[1].start :]
        try:
            slots = evaluate_text(text, namespace)
        except Exception as error:
            raise UsageError(f"{text!r} is no number of slots. Write it as in: %limit {name} 4.") from error
    if not name and (options or is_deletion):
        raise UsageError("The name of the limit is missing. Write it as in: %limit db 4, or %limit --tag db 4.")
    if is_deletion and (slots is not None or "per_second" in options):
        tag = "--tag " if options.get("tag") else ""
        raise UsageError(f"To delete a limit takes no number. Write: %limit {tag}{name} --delete.")
    return LimitLine(name, slots, options, is_deletion, given.has_semicolon)


@magics_class
class FuturesSessionMagics(Magics):
    """The session's jobs, runner, limits, served functions and dashboard.

    Args:
        shell: The shell that runs the cells.
        settings: The session's defaults, as IPython shows them.
    """

    def __init__(self, shell: InteractiveShell, settings: NBFutures) -> None:
        super().__init__(shell)
        self._shell = shell
        self._settings = settings
        self.undo = ExitStack()
        """What unloading has to do."""

    @magic("line", "jobs")
    def jobs(self, line: str) -> Any:
        """Show the jobs of this session, or one of them.

        Usage: %jobs [name]

        Examples:
            %jobs
            %jobs square
            %jobs cell 12
        """
        name = _name_in(line)
        with errors_in_one_line():
            job = api.find_job(name) if name else api.jobs_view()
        return job if not line.rstrip().endswith(";") else None

    @magic("line", "dashboard")
    def dashboard(self, line: str) -> Any:
        """Show Prefect's interface below the cell, or a link to it; with the name of a job, the page of its run.

        Usage: %dashboard [name]

        It comes logged in, and the password is not in the notebook. Where the browser is on another machine, as on
        JupyterHub and Binder, it takes jupyter-server-proxy beside JupyterLab.

        Examples:
            %dashboard
            %dashboard square
        """
        name = _name_in(line)
        with errors_in_one_line():
            return api.dashboard(api.find_job(name) if name else None)

    @magic("line", "serve")
    def serve(self, line: str) -> Any:
        """Start processes that run background tasks, or a flow as a deployment; or tell what they do.

        Usage: %serve task [task ...] [--workers N] [--limit N] [--keep]
               %serve flow --name NAME [--workers N] [--keep]
               %serve
               %serve --stop [task or flow/name ...]

        What is served may be defined in the notebook; serve it again when its code has changed. The processes end with
        the kernel, unless they are kept.

        Examples:
            %serve fetch parse --workers 2
            %map --background fetch(urls)
            %serve my_flow --name nightly
            nbf.options(deployment="my-flow/nightly").map(x=[1, 2, 3])
            %serve
            %serve --stop fetch my-flow/nightly
        """
        given = parse_arguments(line, SERVE_OPTIONS, self._shell.user_ns)
        options = dict(given.options)
        names = given.expression.replace(",", " ").split()
        with errors_in_one_line():
            if options.pop("stop", False):
                stopped = api.stop_serving(*[name.strip("'\"") for name in names])
                print(f"No longer served: {', '.join(stopped) or 'nothing was'}")  # noqa: T201 - what it is for
                return None
            served = api.serve(*read_names(names, self._shell.user_ns, "%serve"), **options)
        return served if not given.has_semicolon else None

    @magic("line", "runner")
    def runner(self, line: str) -> None:
        """Show or set where the jobs of this session run, if they do not say otherwise.

        Usage: %runner [name] [--workers N] [--address URL]
               %runner --stop

        Worker processes that no job has used for five minutes end by themselves; --stop ends them now, and the
        clusters that nbfutures has started, with what runs there.

        Examples:
            %runner
            %runner threads
            %runner inline
            %runner threads --workers 4
            %runner dask --address tcp://10.0.0.5:8786
            %runner dask --address client
            %runner -w 2*n
            %runner --stop
        """
        given = parse_arguments(line, RUNNER_OPTIONS, self._shell.user_ns)
        options = dict(given.options)
        if options.pop("stop", False):
            with errors_in_one_line():
                api.stop_workers()
            print("Stopped: the next job starts its workers anew")  # noqa: T201 - what it is for
            return
        changes = options | ({"runner": given.expression.strip("'\"")} if given.expression else {})
        with errors_in_one_line():
            defaults = api.session_defaults().replace(**changes)
            if changes:
                api.set_session_defaults(defaults)
                self._settings.refresh()
        number = api.workers_of(defaults)
        where = f" at {defaults.address}" if defaults.address is not None else ""
        # Of a cluster elsewhere, nothing is known before it is asked.
        size = "" if where and defaults.workers is None else f", {number} worker{'' if number == 1 else 's'}"
        if defaults.runner == "processes":
            threads = api.inner_threads(number)
            size += f", {threads} thread{'' if threads == 1 else 's'} for BLAS and OpenMP in each"
        print(f"{defaults.runner}{where}{size}")  # noqa: T201 - what it is for

    @magic("line", "limit")
    def limit(self, line: str) -> Any:
        """Show, make, change or delete Prefect's limits of how many items run at once.

        Usage: %limit [name] [slots] [--tag] [--per-second N] [--delete]

        A limit holds for all jobs, kernels and programs that use it and the same Prefect. Jobs take its slots with
        `--limit name`; other code does with Prefect's concurrency(name). A limit with --tag holds for Prefect tasks
        with that tag; one with --per-second is for Prefect's rate_limit(name). Where no number of slots is given,
        limits are shown: how many slots are in use, and who has them.

        Examples:
            %limit db 4
            %limit
            %limit db
            %limit --tag gpu 1
            %limit api 10 --per-second 5
            %limit db --delete
        """
        asked = read_limit_line(line, self._shell.user_ns)
        with errors_in_one_line():
            if asked.is_deletion:
                is_tag = asked.options.get("tag", False)
                api.delete_limit(asked.name, tag=is_tag)
                print(f"Deleted: {'tag ' if is_tag else ''}{asked.name}")  # noqa: T201 - what it is for
                return None
            shown = api.limit(asked.name, asked.slots, **asked.options) if asked.name else api.limits_view()
        return None if asked.is_quiet else shown


def _name_in(line: str) -> str:
    name = re.sub(r"(^|\s)#\s.*$", "", line).strip().rstrip(";").rstrip()
    return name.strip(name[0]) if name[:1] in {"'", '"'} else name
