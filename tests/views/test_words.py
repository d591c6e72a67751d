from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.views.words import count_words, duration_words, left_words, number_words, rate_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (math.nan, "0 s"),
        (math.inf, "0 s"),
        (0, "0 s"),
        (0.0002, "less than 1 ms"),
        (0.0051, "0.0051 s"),
        (0.35, "0.35 s"),
        (0.999, "1 s"),
        (3, "3 s"),
        (3.44, "3.4 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (80, "1 min 20 s"),
        (119.7, "2 min"),
        (3_599.7, "1 h"),
        (3_660, "1 h 1 min"),
        (7_190, "2 h"),
        (86_400, "1 day"),
        (90_000, "1 day 1 h"),
        (200_000, "2 days 8 h"),
        (1e308, "36,500 days"),
    ],
)
def test_a_duration_is_said_in_at_most_two_units(seconds, words):
    assert duration_words(seconds) == words


def test_a_duration_that_grows_is_said_in_whole_seconds():
    assert [duration_words(seconds, whole=True) for seconds in (0.4, 1.9, 61.9)] == ["0 s", "1 s", "1 min 1 s"]


@given(st.floats(0.01, 1e7))
def test_a_duration_never_has_sixty_of_a_unit(seconds):
    words = duration_words(seconds)
    assert "60 s" not in words.split(" min ")
    assert "60 min" not in words
    assert "24 h" not in words.partition("day")[2]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than 1 s left"),
        (12.3, "13 s left"),
        (83, "1 min 25 s left"),
        (1_000, "17 min left"),
        (7_000, "1 h 57 min left"),
        (-1, ""),
        (1e308, ""),
        (math.inf, ""),
        (math.nan, ""),
    ],
)
def test_the_time_left_is_rounded_the_more_the_longer_it_is(seconds, words):
    assert left_words(seconds) == words


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (160.4, "160/s"),
        (12_345.6, "12,346/s"),
        (14.2, "14/s"),
        (3.46, "3.5/s"),
        (9.97, "10/s"),
        (3, "3/s"),
        (0.5, "30/min"),
        (0.1, "6/min"),
        (0.001, "3.6/h"),
        (0, ""),
        (math.inf, ""),
    ],
)
def test_a_rate_is_said_in_the_unit_that_gives_a_number_above_one(rate, words):
    assert rate_words(rate) == words


def test_numbers_have_commas_and_one_is_singular():
    assert number_words(1_234_567) == "1,234,567"
    assert [count_words(number, "item") for number in (0, 1, 12_345)] == ["0 items", "1 item", "12,345 items"]


def test_seconds_are_written_as_people_say_them():
    seconds = [0, 0.012, 0.3456, 9.96, 13.4, 59.6, 80, 120, 3600, 7500]
    assert [duration_words(one) for one in seconds] == [
        "0 s", "0.012 s", "0.35 s", "10 s", "13 s", "1 min", "1 min 20 s", "2 min", "1 h", "2 h 5 min",
    ]  # fmt: skip
