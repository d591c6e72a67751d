from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nbfutures.views.tracebacks import place_words, raised_at, traceback_text


def function_in(module, source, filename="machinery.py", **names):
    """Return the function `call` of a module made from source."""
    made = types.ModuleType(module)
    vars(made).update(names)
    exec(compile(source, filename, "exec"), vars(made))
    return made.call


def through(module, inner):
    return function_in(module, "def call(*args):\n    return inner(*args)", inner=inner)


def caught(call, *args):
    try:
        call(*args)
    except BaseException as error:
        # The frame of this function is the test's, not the job's.
        return error.with_traceback(error.__traceback__.tb_next)
    raise AssertionError("did not raise")


def users(x):
    return deeper(x)


def deeper(x):
    raise ValueError(f"bad {x}")


LINE = deeper.__code__.co_firstlineno + 1


def test_the_frames_of_those_who_called_the_function_are_left_out():
    error = caught(through("nbfutures.engine.calls.work", through("prefect.engine", through("threading", users))), 5)
    text = traceback_text(error)
    assert "machinery.py" not in text
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in users" in text
    assert "in deeper" in text
    assert text.endswith("ValueError: bad 5")


def test_machinery_that_the_users_function_called_stays():
    text = traceback_text(
        caught(through("prefect.engine", through("users_module", through("prefect.client", deeper))), 5)
    )
    assert text.count("machinery.py") == 2


def test_an_error_of_the_machinery_itself_keeps_its_frames():
    call = function_in("prefect.engine", "def call():\n    raise TimeoutError('too long')")
    text = traceback_text(caught(call))
    assert "machinery.py" in text
    assert raised_at(caught(call)) == ("machinery.py", 2)


def test_the_lessons_are_users_code():
    call = function_in("nbfutures.lessons", "def call():\n    raise ValueError('flaky')", "lessons.py")
    text = traceback_text(caught(through("prefect.engine", call)))
    assert "lessons.py" in text
    assert "machinery.py" not in text
    assert raised_at(caught(through("users_module", call))) == ("lessons.py", 2)


def test_the_frames_of_causes_are_left_out_too():
    def chained(x):
        try:
            through("prefect.client", deeper)(x)
        except ValueError as error:
            raise KeyError("outer") from error

    def cause(x):
        try:
            through("prefect.client", chained)(x)
        except KeyError as error:
            raise RuntimeError("outermost") from error.with_traceback(error.__traceback__.tb_next)

    text = traceback_text(caught(through("prefect.engine", cause), 5))
    assert text.count("The above exception was the direct cause") == 2
    assert "ValueError: bad 5" in text
    # What is left is the one that the user's own `chained` called.
    assert text.count("machinery.py") == 1


def test_an_error_that_was_never_raised_is_its_message():
    assert traceback_text(ValueError("unraised")) == "ValueError: unraised"
    assert raised_at(ValueError()) is None
    assert place_words(None) == ""


def test_the_innermost_line_of_the_users_own_code_counts():
    def load():
        return json.loads("{")

    place = raised_at(caught(through("prefect.engine", load)))
    assert place == (__file__, load.__code__.co_firstlineno + 1)
    assert raised_at(caught(users, 5)) == (__file__, LINE)


def test_files_are_named_as_seen_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_words((str(tmp_path / "lib" / "a.py"), 3)) == f"{Path('lib', 'a.py')}:3"
    assert place_words(("/somewhere/else/lib/a.py", 3)) == f"{Path('lib', 'a.py')}:3"
    assert place_words(("<string>", 1)) == "<string>:1"


@pytest.mark.parametrize("make", [lambda nasty: nasty.Error(), lambda nasty: ValueError(nasty.HUGE)])
def test_an_error_at_its_worst_has_a_short_clean_traceback(nasty, make):
    text = traceback_text(caught(function_in("users", "def call(error):\n    raise error", "u.py"), make(nasty)))
    assert "u.py" in text
    assert len(text) < 31_000
    assert max(len(line) for line in text.split("\n")) <= 1_000


def test_a_message_of_many_lines_keeps_its_head_and_its_end():
    text = traceback_text(ValueError("\n".join(f"line {number}" for number in range(100_000))))
    assert len(text) < 31_000
    assert text.startswith("ValueError: line 0\n")
    assert "… cut …" in text
    assert text.endswith("line 99999")


def test_a_notebooks_cell_is_named_as_ipython_names_it():
    script = """
from IPython.core.interactiveshell import InteractiveShell
from nbfutures.views.tracebacks import place_words, raised_at, traceback_text
shell = InteractiveShell.instance()
shell.run_cell("1\\n2", store_history=True)
shell.run_cell("def parse(x):\\n    raise ValueError(x)", store_history=True)
try:
    shell.user_ns["parse"](5)
except ValueError as error:
    print("at", place_words(raised_at(error)))
    print(traceback_text(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    place, *text = done.stdout.partition("at ")[2].splitlines()
    assert place == "Cell In[2], line 2"
    assert "  Cell In[2], line 2, in parse" in text
