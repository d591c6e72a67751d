"""`%%map` and `%%submit`: the body of a cell as a function."""

import asyncio
import gc
import inspect
import pickle
import traceback
import weakref

import cloudpickle
import pytest
from IPython.core.compilerop import CachingCompiler


@pytest.fixture
def nb(notebook):
    notebook.run("offset = 10\nsites = {'a': 'http://a', 'b': 'http://b'}")
    return notebook


def failure(function, *args):
    """Call a function that raises, and return the lines of its traceback as (line number, function, source)."""
    with pytest.raises(Exception) as caught:
        function(*args)
    frames = traceback.extract_tb(caught.value.__traceback__)[1:]
    return caught.value, [(frame.lineno, frame.name, frame.line) for frame in frames]


def test_the_last_expression_is_the_value(nb, fake):
    job = nb("%%map x in range(3)\ny = x + offset\ny ** 2")
    assert job is fake.job
    assert (job.verb, job.args, job.kwargs) == ("map", (range(3),), {})
    assert job.values() == [100, 121, 144]


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("y = x", [None, None]),
        ("if x:\n    x", [None, None]),
        ("return x + 1", [1, 2]),
        ("if x:\n    return 'odd'\n'even'", ["even", "odd"]),
        ("    x * 2", [0, 2]),
        ("# only a comment\nx", [0, 1]),
        ("x;", [0, 1]),
        ("def twice(n):\n    return 2 * n\ntwice(x)", [0, 2]),
        ("import math as m\nm.floor(x)", [0, 1]),
        ("[x for _ in range(2)]", [[0, 0], [1, 1]]),
        ("total = 0\nfor _ in range(3):\n    total += x\ntotal", [0, 3]),
    ],
)
def test_a_body_returns_what_a_reader_expects(nb, fake, body, values):
    nb(f"%%map x in range(2)\n{body}")
    assert fake.job.values() == values


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("name, url in sites.items()", "name + url", ["ahttp://a", "bhttp://b"]),
        ("(name, url) in sites.items()", "name", ["a", "b"]),
        ("[a, b] in [(1, 2)]", "a - b", [-1]),
        ("a, (b, c) in [(1, (2, 3))]", "a, b, c", [(1, 2, 3)]),
        ("a, *rest in [(1, 2, 3), (4,)]", "rest", [[2, 3], []]),
        ("one, in [(1,)]", "one", [1]),
        ("item, n in [(1, 2)]", "item, n", [(1, 2)]),
    ],
)
def test_targets_are_those_of_a_for(nb, fake, head, body, expected):
    nb(f"%%map {head}\n{body}")
    assert fake.job.values() == expected


def test_the_parameter_is_called_as_the_target(nb, fake):
    nb("%%map page in [1]\npage")
    assert list(inspect.signature(fake.job.fn).parameters) == ["page"]


def test_the_parameter_of_a_tuple_target_is_one_item(nb, fake):
    nb("%%map name, url in sites.items()\nname")
    assert list(inspect.signature(fake.job.fn).parameters) == ["item"]


def test_the_parameter_of_a_tuple_target_hides_no_name_of_the_body(nb, fake):
    nb("item = 'mine'")
    nb("%%map a, b in [(1, 2)]\nitem")
    assert fake.job.values() == ["mine"]


def test_a_wrong_number_of_values_fails_the_item_at_the_head_of_the_cell(nb, fake):
    nb("%%map a, b in [(1, 2), (3,)]\na")
    assert fake.job.fn((1, 2)) == 1
    error, frames = failure(fake.job.fn, (3,))
    assert "not enough values to unpack" in str(error)
    assert frames == [(1, "<module>", "# %%map a, b in [(1, 2), (3,)]")]


@pytest.mark.parametrize(
    "head", ["x in [1, 2] -w 2*2 --retries 1", "-w 2*2 --retries 1 x in [1, 2]", "-w 2*2 x in [1, 2] --retries=1"]
)
def test_options_stand_before_or_after_the_loop(nb, fake, head):
    nb(f"%%map {head}\nx")
    assert fake.job.args == ([1, 2],)
    assert fake.job.options == {"workers": 4, "retries": 1, "name": "cell 2"}


def test_a_subtraction_is_no_option(nb, fake):
    nb("a, b = {1, 2}, {2}")
    nb("%%map x in a - b\nx")
    assert fake.job.args == ({1},)


def test_a_file_is_mapped_line_by_line(nb, fake, tmp_path):
    (tmp_path / "lines").write_text("a\nb\n")
    nb.ns["path"] = tmp_path / "lines"
    nb("%%map line in open(path)\nline")
    assert fake.job.values() == ["a\n", "b\n"]


