"""A notebook's variables, and forms that are filled in as people do."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import settings

from nbfutures.launcher import launcher
from nbfutures.launcher.entries import Mode

# How long an example takes says more about the machine than about the code.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


class Notebook(dict):
    """The variables of a notebook that has run some cells."""

    def __init__(self):
        super().__init__(__name__="__main__")
        self.run("import nbfutures as nbf")

    def run(self, cell):
        """Run a cell; return the variables."""
        exec(textwrap.dedent(cell), self)
        return self

    def form(self, function):
        """Return the form of one of its functions."""
        return launcher(self[function], namespace=self)


@pytest.fixture
def notebook():
    return Notebook()


def fill(form, /, **entries):
    """Enter values in a form: an entry as it is, or `over("paths")`, or `variable("n")`."""
    for name, entry in entries.items():
        row = {**form.rows, **form.options, "variable": form.variable}[name]
        mode, text = entry if isinstance(entry, tuple) else (Mode.VALUE, entry)
        row.mode.value = mode
        row.input.value = text
    return form


def over(text):
    return Mode.MAP, text


def variable(text):
    return Mode.EXPRESSION, text
