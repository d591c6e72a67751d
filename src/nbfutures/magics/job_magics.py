"""The magics that start jobs: each reads its line and its cell, and makes one call into the api."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, magics_class

from nbfutures.magics.cells import flow_function, item_function, read_cell
from nbfutures.magics.decorator import magic
from nbfutures.magics.expressions import read_call, read_loop
from nbfutures.magics.requests import read_request

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["FuturesJobMagics"]


@magics_class
class FuturesJobMagics(Magics):
    """Concurrent work from a cell.

    Args:
        shell: The shell that runs the cells.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._shell = shell

    @magic("line", "map")
    def map_call(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Map a function over iterables, in the background.

        Usage: %map [options] function(arguments)

        Lists and the like are mapped over, one item for each value; the others, such as texts, files and models, are
        given to every item. Wrap a list in nbf.unmapped(...) to give it to every item. The value is the job.

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

    @magic("cell", "map")
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

    @magic("line", "submit")
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

    @magic("cell", "submit")
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

    @magic("cell", "flow")
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