def test_other_iterables_are_handed_on_as_they_are(nb, fake):
    nb("numbers = (n for n in [1, 2])")
    nb("%%map x in numbers\nx")
    assert fake.job.args == (nb.ns["numbers"],)


def test_the_job_is_named_after_the_cell(nb, fake):
    nb("%%map x in [1]\nx")
    assert (fake.job.options["name"], fake.job.fn.__name__) == ("cell 2", "cell_2")


@pytest.mark.parametrize(
    ("name", "function"),
    [("parse", "parse"), ("'parse pages'", "parse_pages"), ("2nd", "cell_2nd"), ("for", "cell_for"), ("'!'", "cell")],
)
def test_the_function_is_named_after_the_job(nb, fake, name, function):
    nb(f"%%submit -n {name}\n1")
    assert fake.job.options["name"] == name.strip("'")
    assert fake.job.fn.__name__ == fake.job.fn.__qualname__ == function
    assert fake.job.fn.__module__ == "__main__"


# What the body sees.


def test_the_body_sees_the_variables_as_they_were_when_the_cell_ran(nb, fake):
    nb("%%map x in [1]\nx + offset")
    nb("offset = 1000")
    assert fake.job.values() == [11]


def test_what_the_body_assigns_stays_in_the_item(nb, fake):
    nb("%%map x in [1, 2]\noffset = x\nnew = x\ndef helper(): pass\nimport math\noffset")
    before = dict(nb.ns)
    assert fake.job.values() == [1, 2]
    assert nb.ns == before
    assert nb.ns["offset"] == 10
    assert not {"new", "helper", "math", "x", fake.job.fn.__name__} & nb.ns.keys()


def test_a_global_statement_does_not_reach_the_notebook(nb, fake):
    nb("%%submit\nglobal offset\noffset = 11\noffset")
    assert fake.job.fn() == 11
    assert nb.ns["offset"] == 10


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("offset = offset + x\noffset", [11, 12]),
        ("print(offset)\noffset = x\noffset", [1, 2]),
        ("offset = offset + 1\noffset += x\noffset", [12, 13]),
        ("def read():\n    return offset\nseen = read()\noffset = x\nseen", [10, 10]),
        ("for offset in range(offset, offset + x): pass\noffset", [10, 11]),
    ],
)
def test_a_variable_that_the_body_changes_starts_as_in_the_notebook(nb, fake, body, values, capsys):
    nb(f"%%map x in [1, 2]\n{body}")
    assert fake.job.values() == values
    assert nb.ns["offset"] == 10


def test_adding_up_in_a_variable_of_the_notebook_fails_and_is_not_lost_in_silence(nb, fake):
    nb("%%map x in [1, 2]\noffset += x")
    error, _ = failure(fake.job.fn, 1)
    assert isinstance(error, UnboundLocalError)


class Big:
    """Something that can be seen to be let go."""


@pytest.mark.parametrize(
    "cell", ["%%map -q x in [1]\nx + offset", "%%submit -q\nbig = 3\nbig", "%%flow -q\ndef f(): return offset\nf()"]
)
def test_a_job_does_not_keep_alive_what_its_cell_does_not_use(nb, fake, cell):
    nb.ns["big"] = Big()
    big = weakref.ref(nb.ns["big"])
    nb(cell)
    assert fake.job
    del nb.ns["big"]
    gc.collect()
    assert big() is None


@pytest.mark.parametrize("cell", ["%%map -q x in [1]\n", "%%submit -q\n", "%%flow -q\n"])
@pytest.mark.parametrize(
    "body",
    [
        "[offset for _ in range(1)][0]",
        "(lambda: (lambda: offset)())()",
        "eval('off' + 'set')",
        "globals()['off' + 'set']",
        "look_up('offset + 0')",
        "def f():\n    return look_up('offset')\nf()",
        "[look_up(one) for one in ('offset', 'offset')][0]",
        "frame.query('off' + 'set')",
        "class A:\n    size = offset\nA.size",
    ],
)
def test_a_body_reaches_every_variable_however_it_names_it(nb, fake, cell, body):
    # as pandas and formulas do, which evaluate a text with the variables of their caller
    nb("import sys, types")
    nb("def look_up(text): return eval(text, sys._getframe(1).f_globals)")
    nb("frame = types.SimpleNamespace(query=look_up)")
    nb(cell + body)
    assert fake.job.fn(*([1] if "map" in cell else [])) == 10


# Async.


