"""What `%map?` and its like print."""

import re
import textwrap

import pytest

from nbfutures.magics.arguments import JOB_OPTIONS

NAMES = [
    ("line", "map"),
    ("cell", "map"),
    ("line", "submit"),
    ("cell", "submit"),
    ("cell", "flow"),
    ("line", "jobs"),
    ("line", "dashboard"),
    ("line", "runner"),
    ("line", "limit"),
]
WITH_OPTIONS = [one for one in NAMES if one[1] in {"map", "submit", "flow"}]

PREPARED = """
sites = {"a": "http://a"}
urls = ["http://a"]
n = 2
path = model = None
def square(x): return x * x
def fetch(url, verify=True): return url
def train(model, epochs): return model
def download(url): return "page"
"""


def help_of(shell, kind, name):
    return shell.magics_manager.magics[kind][name].__doc__


def examples(text):
    """Return the cells below `Examples:`; those of line magics have one line, those of cell magics end at the next."""
    block = textwrap.dedent(re.search(r"Examples:\n((?:    .*\n|\n)+)", text + "\n")[1]).strip()
    if block.startswith("%%"):
        return re.split(r"\n\n(?=%%)", block)
    return block.splitlines()


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_help_begins_with_a_sentence_and_the_usage(notebook, kind, name):
    text = help_of(notebook.shell, kind, name)
    first, empty, usage, *_ = text.splitlines()
    assert first.endswith(".")
    assert empty == ""
    assert usage.startswith(f"Usage: {'%' if kind == 'line' else '%%'}{name}")
    assert "{" not in text.replace("{x}", "")
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(("kind", "name"), WITH_OPTIONS)
def test_help_lists_every_option(notebook, kind, name):
    text = help_of(notebook.shell, kind, name)
    for option in JOB_OPTIONS:
        assert re.search(rf"^ +{re.escape(', '.join(option.forms))}.*  {re.escape(option.help)}$", text, re.MULTILINE)


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_example_of_the_help_works_as_it_stands(notebook, fake, kind, name):
    notebook(PREPARED)
    found = examples(help_of(notebook.shell, kind, name))
    assert len(found) >= (3 if (kind, name) in {("line", "map"), ("cell", "map")} else 1)
    for cell in found:
        if name in {"jobs", "dashboard"}:
            fake.options(name=cell.removeprefix(f"%{name}").strip() or None).submit(len)
        ran = notebook.run(cell)
        assert ran.error is None, cell
    if name in {"map", "submit", "flow"}:
        assert len(fake.jobs) == len(found)


@pytest.mark.parametrize("question", ["%map?", "%%map?", "%%flow?"])
def test_a_question_mark_shows_the_help(notebook, question):
    kind = "cell" if question.startswith("%%") else "line"
    shown = notebook.run(question).out
    assert help_of(notebook.shell, kind, question.strip("%?")).splitlines()[0] in shown
