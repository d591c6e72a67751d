"""One use of a magic that makes a job: what it asks for, and how the job is handed over."""

# Not all of IPython is annotated.
# mypy: allow-untyped-calls

from __future__ import annotations

import keyword
import linecache
import sys
import tokenize
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError
from IPython.display import display

from nbfutures import api
from nbfutures.errors import NbfuturesError
from nbfutures.magics.arguments import JOB_OPTIONS, parse_arguments
from nbfutures.magics.cells import cell_number
from nbfutures.magics.expressions import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Request", "errors_in_one_line", "read_request"]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn an error of the package into one that IPython shows in a line, without a traceback."""
    try:
        yield
    except NbfuturesError as error:
        raise UsageError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Request:
    """What one use of a magic asks for."""

    shell: InteractiveShell
    head: str
    """The magic's name and line."""
    expression: str
    """What is no option, as it was written."""
    source: Source
    """Where the expression comes from."""
    options: dict[str, Any]
    """Options of the job."""
    out: str | None
    """The variable to bind the job to."""
    is_blocking: bool
    """Whether to wait for the job's end."""
    is_quiet: bool
    """Whether to show nothing."""
    is_value_used: bool
    """Whether something else than the notebook's display receives what the magic returns."""

    @property
    def name(self) -> str:
        """What a function that is made for the job is called."""
        return str(self.options["name"])

    def refuse_expression(self) -> None:
        """Check that there is nothing but options.

        Raises:
            UsageError: If there is.
        """
        if self.expression:
            magic = self.head.partition(" ")[0]
            raise UsageError(f"{magic} takes options only, not {self.expression!r}. Put the code below it.")

    def refuse_background(self) -> None:
        """Check that the cell is not to be run by workers.

        Raises:
            UsageError: If it is.
        """
        if self.options.get("background"):
            magic = self.head.partition(" ")[0]
            raise UsageError(
                f"{magic} cannot run in the background: workers serve tasks that have a name. Define one with @task, "
                f"then: %serve fetch, and %map --background fetch(urls)."
            )

    def start(self, submit: Callable[[Any], Any]) -> Any:
        """Make the job, and return what the magic is to return.

        Args:
            submit: Called with a submitter that has the options; returns the job.

        Returns:
            The job; None if that keeps a job from being shown that is not to be shown, or has been shown.

        Raises:
            UsageError: If the job cannot be made as it was asked for.
            KeyboardInterrupt: If it was interrupted, once a job that runs inline has come to its end.
        """
        try:
            with errors_in_one_line():
                job = submit(api.options(**self.options))
        except KeyboardInterrupt as error:
            # Of a job that ran inline: what has ended of it is there, and the rest can be retried.
            job = getattr(error, "job", None)
            if job is not None and self.out:
                self.shell.push({self.out: job})
            raise
        if self.out:
            self.shell.push({self.out: job})
        if self.is_blocking:
            if not self.is_quiet:
                # Before waiting: what is returned would be shown only when the work has ended.
                display(job)
            job.wait()
        return job if self.is_value_used or not (self.is_quiet or self.is_blocking) else None


def read_request(
    shell: InteractiveShell,
    magic: str,
    line: str,
    *,
    local_ns: dict[str, Any] | None = None,
    body: str | None = None,
) -> Request:
    """Read the line of a magic that makes a job.

    Args:
        shell: The shell that runs the magic.
        magic: Its name, with the percent signs.
        line: What stands behind the magic's name.
        local_ns: The variables of the function that uses the magic, if any.
        body: The lines below it, if it is a cell magic.

    Raises:
        UsageError: If an option is not as it has to be.
    """
    namespace = shell.user_ns
    if local_ns is not None and local_ns is not namespace:
        namespace = {**namespace, **local_ns}
    given = parse_arguments(line, JOB_OPTIONS, namespace)
    options = dict(given.options)
    out = options.pop("out", None)
    if out is not None and (not str(out).isidentifier() or keyword.iskeyword(out)):
        raise UsageError(f"--out needs the name of a variable, got {out!r}.")
    is_quiet = bool(options.pop("quiet", False)) or given.has_semicolon
    if body is not None:
        is_quiet = is_quiet or _ends_in_semicolon(body)
        options.setdefault("name", f"cell {cell_number(shell)}")
    return Request(
        shell=shell,
        head=f"{magic} {line}".rstrip(),
        expression=given.expression,
        source=Source(namespace, lambda text: shell.compile.cache(text, cell_number(shell))),
        is_blocking=bool(options.pop("block", False)),
        options=options,
        out=out,
        is_quiet=is_quiet,
        is_value_used=_is_value_used(),
    )


def _is_value_used() -> bool:
    """Tell whether the value of the magic that is running goes anywhere but to the notebook's display.

    A magic cannot both return a value and keep it from being displayed; in an assignment it has to return it, and on
    a line of its own it must not.
    """
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_name not in {"run_line_magic", "run_cell_magic"}:
        frame = frame.f_back
    if (caller := frame.f_back) is None:
        return True
    statement = linecache.getline(caller.f_code.co_filename, caller.f_lineno)
    return not statement.lstrip().startswith("get_ipython().run_")


def _ends_in_semicolon(code: str) -> bool:
    try:
        return bool(DisplayHook.semicolon_at_end_of_expression(code))
    except (tokenize.TokenError, SyntaxError):
        return False  # no Python; that is told when the code is compiled
