"""Options are checked when they are made, and say what they would take."""

from __future__ import annotations

import dataclasses
import math

import pytest

from nbfutures.errors import InvalidOptionError, NbfuturesError
from nbfutures.model.options import RUNNERS, JobOptions


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((name, value) for name in ("workers", "in_flight") for value in (0, -1, 1.5, True, "2")),
        *(("retries", value) for value in (-1, 0.5, True, "2")),
        *((name, value) for name in ("timeout", "rate") for value in (0, -1, math.nan, math.inf, "5", True)),
        *(("retry_delay", value) for value in (-0.1, math.nan, math.inf, "5", True)),
        *(("batch", value) for value in (0, -3, 2.0, True, "all", None)),
        *(("name", value) for value in ("", "  ", 5, b"x")),
        *(("tags", value) for value in (5, None, ["a", 5])),
        *(("runner", value) for value in ("thread", "cluster", "", None)),
    ],
)
def test_a_value_that_an_option_cannot_take_is_named_with_the_option(option, value):
    with pytest.raises(InvalidOptionError) as caught:
        JobOptions(**{option: value})
    assert option in str(caught.value)
    assert repr(value) in str(caught.value)
    assert isinstance(caught.value, (NbfuturesError, ValueError))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"workers": 1, "in_flight": 1, "retries": 0, "retry_delay": 0, "timeout": 0.1, "rate": 10},
        {"batch": 1},
        {"batch": "auto"},
        {"tags": ("a", "b")},
        {"name": "x"},
        {"dry_run": True},
        *({"runner": name} for name in RUNNERS),
    ],
)
def test_good_values_are_taken_as_they_are(options):
    made = JobOptions(**options)
    assert {name: getattr(made, name) for name in options} == options


def test_a_close_runner_and_a_close_option_are_suggested():
    with pytest.raises(InvalidOptionError, match="did you mean 'threads'"):
        JobOptions(runner="thread")
    with pytest.raises(InvalidOptionError, match="did you mean 'workers'"):
        JobOptions().replace(worker=2)


def test_an_option_that_nobody_knows_is_answered_with_those_there_are():
    with pytest.raises(InvalidOptionError, match="retries"):
        JobOptions().replace(zzz=2)


def test_replace_makes_a_checked_copy():
    options = JobOptions(workers=2)
    changed = options.replace(workers=3, name="x")
    assert (options.workers, changed.workers, changed.name) == (2, 3, "x")
    with pytest.raises(InvalidOptionError):
        options.replace(workers=0)


def test_options_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        JobOptions().workers = 3


def test_one_tag_and_one_future_need_no_list():
    future = object()
    options = JobOptions(tags="slow", wait_for=future)
    assert (options.tags, options.wait_for) == (("slow",), (future,))
    assert JobOptions(wait_for=[future, future]).wait_for == (future, future)
