from __future__ import annotations

import collections
import dataclasses
import enum
import time
import unicodedata
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.views.clean import error_message, error_name, input_words, plain, short_repr


def hidden(text):
    """The characters that nobody would see, but for tab and newline and the joiners that scripts need."""
    return [one for one in text if unicodedata.category(one) in {"Cc", "Cs"} and one not in "\t\n"] + [
        one for one in text if 0x202A <= ord(one) <= 0x202E or 0x2066 <= ord(one) <= 0x2069
    ]


@given(st.text(st.characters()), st.integers(2, 50))
def test_plain_text_is_short_and_has_no_hidden_characters(text, limit):
    made = plain(text, limit)
    assert len(made) <= limit
    assert hidden(made) == []
    made.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" \n\t"), max_size=40))
def test_ordinary_text_is_left_as_it_is(text):
    assert plain(text, 40) == text


def test_a_cut_text_says_so():
    assert plain("a" * 11, 10) == "a" * 9 + "…"
    assert plain("a" * 10, 10) == "a" * 10
    assert plain("\x1b[0m" * 1_000 + "a", 10).endswith("…")


def test_colours_are_removed_and_unseen_characters_spelled_out():
    assert plain("\x1b[1;31mred\x1b[0m", 100) == "red"
    assert plain("a\x00b\u202ec\ud800", 100) == "a\\x00b\\u202ec\\ud800"
    assert plain("a\r\nb", 100) == "a\nb"


def test_words_of_scripts_that_need_joiners_stay_whole():
    for text in ("ن\u200cش", "👩\u200d🔬", "日本語", "naïve"):
        assert plain(text, 100) == text


def test_a_huge_text_costs_no_more_than_a_short_one(nasty):
    start = time.thread_time()
    for _ in range(100):
        plain(nasty.HUGE, 300)
    assert time.thread_time() - start < 0.5


def test_an_error_that_cannot_be_turned_into_text_has_a_message_all_the_same(nasty):
    assert error_message(nasty.Error()) == "(the message cannot be shown)"
    assert error_name(nasty.Error()) == "Error"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        (-1.5, "-1.5"),
        (None, "None"),
        (True, "True"),
        ("a\nb", r"'a\nb'"),
        ([], "[]"),
        ((), "()"),
        ((1,), "(1,)"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        ({"a": [1, (2, 3)]}, "{'a': [1, (2, 3)]}"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, …]"),
        (collections.deque([1]), "deque([1])"),
        (collections.Counter("aab"), "Counter({'a': 2, 'b': 1})"),
        (b"ab", "b'ab'"),
        (10**1000, "<int of 3,322 bits>"),
        (np.zeros((1000, 3)), "<ndarray, 1,000 x 3>"),
        (np.array([1, 2]), "array([1, 2])"),
        (pd.DataFrame({"a": [1, 2]}), "<DataFrame, 2 x 1>"),
        ([[[[[[1]]]]]], "[[[[[…]]]]]"),
    ],
)
def test_a_short_repr_reads_like_the_value(value, shown):
    assert short_repr(value) == shown


def test_records_are_shown_by_field():
    class Point(NamedTuple):
        x: int
        y: str

    @dataclasses.dataclass
    class Row:
        name: str
        secret: str = dataclasses.field(default="s", repr=False)

    class Colour(enum.StrEnum):
        RED = "red"

    assert short_repr(Point(1, "a")) == "Point(x=1, y='a')"
    assert short_repr(Row("a")) == "Row(name='a')"
    assert short_repr([Colour.RED]) == "[<Colour.RED: 'red'>]"


class Pair(NamedTuple):
    one: object
    other: object


class Untouchable:
    """Counts how often its repr is asked for."""

    asked = 0

    def __repr__(self):
        type(self).asked += 1
        return "x"


@pytest.mark.parametrize(
    "make",
    [
        lambda one: [one] * 100_000,
        lambda one: (one,) * 100_000,
        lambda one: collections.deque([one] * 100_000),
        lambda one: dict.fromkeys(range(100_000), one),
        lambda one: collections.defaultdict(list, dict.fromkeys(range(100_000), one)),
        lambda one: collections.OrderedDict.fromkeys(range(100_000), one),
        lambda one: type("Mine", (list,), {})([one] * 100_000),
        lambda one: Pair([one] * 100_000, one),
        lambda one: {Untouchable() for _ in range(1_000)},
    ],
)
def test_a_large_container_is_not_walked(make):
    Untouchable.asked = 0
    assert len(short_repr(make(Untouchable()))) <= 80
    assert Untouchable.asked <= 12


def test_a_huge_text_is_cut_before_its_repr_is_made(nasty):
    for value in (nasty.HUGE, nasty.HUGE.encode(), [nasty.HUGE] * 10, type("Mine", (str,), {})(nasty.HUGE)):
        start = time.thread_time()
        assert len(short_repr(value)) <= 80
        assert time.thread_time() - start < 0.05


def test_a_value_without_a_repr_is_shown_as_something(nasty):
    class Shapeless:
        @property
        def shape(self):
            raise ValueError("no shape")

    class NotText:
        def __repr__(self):
            return 5

    for value in (nasty.Repr(), [nasty.Repr()], {nasty.Repr(): 1}, Shapeless(), NotText()):
        assert short_repr(value).startswith("<")
    loop = []
    loop.append(loop)
    assert len(short_repr(loop)) <= 80


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_a_short_repr_is_one_short_line(value):
    shown = short_repr(value, 60)
    assert len(shown) <= 60
    assert "\n" not in shown
    assert hidden(shown) == []


def test_input_of_one_argument_is_its_value_and_of_several_has_names():
    assert input_words({"x": 5}) == "5"
    assert input_words({"x": 1, "y": "a"}) == "x=1, y='a'"
    assert input_words({}) == ""
    assert len(input_words({f"argument{number}": "a" * 100 for number in range(1_000)})) <= 80
