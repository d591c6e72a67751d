"""One browser, with one Jupyter server, for all tests that look at the card."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect, sync_playwright
from tests.browser.jupyter_server import JupyterServer, write_kernel
from tests.browser.notebook import IN_THE_PAGE, Notebook

FIND_BROWSER = Path(__file__).resolve().parents[2] / "scripts" / "find_browser.py"
OLDER = "7.3"
KERNELS = ["newest", OLDER]
_OPEN = """
async ({path, starts}) => {
    const panel = await within(60, 'opening', window.jupyterapp.commands.execute('docmanager:open',
        {path, factory: 'Notebook', kernelPreference: {shouldStart: starts, canStart: starts}}));
    await within(60, 'reading', panel.context.ready);
    if (starts) await within(60, 'starting a kernel', panel.sessionContext.ready);
    await within(60, 'showing', panel.revealed);
}
"""
_CLOSE = """
async (path) => {
    const panel = window.findPanel(path);
    if (panel) await within(60, 'ending the kernel', panel.sessionContext.shutdown());
    panel?.dispose();
}
"""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    # Playwright keeps an event loop in the main thread, where other tests start one of their own: they come first.
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def browser():
    found = subprocess.run([sys.executable, str(FIND_BROWSER)], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.fail(found.stderr.strip(), pytrace=False)
    with sync_playwright() as playwright:
        expect.set_options(timeout=120_000)
        started = playwright.chromium.launch(
            executable_path=found.stdout.strip(),
            args=["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def jupyter(kernel_environment, tmp_path_factory):
    server = JupyterServer(tmp_path_factory.mktemp("jupyter"), kernel_environment)
    # JupyterLab asks for the kernels once: also the one that is installed when it is needed.
    write_kernel(server.kernels, "newest")
    write_kernel(server.kernels, OLDER, PYTHONPATH=str(server.older_ipykernel))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def write_notebook(jupyter):
    """Put a notebook on the server."""

    def write(path, cells=(), kernel="newest"):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        book.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        nbformat.write(book, jupyter.notebooks / path)
        return path

    return write


@pytest.fixture(scope="session")
def open_page(browser):
    """Open pages; `errors` are those of widgets, whose code is in a blob. Notebook 7 has one of its own."""
    contexts = []

    def open_one(address):
        context = browser.new_context(viewport={"width": 1000, "height": 1400}, device_scale_factor=1.5)
        contexts.append(context)
        context.add_init_script(IN_THE_PAGE)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(error.stack) if "blob:" in (error.stack or "") else None)
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()


def wait_for_app(page):
    """Wait until JupyterLab or Notebook 7 has started."""
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("within(60, 'starting', window.jupyterapp.restored)")


class Lab:
    """JupyterLab in the browser."""

    def __init__(self, jupyter, open_page):
        self._address = jupyter.address("lab/workspaces/tests?reset")
        self._gates = jupyter.gates
        self.page = open_page(self._address)
        self._wait()

    def open(self, path, *, starts=True):
        """Open a notebook; where it does not start, there is no kernel."""
        self.page.evaluate(_OPEN, {"path": path, "starts": starts})
        return Notebook(self.page, path, self._gates)

    def close(self, path):
        """Close a notebook and end its kernel."""
        self.page.evaluate(_CLOSE, path)

    def reload(self):
        """Load the page anew, without the notebooks that were open."""
        self.page.goto(self._address)
        self._wait()

    @contextlib.contextmanager
    def theme(self, name):
        """Switch to a theme, and back in the end."""
        self._set_theme(name)
        try:
            yield
        finally:
            self._set_theme("JupyterLab Light")

    def _set_theme(self, name):
        self.page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function("(name) => document.body.dataset.jpThemeName === name", arg=name)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def _wait(self):
        wait_for_app(self.page)
        self.page.evaluate(
            "window.jupyterapp.shell.leftCollapsed || "
            "window.jupyterapp.commands.execute('application:toggle-left-area')"
        )


@pytest.fixture(scope="session")
def lab(jupyter, open_page):
    return Lab(jupyter, open_page)


@pytest.fixture(scope="session")
def older_kernel(jupyter):
    """Install an older ipykernel beside the others."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(jupyter.older_ipykernel)]
    made = subprocess.run([*command, f"ipykernel=={OLDER}.*"], capture_output=True, text=True, check=False, timeout=120)
    if made.returncode:
        pytest.skip(f"ipykernel {OLDER} cannot be had: {made.stderr.strip()[-300:]}")


def wait_for_older(book, *, is_new):
    """Have a kernel that answers, or skip the test.

    Now and then ipykernel 7.3 loses a message between its own threads as it starts, and then sits there idle for good:
    nothing of that is ours, and nothing of ours can be seen with it.
    """
    for _ in range(3 if is_new else 0):
        if book.answers() and book.prepares() and book.answers():
            return
        book.restart()
    if not book.answers():
        pytest.skip(f"ipykernel {OLDER} lost a message within itself and does not answer")


@pytest.fixture(scope="session")
def _used():
    return set()


@pytest.fixture(params=["newest"])
def notebook(request, lab, write_notebook, _used):
    """A notebook without cells; its kernel is that of other tests as well. Param: the kernel."""
    kernel = request.param
    path = f"{kernel}.ipynb"
    is_new = path not in _used
    if is_new:
        if kernel == OLDER:
            request.getfixturevalue("older_kernel")
        _used.add(write_notebook(path, kernel=kernel))
    book = lab.open(path)
    if kernel == OLDER:
        wait_for_older(book, is_new=is_new)
    if is_new:
        book.set_up()
        version = book.ask("__import__('ipykernel').__version__")
        assert version.startswith(OLDER) is (kernel == OLDER)
    book.begin()
    lab.page.errors.clear()
    yield book
    book.end()
    assert lab.page.errors == []
