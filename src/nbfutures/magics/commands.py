"""The magics: each reads its line and its cell, and makes one call into the api."""

from __future__ import annotations

import re
from contextlib import ExitStack
from inspect import cleandoc, signature
from textwrap import indent
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, needs_local_scope, no_var_expand

from nbfutures import api
from nbfutures.magics.arguments import JOB_OPTIONS, RUNNER_OPTIONS, SERVE_OPTIONS, option_table, parse_arguments
from nbfutures.magics.cells import flow_function, item_function, read_cell
from nbfutures.magics.expressions import read_call, read_loop, read_names
from nbfutures.magics.limit_line import read_limit_line
from nbfutures.magics.requests import errors_in_one_line, read_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from nbfutures.magics.settings import NBFutures

__all__ = ["FuturesMagics"]

F = TypeVar("F", bound="Callable[..., Any]")

_NOTES = """\
Values are Python expressions: -w 2*n, --timeout=limits["slow"]. One that holds spaces needs brackets or quotes.
For --out, --name, --runner, --limit and --tag a word stands for itself; quote it, or use an f-string, for the rest.
"""


def _magic(kind: str, name: str) -> Callable[[F], F]:
    """Make a method a magic that gets its line as it was written, and complete its help.

    Args:
        kind: `line` or `cell`.
        name: What it is called in the notebook; line and cell magics may share a name.
    """

    def mark(function: F) -> F:
        table = f"{option_table(JOB_OPTIONS)}\n\n{indent(_NOTES, '    ')}"
        function.__doc__ = cleandoc(function.__doc__ or "").replace("    {options}", table.rstrip())
        # IPython annotates its decorators for functions without a name of their own.
        marker: Any = line_magic(name) if kind == "line" else cell_magic(name)
        marker(no_var_expand(function))
        return needs_local_scope(function) if "local_ns" in signature(function).parameters else function

    return mark


