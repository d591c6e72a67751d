"""A form, filled in as people do, on the real server."""

from __future__ import annotations

import enum
from pathlib import Path

import pytest
from IPython.core.formatters import DisplayFormatter
from tests.launcher.conftest import fill, over, variable

import nbfutures as nbf
from nbfutures.api import session_jobs
from nbfutures.errors import NbfuturesError
from nbfutures.launcher import launcher
from nbfutures.launcher.entries import Mode
from nbfutures.launcher.form import Form


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


@pytest.fixture
def jobs(server):
    """The session's jobs; none is left by a test."""
    server.jobs.clear()
    yield server.jobs
    for job in session_jobs():
        job.cancel()
        assert job.wait(120)
    server.jobs.clear()


def submit(form):
    """Press the button; return the values of the job."""
    before = form.job
    form.submit.click()
    assert form.job is not before, (form.problem, {name: row.problem for name, row in form.rows.items()})
    return form.job.result(120)


def refuse(form):
    """Press the button; return what is said at the fields."""
    before = len(session_jobs())
    form.submit.click()
    assert form.problem
    assert len(session_jobs()) == before
    rows = {**form.rows, **form.options, "variable": form.variable}
    return {name: row.problem for name, row in rows.items() if row.problem}


def labels(form):
    return {name: row.input.description for name, row in form.rows.items()}


# --- without a server ----------------------------------------------------------------------------------------------


def test_each_argument_has_an_input_with_its_name(notebook):
    notebook["Colour"] = Colour
    form = notebook.run("def f(path, n: int, mode: Colour, on: bool = True): ...").form("f")
    assert labels(form) == {"path": "path", "n": "n", "mode": "mode", "on": "on"}
    assert [type(row.value).__name__ for row in form.rows.values()] == ["Combobox", "Combobox", "Dropdown", "Checkbox"]


def test_what_is_wrong_is_said_at_its_field_as_soon_as_it_is_entered(notebook):
    form = notebook.run("def f(n: int, m: int): ...").form("f")
    fill(form, n="2.5")
    assert "whole number" in form.rows["n"].problem
    assert 'role="alert"' in form.rows["n"].message.value
    assert form.rows["m"].problem == ""
    fill(form, n="2")
    assert form.rows["n"].problem == ""
    assert "alert" not in form.rows["n"].message.value


@pytest.mark.parametrize(
    ("entry", "words"),
    [(over("xs"), "Map 12 items"), (over("xs[:1]"), "Map items"), (over("[1]"), "Map 1 item"), ("1", "Submit")],
)
def test_the_button_says_what_it_will_do(notebook, entry, words):
    form = notebook.run("def f(x): ...\nxs = range(12)").form("f")
    assert fill(form, x=entry).submit.description == words


def test_untrusted_text_is_no_markup(notebook):
    notebook.run("def f(x):\n    '''<img src=x onerror=alert(1)>'''\nxs = ['<script>1</script>']")
    form = fill(notebook.form("f"), x=over("xs"))
    html = form.rows["x"].message.value + form.widget.children[0].value
    assert "<img" not in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;img" in html


def test_the_variables_of_the_notebook_are_offered(notebook):
    form = notebook.run("def f(x: int, y: str): ...\nn = 1\nxs = [1]\nword = 'a'").form("f")
    assert form.rows["x"].input.options == ("n",)
    fill(form, x=over(""), y=variable(""))
    assert (form.rows["x"].input.options, form.rows["y"].input.options) == (("xs",), ("word",))
    notebook.run("ys = [2]")
    form.submit.click()
    assert form.rows["x"].input.options == ("xs", "ys")


def test_there_is_no_python_line_before_the_form_is_complete(notebook):
    form = notebook.run("def f(x, y): ...").form("f")
    assert (form.line.code, form.line.note) == ("", "The same in Python appears here once x is right.")
    fill(form, x="1", y="2")
    assert form.line.code == "job = nbf.submit(f, 1, 2)"