@pytest.mark.parametrize(
    "body",
    [
        "import asyncio\nawait asyncio.sleep(0)\nx",
        "async def one():\n    return x\nawait one()",
        "async def some():\n    yield x\n[n async for n in some()][0]",
        "async def some():\n    yield x\nasync for n in some():\n    return n",
        "import contextlib\nasync with contextlib.AsyncExitStack():\n    return x",
    ],
)
def test_a_body_that_awaits_is_an_async_function(nb, fake, body):
    nb(f"%%map x in [3]\n{body}")
    assert inspect.iscoroutinefunction(fake.job.fn)
    assert asyncio.run(fake.job.fn(3)) == 3


def test_a_function_inside_that_awaits_does_not_make_the_body_async(nb, fake):
    nb("%%map x in [3]\nimport asyncio\nasync def one():\n    await asyncio.sleep(0)\n    return x\nasyncio.run(one())")
    assert not inspect.iscoroutinefunction(fake.job.fn)
    assert fake.job.values() == [3]


@pytest.mark.parametrize("body", ["y = x\nyield y", "y = x\nz = yield", "y = x\nyield from [y]"])
def test_a_yield_is_told_in_one_line(nb, fake, body):
    assert (
        nb.run(f"%%map x in [1]\n{body}").usage_error
        == "Line 3: a cell cannot yield. Give its value as the last expression."
    )
    assert fake.jobs == []


def test_a_generator_inside_may_yield(nb, fake):
    nb("%%map x in [1]\ndef some():\n    yield x\nlist(some())")
    assert fake.job.values() == [[1]]


# Where errors point.


@pytest.mark.parametrize("gap", ["", "\n", "\n\n   \n"])
@pytest.mark.parametrize("magic", ["%%map x in [1]", "%%submit"])
def test_a_traceback_has_the_line_numbers_of_the_cell(nb, fake, magic, gap):
    nb(f"{magic}\n{gap}def inner():\n    return 1 / 0\n\nvalue = inner()\nvalue")
    _, frames = failure(fake.job.fn, *([1] if "map" in magic else []))
    first = 2 + gap.count("\n")
    assert frames == [(first + 3, "<module>", "value = inner()"), (first + 1, "inner", "return 1 / 0")]


def test_ipython_shows_the_cell_and_marks_the_line(nb, fake):
    nb("%%map x in [0]\ny = x\n1 / y")
    nb.ns["job"] = fake.job
    shown = nb.run("job.values()").out
    assert "Cell In[2], line 3\n      1 # %%map x in [0]\n      2 y = x\n----> 3 1 / y\n" in shown


def test_ipython_shows_the_cell_when_it_looks_for_a_file_as_in_a_kernel(nb, fake, monkeypatch):
    class KernelCompiler(CachingCompiler):
        def get_code_name(self, raw_code, transformed_code, number):
            return f"/nowhere/ipykernel_1/{len(raw_code)}.py"

    monkeypatch.setattr(nb.shell, "compile", KernelCompiler())
    nb("%%map x in [0]\ny = x\n1 / y")
    nb.ns["job"] = fake.job
    shown = nb.run("job.values()").out
    assert "      1 # %%map x in [0]\n      2 y = x\n----> 3 1 / y\n" in shown


def test_the_file_name_is_that_under_which_a_debugger_sets_breakpoints(nb, fake, monkeypatch):
    monkeypatch.setattr(nb.shell.compile, "get_code_name", lambda raw, *_: f"<{raw}>", raising=False)
    nb("%%map x in [0]\ny = x\ny")
    assert fake.job.fn.__code__.co_filename == "<%%map x in [0]\ny = x\ny>"


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("y = x\ny ** = 2", 3, "invalid syntax"),
        ("\n\ny = (x", 4, "'(' was never closed"),
        ("  y = x\n  break", 3, "'break' outside loop"),
        ("y = x\nfrom os import *", 3, "import * only allowed at module level"),
        ("y = 1\nglobal x", 3, "name 'x' is parameter and global"),
    ],
)
def test_a_syntax_error_is_shown_in_the_cell_as_for_any_cell(nb, fake, body, line, message):
    ran = nb.run(f"%%map x in [1]\n{body}")
    shown = ran.out.splitlines()
    assert shown[0].strip() == f"Cell In[2], line {line}"
    assert shown[1].strip() == ["", "", *body.splitlines()][line].strip()
    assert set(shown[2].strip()) == {"^"}
    assert shown[3] == f"SyntaxError: {message}"
    assert "Traceback" not in ran.out
    assert type(ran.error).__name__ == "CellSyntaxError"
    assert message in str(ran.error)
    assert fake.jobs == []


