"""`%%flow`: the body of a cell as a module of its own."""

import asyncio
import inspect
import traceback
import typing

import prefect
import pytest
from tests.magics.flow_cells import FLOW_CELLS


@pytest.fixture
def nb(notebook):
    notebook.run("offset = 10")
    return notebook


def result(job):
    return asyncio.run(job.fn()) if inspect.iscoroutinefunction(job.fn) else job.fn()


def test_the_cell_is_one_function_that_the_api_runs(nb, fake):
    job = nb("%%flow -n sums --retries 2\n1")
    assert job is fake.job
    assert (job.verb, job.args, job.kwargs, job.options) == ("run", (), {}, {"name": "sums", "retries": 2})
    assert (job.fn.__name__, job.fn.__module__) == ("sums", "__main__")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("1 + offset", 11),
        ("x = 1", None),
        ("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)\neven(10)", True),
        ("value = 'imported'\nif __name__ == '__main__':\n    value = 'run'\nvalue", "run"),
        ("class A:\n    size = offset\nA.size", 10),
        ("offset += 1\noffset", 11),
        ("[offset for _ in range(2)]", [10, 10]),
        ("def f():\n    global made\n    made = 3\nf()\nmade", 3),
        ("from __future__ import annotations\ndef f(x: later): pass\nf.__annotations__", {"x": "later"}),
    ],
)
def test_the_body_runs_as_a_module_whose_last_expression_is_the_value(nb, fake, body, value):
    nb(f"%%flow\n{body}")
    assert result(fake.job) == value


def test_what_the_body_defines_does_not_reach_the_notebook(nb, fake):
    nb("%%flow\nfrom __future__ import annotations\nimport math\nnew = offset = 3\ndef helper(): pass\nclass A: pass")
    before = dict(nb.ns)
    result(fake.job)
    assert nb.ns == before
    nb("def typed(x: int): pass")
    assert nb.ns["typed"].__annotations__ == {"x": int}


def test_the_body_sees_the_variables_as_they_were_when_the_cell_ran(nb, fake):
    nb("%%flow\noffset")
    nb("offset = 1000")
    assert result(fake.job) == 10


def test_a_second_run_starts_anew(nb, fake):
    nb("%%flow\noffset += 1\noffset")
    assert [result(fake.job), result(fake.job)] == [11, 11]


@pytest.mark.parametrize(
    "body",
    [
        "import asyncio\nawait asyncio.sleep(0)\noffset",
        "async def value():\n    return offset\nawait value()",
        "import asyncio\nx = await asyncio.sleep(0, offset)\nasync def value():\n    return x\nawait value()",
    ],
)
def test_a_body_that_awaits_is_an_async_function(nb, fake, body):
    nb(f"%%flow\n{body}")
    assert inspect.iscoroutinefunction(fake.job.fn)
    assert result(fake.job) == 10


def test_asyncio_run_works_in_a_body_that_does_not_await(nb, fake):
    nb("%%flow\nimport asyncio\nasync def value():\n    return offset\nasyncio.run(value())")
    assert not inspect.iscoroutinefunction(fake.job.fn)
    assert result(fake.job) == 10


def test_dataclasses_and_type_hints_resolve(nb, fake):
    nb(
        "%%flow\nfrom __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Part:\n    name: str\n@dataclass\nclass Whole:\n    parts: list[Part]\n"
        "def build(part: Part) -> Whole: return Whole([part])\nbuild, Part, Whole"
    )
    build, part, whole = result(fake.job)
    assert typing.get_type_hints(build) == {"part": part, "return": whole}
    assert build(part("a")) == whole([part("a")])


def test_the_source_of_what_it_defines_can_be_read(nb, fake):
    nb("%%flow\n\ndef first():\n    return 1\n\nasync def second(x):\n    # told\n    return x\n\nfirst, second")
    first, second = result(fake.job)
    assert inspect.getsource(first) == "def first():\n    return 1\n"
    assert inspect.getsource(second) == "async def second(x):\n    # told\n    return x\n"


def test_a_traceback_has_the_line_numbers_of_the_cell(nb, fake):
    nb("%%flow\n\ndef inner():\n    return 1 / 0\n\ninner()")
    with pytest.raises(ZeroDivisionError) as caught:
        result(fake.job)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [(frame.lineno, frame.line) for frame in frames[-2:]] == [(6, "inner()"), (4, "return 1 / 0")]


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("x = 1\nreturn x", 3, "'return' outside function"),
        ("yield 1", 2, "'yield' outside function"),
        ("x = \n", 2, "invalid syntax"),
    ],
)
def test_a_syntax_error_is_shown_in_the_cell(nb, fake, body, line, message):
    shown = nb.run(f"%%flow\n{body}").out
    assert f"Cell In[2], line {line}\n" in shown
    assert f"SyntaxError: {message}" in shown
    assert "Traceback" not in shown
    assert fake.jobs == []


@pytest.mark.parametrize("cell", FLOW_CELLS.values(), ids=FLOW_CELLS)
def test_a_cell_that_uses_prefect_as_its_guides_do_makes_a_flow(nb, fake, cell):
    nb(f"%%flow\n{cell.code}")
    assert fake.job.verb == "run"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("from prefect import flow\n@flow\ndef last(): return 3", 3),
        ("import prefect\n'Text.'\nstart = 1\n@prefect.flow(name='x')\ndef last(more=2): return start + more", 3),
        ("from prefect import flow\n@flow\nasync def last(): return 3", 3),
        ("from prefect import flow\n@flow\nasync def last(): return 3\nlast()", 3),
        ("from prefect import flow\n@flow\ndef last(): return 3\nprint()", None),
        ("from prefect import flow\nprint()\n@flow\ndef last(): return 3", None),
        ("from prefect import task\n@task\ndef last(): return 3", None),
        ("def last(): return 3", None),
    ],
)
def test_a_cell_that_only_defines_flows_calls_the_last_one(nb, fake, body, value, monkeypatch):
    for kind in ("flow", "task"):
        monkeypatch.setattr(prefect, kind, lambda fn=None, **_: fn if fn is not None else lambda made: made)
    nb(f"%%flow\n{body}")
    assert result(fake.job) == value


def test_a_flow_that_needs_arguments_is_not_guessed(nb, fake):
    told = nb.run("%%flow\nfrom prefect import flow\n@flow\ndef report(rows, top=3, *, title): pass").usage_error
    assert told == (
        "The cell defines the flow report and does not call it. Call it in a last line: report(rows=..., title=...)."
    )