def test_a_function_without_a_name_has_a_form_but_no_line(notebook):
    form = launcher(lambda x: x, namespace=notebook)
    fill(form, x="1")
    assert form.line.code == ""
    assert "Give it a name" in form.line.note


@pytest.mark.parametrize(
    ("option", "entry", "words"),
    [
        ("workers", "0", "at least 1"),
        ("workers", "many", "no variable many"),
        ("retries", "-1", "at least 0"),
        ("name", "  ", "not empty"),
        ("variable", "my job", "a variable's name"),
        ("variable", "for", "a variable's name"),
        ("variable", "f", "needed itself"),
    ],
)
def test_a_wrong_option_is_said_at_its_field_and_keeps_the_others(notebook, option, entry, words):
    form = fill(notebook.run("def f(x): ...").form("f"), x="7", workers="3", name="mine")
    fill(form, **{option: entry})
    problems = refuse(form)
    assert list(problems) == [option]
    assert words in problems[option]
    assert option in form.problem
    kept = {"x": form.rows["x"], **form.options}
    assert {name: row.input.value for name, row in kept.items()} == {
        "x": "7",
        "runner": "threads",
        "workers": "3",
        "retries": "",
        "name": "mine",
        "dry_run": False,
        **({option: entry} if option in kept else {}),
    }


def test_a_missing_and_a_failing_value_are_both_said(notebook):
    form = fill(notebook.run("def f(x: int, y, z): ...").form("f"), y="1/0", z="1")
    assert refuse(form) == {"x": "Needed: a whole number.", "y": "ZeroDivisionError: division by zero"}
    assert form.problem == "Nothing was submitted: correct the fields x, y."


def test_lists_of_different_lengths_are_said_at_both_until_one_is_changed(notebook):
    form = notebook.run("def f(x, y): ...\nxs = [1, 2, 3]\nys = [1, 2]").form("f")
    problems = refuse(fill(form, x=over("xs"), y=over("ys")))
    assert list(problems) == ["x", "y"]
    assert "x has 3, y has 2" in problems["x"]
    fill(form, x=over("ys"))
    assert form.rows["y"].problem == ""
    assert form.line.code == "job = nbf.map(f, ys, ys)"


def test_an_iterable_that_raises_is_said_in_words(notebook):
    form = notebook.run(
        "def f(x): ...\nclass Broken(list):\n    def __iter__(self):\n        yield 1\n        raise OSError('gone')"
    ).form("f")
    assert refuse(fill(form, x=over("Broken()"))) == {}
    assert "OSError: gone" in form.problem


@pytest.mark.parametrize("target", [3, "f", min])
def test_what_has_no_form_is_refused_with_advice(target):
    with pytest.raises(NbfuturesError, match=r"nbf\.launcher"):
        launcher(target)


def test_the_public_name_is_callable_whatever_was_imported_first(notebook):
    import nbfutures.launcher.form  # makes nbfutures.launcher the package

    notebook.run("def f(x): ...")
    assert isinstance(nbf.launcher(notebook["f"], namespace=notebook), Form)
    assert isinstance(nbfutures.launcher.launcher(notebook["f"], namespace=notebook), Form)


def test_without_widgets_one_line_says_what_it_is(notebook):
    form = notebook.run("def f(x): ...").form("f")
    data, _ = DisplayFormatter(active_types=["text/plain", "text/html"]).format(form)
    assert data["text/plain"] == repr(form)
    assert "\n" not in repr(form)
    assert "JupyterLab" in repr(form)
    assert "&lt;launcher for f" in data["text/html"]


# --- with a server -------------------------------------------------------------------------------------------------