def test_the_source_of_a_function_of_the_body_can_be_read(nb, fake):
    nb("%%submit\n\ndef inner():\n    return 1\n\ninner")
    assert inspect.getsource(fake.job.fn()) == "def inner():\n    return 1\n"


def test_magics_in_the_body_work(nb, fake):
    nb("%%submit\nvalue = %sx echo told\nvalue")
    assert list(fake.job.fn()) == ["told"]


def test_the_compiler_flags_of_the_notebook_hold(nb, fake):
    nb("from __future__ import annotations")
    nb("%%submit\ndef typed(x: nowhere): pass\ntyped.__annotations__")
    assert fake.job.fn() == {"x": "nowhere"}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("%%map\nx", "The head of the loop is missing. Write it as in: %%map x in xs."),
        ("%%map -w 4\nx", "The head of the loop is missing. Write it as in: %%map x in xs."),
        ("%%map sites\nx", "'sites' is not the head of a loop"),
        ("%%map x in sites: print(x)\nx", "is not the head of a loop"),
        ("%%map x in sites: pass\nx", "is not the head of a loop"),
        ("%%map x.y in sites\nx", "'x.y in sites' is not the head of a loop. Write it as in: %%map x in xs."),
        ("%%map x in\nx", "'x in' is not the head of a loop: "),
        ("%%map x in xs\nx", "name 'xs' is not defined. Run the cell that defines it first."),
        ("%%map x in (await xs)\nx", "'await' outside function."),
        (
            "%%map x in 'text'\nx",
            "'text' is one text, which is not mapped over. To go over its parts write: list('text').",
        ),
        ("%%map x in sites['a']\nx", "To go over its parts write: list(sites['a'])."),
        ("%%map x in b'ab'\nx", "b'ab' is one bytes, which is not mapped over."),
        ("%%map x in [1] -w\nx", "-w needs a value: -w N."),
        ("%%map x in [1] -w 0\nx", "workers must be a whole number of at least 1, got 0."),
        ("%%map x in [1]\n# nothing", "There is no code below the first line of the cell."),
        ("%%submit sites\nx", "%%submit takes options only, not 'sites'. Put the code below it."),
        ("%%flow sites\nx", "%%flow takes options only, not 'sites'. Put the code below it."),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(nb, fake, cell, message):
    assert message in nb.run(cell).usage_error
    assert fake.jobs == []


# What is shown, and later runners.


@pytest.mark.parametrize(
    "cell", ["%%map x in [1];\nx", "%%map x in [1]\nx;", "%%map -q x in [1]\nx", "%%submit\n1;", "%%flow --quiet\n1"]
)
def test_a_quiet_cell_makes_the_job_and_displays_nothing(nb, fake, cell):
    assert nb(cell) is None
    assert fake.job
    assert fake.log == []


def test_block_displays_the_job_and_then_waits(nb, fake):
    assert nb("%%map x in [1] -b\nx") is None
    assert fake.log == ["display", "wait"]


def test_python_code_that_runs_the_magic_gets_the_job(nb, fake):
    nb("job = get_ipython().run_cell_magic('map', '-q x in [1]', 'x')")
    assert nb.ns["job"] is fake.job


def test_out_binds_the_job(nb, fake):
    nb("%%map x in [1] -o pages\nx")
    assert nb.ns["pages"] is fake.job


@pytest.mark.parametrize("head", ["%%map x in [1]", "%%map x, y in [(1, 2)]"])
def test_the_function_survives_cloudpickle(nb, fake, head):
    # Neither what cannot be pickled and is not used, nor what is only overwritten, may stand in the way.
    nb("import threading\nlock = handle = threading.Lock()\ndef helper(n): return n + offset")
    nb(f"{head}\noffset = offset + 1\nhandle = 3\nhelper(x) + offset + handle")
    copy = pickle.loads(cloudpickle.dumps(fake.job.fn))
    assert copy(fake.job.args[0][0]) == fake.job.values()[0] == 11 + 11 + 3


def test_the_async_function_survives_cloudpickle(nb, fake):
    nb("%%submit\nimport asyncio\nawait asyncio.sleep(0)\noffset")
    assert asyncio.run(pickle.loads(cloudpickle.dumps(fake.job.fn))()) == 10


def test_submit_runs_the_body_as_one_call_without_arguments(nb, fake):
    nb("%%submit --timeout 5\ny = offset\ny + 1")
    assert (fake.job.verb, fake.job.args, fake.job.kwargs) == ("submit", (), {})
    assert fake.job.options == {"timeout": 5, "name": "cell 2"}
    assert fake.job.fn() == 11
