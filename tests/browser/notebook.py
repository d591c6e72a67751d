"""A notebook that is open in the browser, driven as its user would, and its kernel."""

from __future__ import annotations

import ast
import json
import os
import uuid
from pathlib import Path

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"

SETUP = """
%load_ext nbfutures
import asyncio, json, pathlib, threading, time
import nbfutures as nbf
from IPython.display import display

def is_open(gate):
    return (GATES / str(gate)).exists() or (GATES / "all").exists()

def pass_gate(gate):
    while not is_open(gate):
        time.sleep(0.01)

async def pass_gate_async(gate):
    while not is_open(gate):
        await asyncio.sleep(0.01)

def end_jobs():
    from nbfutures.engine.job_waiting import wait
    from nbfutures.prefect.session import get_session
    for run in get_session().jobs:
        run.cancel()
    for run in get_session().jobs:
        wait(run.state, 30)
"""

IN_THE_PAGE = """
window.within = (seconds, what, promise) => Promise.race([promise, new Promise((_, reject) =>
    setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), 1000 * seconds))]);
window.findPanel = (path) =>
    [...window.jupyterapp.shell.widgets('main')].find((one) => one.context?.path === path);
"""
"""Nothing that is waited for in the page takes for ever."""


class Notebook:
    """Cells are added at the end and run, and what they show is looked at.

    Args:
        page: The page of JupyterLab or of Notebook 7.
        path: The notebook's path on the server; it is open.
        folder: Where the gates are: code in the kernel waits in `pass_gate(name)` until `open_gate(name)`.
    """

    def __init__(self, page, path, folder):
        self.page = page
        self.path = path
        self._folder = folder
        self._gates = None

    def wait_until_ready(self):
        """Block until the page has opened it."""
        self.page.wait_for_function("path => window.findPanel(path)", arg=self.path)
        self._do("await within(60, 'starting a kernel', panel.sessionContext.ready);")

    # --- cells --------------------------------------------------------------------------------------------------------

    def run(self, source, *, wait=True):
        """Run code in a new cell and return the cell; without `wait` when the kernel has begun with it."""
        index = self._do(
            """
            app.shell.activateById(panel.id);
            const book = panel.content;
            const cells = book.model.sharedModel;
            cells.insertCell(cells.cells.length, {cell_type: 'code', source, metadata: {trusted: true}});
            book.activeCellIndex = book.widgets.length - 1;
            const ended = app.commands.execute('notebook:run-cell');
            if (wait) await within(90, source, ended);
            return book.widgets.length - 1;
            """,
            source=source,
            wait=wait,
        )
        cell = self.cell(index)
        cell.scroll_into_view_if_needed()
        if not wait:
            expect(cell.locator(".jp-InputPrompt")).to_have_text("[*]:")
        return cell

    def show(self, source):
        """Run code in a new cell, and return the card that it shows."""
        return Card(self.run(source).locator(".nbf-card"))

    def cell(self, index):
        """Return a cell by its position."""
        identity = self._do("return panel.id;")
        return self.page.locator(f'[id="{identity}"] .jp-Notebook .jp-Cell').nth(index)

    def output(self, cell=-1):
        """Return the outputs of a cell as they would be saved."""
        return self._do("return panel.content.widgets.at(cell).model.outputs.toJSON();", cell=cell)

    def save(self):
        self._do("await within(30, 'saving', panel.context.save());")

    # --- the kernel ---------------------------------------------------------------------------------------------------

    def ask(self, expression):
        """Return the value of an expression in the kernel, once that is idle."""
        reply = self._do(
            """
            const kernel = panel.sessionContext.session.kernel;
            const ask = {code: '', silent: true, store_history: false, user_expressions: {asked: source}};
            return (await within(60, source, kernel.requestExecute(ask).done)).content;
            """,
            source=f"__import__('json').dumps({expression})",
        )
        asked = reply["user_expressions"]["asked"]
        assert asked["status"] == "ok", asked
        return json.loads(ast.literal_eval(asked["data"]["text/plain"]))

    def tell(self, code):
        """Run code in the kernel without a cell, once that is idle."""
        reply = self._do(
            """
            const kernel = panel.sessionContext.session.kernel;
            const told = {code: source, silent: false, store_history: false};
            return (await within(60, source, kernel.requestExecute(told).done)).content;
            """,
            source=code,
        )
        assert reply["status"] == "ok", reply

    def prepares(self):
        """Tell whether `set_up` comes to its end."""
        try:
            self.set_up()
        except PlaywrightError:
            return False
        return True

    def answers(self, seconds=15):
        """Tell whether the kernel answers in time."""
        try:
            self._do(
                """
                const kernel = panel.sessionContext.session.kernel;
                const ask = {code: '', silent: true, store_history: false};
                await within(seconds, 'answering', kernel.requestExecute(ask).done);
                """,
                seconds=seconds,
            )
        except PlaywrightError:
            return False
        return True

    def restart(self):
        """Restart the kernel."""
        self._do("await within(60, 'restarting', panel.sessionContext.session.kernel.restart());")

    def set_up(self):
        """Give the kernel what the tests' cells need."""
        self.tell(SETUP)

    # --- gates --------------------------------------------------------------------------------------------------------

    def begin(self):
        """Close all gates, for a test that begins."""
        self._gates = self._folder / uuid.uuid4().hex
        self._gates.mkdir()
        self.tell(f"GATES = pathlib.Path({str(self._gates)!r})")

    def end(self):
        """Open all gates, let the jobs end, and remove the cells."""
        self.open_gate("all")
        self.tell("end_jobs()")
        self.clear()

    def clear(self):
        """Remove all cells."""
        self._do("const cells = panel.content.model.sharedModel; cells.deleteCellRange(0, cells.cells.length);")

    def open_gate(self, *names):
        for name in names:
            (self._gates / str(name)).touch()

    def _do(self, body, **more):
        script = f"""
            async ({{path, {", ".join(more)}}}) => {{
                const app = window.jupyterapp;
                const panel = window.findPanel(path);
                {body}
            }}
        """
        return self.page.evaluate(script, {"path": self.path, **more})


class Card:
    """A card in the browser; the names are those that a screen reader reads."""

    def __init__(self, root):
        self.root = root

    @property
    def bar(self):
        return self.root.get_by_role("progressbar")

    @property
    def state(self):
        return self.root.locator(".nbf-state")

    @property
    def buttons(self):
        return self.root.get_by_role("button")

    def button(self, name):
        return self.root.get_by_role("button", name=name)

    def fold(self, title):
        return self.root.locator(".nbf-fold").filter(has=self.root.page.locator("summary", has_text=title))

    def open(self, title):
        """Open a fold, and return what is in it."""
        fold = self.fold(title)
        fold.locator("summary").first.click()
        return fold.locator(".nbf-fold-body")

    def expect_done(self, settled, total):
        """Wait until the bar has come so far."""
        expect(self.bar).to_have_attribute("aria-valuenow", str(settled))
        expect(self.bar).to_have_attribute("aria-valuemax", str(total))

    def picture(self, name):
        picture(self.root, name)


def picture(where, name):
    """Save what a person sees, for those who want to look."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    where.screenshot(path=os.fspath(SCREENSHOTS / f"{name}.png"), animations="disabled")