CALLS = [
    ("x", {"x": over("xs")}, [(1,), (2,), (3,)]),
    ("x, y", {"x": over("xs"), "y": "xs"}, [(1, [1, 2, 3]), (2, [1, 2, 3]), (3, [1, 2, 3])]),
    ("x, y", {"x": over("(n for n in xs)"), "y": over("range(3)")}, [(1, 0), (2, 1), (3, 2)]),
    ("x, fn='a'", {"x": over("xs"), "fn": over("'abc'.split('b') + ['d']")}, [(1, "a"), (2, "c"), (3, "d")]),
    ("x: list[int], y: str", {"x": "xs", "y": "n"}, ([1, 2, 3], "n")),
    ("x: str, y: float", {"x": variable("word"), "y": "n"}, ("it's", 4)),
    ("x: Colour, y: Path", {"x": Colour.GREEN, "y": "a/b"}, (Colour.GREEN, Path("a/b"))),
    ("x: bool, *, y: int | None", {"x": True, "y": ""}, (True, None)),
    ("x: int = 3, y: str = 'a', /", {"x": "4", "y": ""}, (4, "")),
    ("x: int = 3, y: Colour = Colour.RED", {}, (3, Colour.RED)),
]


@pytest.mark.parametrize("kind", ["function", "async function", "task"])
@pytest.mark.parametrize("call", CALLS, ids=[f"{number}: {call[0]}" for number, call in enumerate(CALLS)])
def test_the_form_and_its_line_give_the_same(jobs, notebook, kind, call):
    signature, entries, expected = call
    notebook["Colour"] = Colour
    notebook.run('from pathlib import Path\nfrom prefect import task\nxs = [1, 2, 3]\nn = 4\nword = "it\'s"')
    names = [part.split(":")[0].split("=")[0].strip() for part in signature.split(",")]
    values = "".join(f"{name}, " for name in names if name.isidentifier())
    start = {"function": "def", "async function": "async def", "task": "@task\ndef"}[kind]
    form = fill(notebook.run(f"{start} f({signature}): return ({values})").form("f"), **entries)
    assert submit(form) == expected
    assert notebook["job"] is form.job
    del notebook["job"]
    assert notebook.run(form.line.code)["job"].result(60) == expected


def test_a_table_is_given_whole_by_its_name(jobs, notebook):
    notebook.run("""
        import pandas as pd
        def f(x: int, table: pd.DataFrame): return x * len(table)
        rows = pd.DataFrame({"a": [1, 2]})
    """)
    form = fill(notebook.form("f"), x=over("[1, 2, 3]"), table="rows")
    assert submit(form) == [2, 4, 6]
    assert form.line.code == "job = nbf.map(f, [1, 2, 3], nbf.unmapped(rows))"


def test_a_flow_is_run(jobs, notebook):
    notebook.run("""
        from prefect import flow, task
        @task
        def double(x): return 2 * x
        @flow
        def all_of(n: int): return [double(x) for x in range(n)]
    """)
    form = notebook.form("all_of")
    assert form.submit.description == "Run flow"
    assert list(form.options) == ["name"]
    assert Mode.MAP not in dict(form.rows["n"].mode.options).values()
    assert submit(fill(form, n="3", name="doubles")) == [0, 2, 4]
    assert form.job.name == "doubles"
    assert form.line.code == "job = nbf.options(name='doubles').run(all_of, 3)"


def test_a_dry_run_is_a_tick(jobs, notebook):
    form = notebook.run("def f(n: int): return n").form("f")
    assert "dry_run" not in form.line.code
    fill(form, n="7", dry_run=True)
    assert form.line.code == "job = nbf.options(dry_run=True).submit(f, 7)"
    assert submit(form) == 7
    assert form.job.dry_run.total == 1


def test_options_are_those_of_the_job_and_the_line(jobs, notebook):
    notebook.run("""
        seen = []
        def f(x):
            seen.append(x)
            if len(seen) < 3: raise OSError
            return x
    """)
    form = fill(notebook.form("f"), x="7", workers="2", retries="2", name="again", variable="mine")
    assert submit(form) == 7
    assert (form.job.name, form.job.snapshot.workers, len(notebook["seen"])) == ("again", 2, 3)
    assert notebook["mine"] is form.job
    assert form.line.code == "mine = nbf.options(workers=2, retries=2, name='again').submit(f, 7)"


