"""What is entered in a field: the code and value that come of it, or the words that refuse it."""

from __future__ import annotations

import enum
import itertools
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.launcher.entries import EntryError, Mode, evaluate, initial_entry, read_entry
from nbfutures.launcher.fields import Field, Kind
from nbfutures.launcher.variables import UNKNOWN, count, find_targets, fitting, peek


class Colour(enum.Enum):
    RED = 1


TABLE = pd.DataFrame({"a": [1, 2]})
NAMES = {"n": 4, "xs": [1, 2], "word": "abc", "table": TABLE, "Path": Path, "Colour": Colour, "gen": iter([1])}


def field(kind, **more):
    return Field(name="x", kind=kind, **more)


def enter(field, mode, entry):
    argument = read_entry(field, mode, entry, NAMES)
    return argument if argument is None else evaluate(argument, dict(NAMES))


@pytest.mark.parametrize(
    ("kind", "entry", "code", "value"),
    [
        (Kind.INTEGER, " 12 ", "12", 12),
        (Kind.INTEGER, "n * 2", "n * 2", 8),
        (Kind.NUMBER, "1e3", "1e3", 1000.0),
        (Kind.NUMBER, "3", "3", 3),
        (Kind.BOOLEAN, True, "True", True),
        (Kind.TEXT, "n", "'n'", "n"),
        (Kind.TEXT, "it's <b>", '"it\'s <b>"', "it's <b>"),
        (Kind.PATH, "a/b.csv", "Path('a/b.csv')", Path("a/b.csv")),
        (Kind.LIST, "xs", "xs", [1, 2]),
        (Kind.LIST, "1, 2", "(1, 2)", (1, 2)),
        (Kind.LIST, "xs # all", "xs", [1, 2]),
        (Kind.ANY, "'a'", "'a'", "a"),
        (Kind.ANY, "[n for _ in\nxs]", "[n for _ in xs]", [4, 4]),
    ],
)
def test_one_value_becomes_code_and_the_value_of_that_code(kind, entry, code, value):
    argument = enter(field(kind), Mode.VALUE, entry)
    assert (argument.code, argument.value) == (code, value)
    assert type(argument.value) is type(value)
    assert eval(argument.code, dict(NAMES)) == value


@pytest.mark.parametrize(
    ("kind", "mode", "entry", "words"),
    [
        (Kind.INTEGER, Mode.VALUE, "2.5", r"2\.5 is of type float\. Needed: a whole number"),
        (Kind.INTEGER, Mode.VALUE, "True", "whole number"),
        (Kind.INTEGER, Mode.VALUE, "", "Needed: a whole number"),
        (Kind.INTEGER, Mode.VALUE, "1 2", "no Python expression"),
        (Kind.INTEGER, Mode.VALUE, "1/0", "ZeroDivisionError: division by zero"),
        (Kind.NUMBER, Mode.VALUE, "word", "'abc' is of type str. Needed: a number"),
        (Kind.TEXT, Mode.VALUE, "", "Needed: a text"),
        (Kind.TEXT, Mode.EXPRESSION, "n", "4 is of type int. Needed: a text"),
        (Kind.TEXT, Mode.EXPRESSION, " ", "name of a variable"),
        (Kind.PATH, Mode.VALUE, "", "Needed: a path"),
        (Kind.LIST, Mode.VALUE, "word", "a list"),
        (Kind.TABLE, Mode.VALUE, "xs", "a DataFrame"),
        (Kind.TABLE, Mode.VALUE, "tabel", r"no variable tabel; did you mean table\?"),
        (Kind.ANY, Mode.VALUE, "hello", "no variable hello; for a text write 'hello', with quotes"),
        (Kind.ANY, Mode.VALUE, "await n", "no Python expression"),
        (Kind.ANY, Mode.VALUE, "n = 3", "no Python expression"),
        (Kind.ANY, Mode.MAP, "", "what to map over"),
        (Kind.ANY, Mode.MAP, "n", "one value. Map over a list"),
        (Kind.ANY, Mode.MAP, "word", r"one value. Map over a list, such as \['abc'\]"),
        (Kind.ANY, Mode.MAP, "xs[7]", "IndexError"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(kind, mode, entry, words):
    with pytest.raises(EntryError, match=words):
        enter(field(kind, expected=pd.DataFrame if kind is Kind.TABLE else None), mode, entry)


def test_a_type_that_is_only_guessed_from_the_default_refuses_nothing():
    guessed = field(Kind.NUMBER, default=1, is_guess=True)
    assert enter(guessed, Mode.VALUE, "xs").value == [1, 2]


def test_nothing_runs_before_the_form_is_submitted():
    ran = []
    read_entry(field(Kind.ANY), Mode.VALUE, "ran.append(1)", {"ran": ran})
    assert peek("ran.append(1)", {"ran": ran}) is UNKNOWN
    assert ran == []


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        (Kind.INTEGER, 3), (Kind.NUMBER, 1.5), (Kind.NUMBER, float("nan")), (Kind.TEXT, "a"), (Kind.TEXT, "two\nlines"),
        (Kind.TEXT, None), (Kind.PATH, Path("a")), (Kind.PATH, None), (Kind.BOOLEAN, True), (Kind.BOOLEAN, False),
        (Kind.LIST, [1, 2]), (Kind.ANY, object()), (Kind.ANY, TABLE), (Kind.TABLE, None), (Kind.ANY, [object()]),
    ],
    ids=lambda one: str(one).partition(" at 0x")[0],
)  # fmt: skip
def test_a_field_that_nobody_touches_keeps_the_default(kind, default):
    made = field(kind, default=default)
    assert enter(made, Mode.VALUE, initial_entry(made)) is None


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans(), st.lists(st.integers())))
def test_what_a_field_shows_for_a_default_is_that_default(default):
    made = field(Kind.ANY, default=default)
    shown = initial_entry(made)
    assert shown == "" or enter(field(Kind.ANY), Mode.VALUE, shown).value == default