@magics_class
class FuturesMagics(Magics):
    """Concurrent work from a cell.

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

    @_magic("line", "map")
    def map_call(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Map a function over iterables, in the background.

        Usage: %map [options] function(arguments)

        Arguments that are iterable are mapped over, one item for each value; the others, texts among them, are
        given to every item. Wrap an iterable in nbf.unmapped(...) to give it to every item. The value is the job.

        Examples:
            %map square(range(100))
            squares = %map -w 4 square(range(100))
            %map --retries 2 --timeout 5 fetch(urls, verify=False)
            %map -o pages -n "all pages" fetch(urls)
            %map --dry-run fetch(urls)

        Options, before the call or after it:
            {options}
        """
        __tracebackhide__ = True
        request = read_request(self._shell, "%map", line, local_ns=local_ns)
        call = read_call(request.expression, request.source, "%map")
        return request.start(lambda run: run.map(call.fn, *call.args, **call.kwargs))

    @_magic("cell", "map")
    def map_cell(self, line: str, cell: str) -> Any:
        """Run the cell once for each value of an iterable, concurrently and in the background.

        Usage: %%map [options] target in iterable [options]

        The target is as in a `for`. The value of the cell's last expression is the item's value; `return` works too,
        and `await`. The cell sees the notebook's variables as they are when it is run. What it assigns stays with the
        item: after `frame = frame.dropna()` the notebook's frame is as before.

        Options begin at the first word with a dash that a letter follows: to subtract, write `a - b`, not `a -b`.

        Examples:
            %%map x in range(100)
            x ** 2

            %%map name, url in sites.items() -w 8 --retries 2
            page = download(url)
            name, len(page)

            %%map --timeout 5 -o pages url in urls
            response = await client.get(url)
            response.text

        Options:
            {options}
        """
        __tracebackhide__ = True
        request = read_request(self._shell, "%%map", line, body=cell)
        request.refuse_background()
        loop = read_loop(request.expression, request.source)
        function = item_function(
            read_cell(self._shell, request.head, cell), request.name, self._shell.user_ns, loop.target
        )
        return request.start(lambda run: run.map(function, loop.values))

    @_magic("line", "submit")
    def submit_call(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Make one call in the background.

        Usage: %submit [options] function(arguments)

        The arguments are evaluated at once, the call is made in the background. The value is the job.

        Examples:
            %submit train(model, epochs=20)
            training = %submit --timeout 600 train(model, epochs=20)

        Options, before the call or after it:
            {options}
        """
        __tracebackhide__ = True
        request = read_request(self._shell, "%submit", line, local_ns=local_ns)
        call = read_call(request.expression, request.source, "%submit")
        return request.start(lambda run: run.submit(call.fn, *call.args, **call.kwargs))

    @_magic("cell", "submit")
    def submit_cell(self, line: str, cell: str) -> Any:
        """Run the cell in the background, as one item.

        Usage: %%submit [options]

        The value of the cell's last expression is the result; `return` works too, and `await`. The cell sees the
        notebook's variables as they are when it is run; what it assigns stays in it.

        Examples:
            %%submit -o table
            frame = read(path)
            frame.describe()

        Options:
            {options}
        """
        request = read_request(self._shell, "%%submit", line, body=cell)
        request.refuse_background()
        request.refuse_expression()
        function = item_function(read_cell(self._shell, request.head, cell), request.name, self._shell.user_ns)
        return request.start(lambda run: run.submit(function))

    @_magic("cell", "flow")
    def flow_cell(self, line: str, cell: str) -> Any:
        """Run the cell as a Prefect flow, in the background.

        Usage: %%flow [options]

        The cell runs as a module of its own, so that code from Prefect's documentation works as it stands: tasks and
        flows are defined and called in it, `.submit`, `.map`, `wait` and `await` included. It sees the notebook's
        variables as they are when it is run; what it defines stays in it. The value of its last expression is the
        result. A cell that defines flows and calls nothing runs the last one. The items are all the task runs, those of
        the flows that the cell calls among them.

        Examples:
            %%flow -n sums
            from prefect import task

            @task
            def add(x, y):
                return x + y

            sum(add.map([1, 2, 3], 10).result())

        Options:
            {options}
        """
        request = read_request(self._shell, "%%flow", line, body=cell)
        request.refuse_expression()
        function = flow_function(read_cell(self._shell, request.head, cell), request.name, self._shell.user_ns)
        return request.start(lambda run: run.run(function))

    @_magic("line", "jobs")
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

    @_magic("line", "dashboard")
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

    @_magic("line", "serve")
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

    @_magic("line", "runner")
    def runner(self, line: str) -> None:
        """Show or set where the jobs of this session run, if they do not say otherwise.

        Usage: %runner [name] [--workers N] [--address URL]

        Examples:
            %runner
            %runner threads
            %runner inline
            %runner threads --workers 4
            %runner dask --address tcp://10.0.0.5:8786
            %runner dask --address client
            %runner -w 2*n
        """
        given = parse_arguments(line, RUNNER_OPTIONS, self._shell.user_ns)
        changes = given.options | ({"runner": given.expression.strip("'\"")} if given.expression else {})
        with errors_in_one_line():
            defaults = api.session_defaults().replace(**changes)
            if changes:
                api.set_session_defaults(defaults)
                self._settings.refresh()
        number = api.workers_of(defaults)
        where = f" at {defaults.address}" if defaults.address is not None else ""
        # Of a cluster elsewhere, nothing is known before it is asked.
        size = "" if where and defaults.workers is None else f", {number} worker{'' if number == 1 else 's'}"
        print(f"{defaults.runner}{where}{size}")  # noqa: T201 - what it is for

    @_magic("line", "limit")
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
                api.delete_limit(asked.name, tag=asked.options.get("tag", False))
                return None
            shown = api.limit(asked.name, asked.slots, **asked.options) if asked.name else api.limits_view()
        return None if asked.is_quiet else shown


def _name_in(line: str) -> str:
    name = re.sub(r"(^|\s)#\s.*$", "", line).strip().rstrip(";").rstrip()
    return name.strip(name[0]) if name[:1] in {"'", '"'} else name