def test_a_corrected_field_is_submitted_with_the_others_as_they_were(jobs, notebook):
    form = fill(notebook.run("def f(x, y: int): return x, y\nxs = [1, 2]").form("f"), x=over("xs"), y="z")
    assert list(refuse(form)) == ["y"]
    assert submit(fill(form, y="5")) == [(1, 5), (2, 5)]
    assert form.problem == ""


def test_a_variable_that_was_missing_is_taken_when_a_cell_has_made_it(jobs, notebook):
    form = fill(notebook.run("def f(x): return x").form("f"), x=over("later"))
    assert "no variable later" in form.rows["x"].problem
    notebook.run("later = [1, 2]")
    assert submit(form) == [1, 2]


def test_an_edited_function_is_the_one_that_runs(jobs, notebook):
    form = fill(notebook.run("def f(x): return x").form("f"), x="3")
    notebook.run("def f(x): return -x")
    assert submit(form) == -3
    assert form.line.code == "job = nbf.submit(f, 3)"
    notebook.run("def f(x, y): return x")
    assert refuse(form) == {}
    assert "other parameters now" in form.problem


def test_a_form_does_not_take_the_variable_of_another_job(jobs, notebook):
    notebook.run("def f(x): return x\njob = 'precious'")
    assert submit(fill(notebook.form("f"), x="3")) == 3
    assert notebook["job"] == "precious"
    assert notebook["job2"].result(60) == 3


def test_forms_do_not_take_each_others_variables_unless_told_to(jobs, notebook):
    notebook.run("def f(x): return x")
    one, two = (fill(notebook.form("f"), x=text) for text in "12")
    assert (submit(one), submit(two), submit(one)) == (1, 2, 1)
    assert (notebook["job"], notebook["job2"]) == (one.job, two.job)
    assert two.line.code == "job2 = nbf.submit(f, 2)"
    submit(fill(two, variable="job"))
    assert notebook["job"] is two.job


def test_a_job_can_be_mapped_over(jobs, notebook):
    notebook.run("def f(x: int): return x + 1\nfirst = nbf.map(f, [1, 2])")
    assert submit(fill(notebook.form("f"), x=over("first"))) == [3, 4]


def test_one_item_of_a_job_is_one_value_for_all(jobs, notebook):
    notebook.run("def f(x: int, y: int = 0): return x + y\nfirst = nbf.map(f, [10, 20])")
    form = fill(notebook.form("f"), x=over("[1, 2]"), y="first[0]")
    assert submit(form) == [11, 12]
    assert notebook.run(form.line.code)["job"].result(60) == [11, 12]


# --- choosing a function -------------------------------------------------------------------------------------------


def test_without_an_argument_the_notebooks_functions_are_offered(jobs, notebook):
    chooser = launcher(namespace=notebook)
    assert "Run a cell that defines one" in chooser.message.value
    notebook.run("def one(x): return x\ndef two(y): return 2 * y")
    chooser.refresh.click()
    assert chooser.message.value == ""
    assert [name for _, name in chooser.choice.options if name] == ["one", "two"]
    assert chooser.form is None
    chooser.choice.value = "two"
    assert submit(fill(chooser.form, y="4")) == 8
    assert chooser.job is chooser.form.job


def test_a_refresh_keeps_the_form_unless_its_function_is_another(notebook):
    notebook.run("def one(x): return x\ndef two(y): return 2 * y")
    chooser = launcher(namespace=notebook)
    chooser.choice.value = "one"
    form = fill(chooser.form, x="1")
    notebook.run("def three(): ...")
    chooser.refresh.click()
    assert chooser.form is form
    assert chooser.choice.value == "one"
    notebook.run("def one(z): ...")
    chooser.refresh.click()
    assert list(chooser.form.rows) == ["z"]
    del notebook["one"]
    chooser.refresh.click()
    assert (chooser.form, chooser.choice.value) == (None, "")