def test_an_empty_field_is_none_where_none_is_a_value():
    made = field(Kind.INTEGER, is_optional=True)
    assert (enter(made, Mode.VALUE, "").code, enter(made, Mode.VALUE, "").value) == ("None", None)
    assert enter(made, Mode.VALUE, "None").value is None


def test_a_text_can_be_cleared_where_the_default_is_another():
    assert enter(field(Kind.TEXT, default="a"), Mode.VALUE, "").value == ""


def test_a_member_is_written_by_the_name_of_its_enum():
    made = field(Kind.CHOICE, choices=tuple(Colour))
    assert enter(made, Mode.VALUE, Colour.RED).code == "Colour.RED"
    with pytest.raises(EntryError, match="choose one"):
        enter(made, Mode.VALUE, UNKNOWN)


def test_a_choice_tells_true_from_one():
    made = field(Kind.CHOICE, choices=(1, True), default=True)
    assert initial_entry(made) is True
    assert enter(made, Mode.VALUE, 1).value == 1
    with pytest.raises(EntryError, match="one of the choices"):
        enter(field(Kind.CHOICE, choices=(True, None)), Mode.EXPRESSION, "1")


def test_a_future_or_job_stands_for_any_value():
    class Job:
        def __prefect_futures__(self):
            raise AssertionError("not asked for")

    names = {"job": Job()}
    for mode in (Mode.VALUE, Mode.MAP):
        assert evaluate(read_entry(field(Kind.INTEGER), mode, "job", names), names).value is names["job"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("n", 4), (" xs ", [1, 2]), ("len", len), ("[1, 'a']", [1, "a"]), ("range(n)", range(4)), ("-3", -3)],
)
def test_what_runs_nothing_is_known_at_once(text, value):
    assert peek(text, NAMES) == value


@pytest.mark.parametrize("text", ["", "nothing", "n + 1", "range(xs)", "range(1, 2, 0)", "f(1)", "xs[0]", "1 2"])
def test_the_rest_is_not_known(text):
    assert peek(text, NAMES) is UNKNOWN


def test_an_own_range_is_not_taken_for_the_builtin_one():
    assert peek("range(3)", {"range": print}) is UNKNOWN


def test_elements_are_counted_only_where_they_can_be():
    assert [count(one) for one in ([1], range(3), itertools.count(), 4)] == [1, 3, None, None]


@pytest.mark.parametrize(
    ("kind", "is_mapped", "names"),
    [
        (Kind.INTEGER, False, "n"),
        (Kind.TEXT, False, "word"),
        (Kind.PATH, False, "word"),
        (Kind.TABLE, False, "table"),
        (Kind.LIST, False, "gen table xs"),
        (Kind.ANY, False, "gen n table word xs"),
        (Kind.TEXT, True, "gen table xs"),
    ],
)
def test_the_variables_that_fit_are_offered(kind, is_mapped, names):
    namespace = {**NAMES, "_hidden": [1], "In": [""], "Out": {}, "pd": pd, "print": print}
    made = field(kind, expected=pd.DataFrame if kind is Kind.TABLE else None)
    assert " ".join(fitting(made, namespace, is_mapped=is_mapped)) == names


def test_the_notebooks_own_functions_are_found(notebook):
    notebook.run("""
        from os.path import join
        from prefect import flow, task
        def b(x): ...
        a = lambda x: x
        def _hidden(x): ...
        class C: ...
        t = task(join)
        f = flow(b)
        n = 3
    """)
    assert list(find_targets(notebook)) == ["a", "b", "f", "t"]
