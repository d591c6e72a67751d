from __future__ import annotations

import json

import pytest

from nbfutures.views.grouping import FailureGroup, FailureTally, group_failures, source_input


def parse(index):
    if index % 2:
        raise ValueError(f"bad row {index}")
    raise ValueError(f"bad row {index}")


def caught(call, *args):
    try:
        call(*args)
    except Exception as error:
        return error
    raise AssertionError("did not raise")


def failures(jobs, errors, total=None):
    state = jobs.state(total or len(errors))
    state.settle([jobs.failed(index, error) for index, error in enumerate(errors)])
    return state


def test_failures_of_one_line_and_kind_are_one_group(jobs):
    state = failures(jobs, [caught(parse, index) for index in (1, 3, 5, 7)])
    line = parse.__code__.co_firstlineno + 2
    [group] = group_failures(state.outcomes(), jobs.source())
    assert group.where.endswith(f"test_grouping.py:{line}")
    assert group == FailureGroup(4, "ValueError", "bad row N", group.where, 0, "0")


def test_the_same_message_from_another_line_is_another_group(jobs):
    state = failures(jobs, [caught(parse, index) for index in (1, 2, 3)])
    assert [group.count for group in group_failures(state.outcomes(), jobs.source())] == [2, 1]


def test_errors_of_another_type_are_another_group_even_if_it_has_the_same_name(jobs):
    one, other = (type("ParseError", (Exception,), {}) for _ in range(2))
    errors = [one("bad"), other("bad")]
    groups = group_failures(failures(jobs, errors).outcomes(), jobs.source())
    assert [group.error for group in groups] == ["ParseError"] * 2


def test_groups_are_sorted_by_count_and_then_by_their_first_item(jobs):
    kinds = [KeyError, OSError, OSError, TypeError, TypeError, ValueError]
    groups = group_failures(failures(jobs, [kind("x") for kind in kinds]).outcomes(), jobs.source())
    assert [(group.count, group.first) for group in groups] == [(2, 1), (2, 3), (1, 0), (1, 5)]


def test_the_first_item_is_the_one_with_the_lowest_index_however_they_were_told(jobs):
    tally = FailureTally(jobs.source(lambda index: {"path": f"{index}.csv"}))
    tally.add([jobs.failed(7, caught(parse, 1)), jobs.failed(2, caught(parse, 3))])
    [group] = tally.top()
    assert (group.first, group.example) == (2, "'2.csv'")


def test_only_failures_are_counted_and_each_once(jobs):
    tally = FailureTally(jobs.source())
    failed = jobs.failed(0)
    assert tally.add([failed, jobs.completed(1), jobs.cancelled(2), failed])
    assert tally.add([failed])
    assert [group.count for group in tally.top()] == [1]


def test_a_failure_that_turned_into_a_value_tells_that_the_tally_does_not_hold(jobs):
    tally = FailureTally(jobs.source())
    assert tally.add([jobs.failed(0), jobs.failed(1)])
    assert not tally.add([jobs.completed(0, 5)])


def test_only_the_inputs_that_are_shown_are_read(jobs):
    source = jobs.source()
    tally = FailureTally(source)
    tally.add(jobs.failed(index, type(f"E{index}", (Exception,), {})()) for index in range(50))
    assert len(tally.top(5)) == 5
    assert source.asked == 5
    assert len(tally) == 50


def test_the_innermost_line_of_the_users_own_code_is_named(jobs):
    def load(text):
        return json.loads(text)

    state = failures(jobs, [caught(load, "{"), caught(load, "[")])
    groups = group_failures(state.outcomes(), jobs.source())
    assert {group.where.rpartition("/")[2] for group in groups} == {
        f"test_grouping.py:{load.__code__.co_firstlineno + 1}"
    }


def test_an_error_that_was_never_raised_is_from_nowhere(jobs):
    outcome = jobs.failed(0).replace(error=ValueError("unraised"))
    [group] = group_failures([outcome], jobs.source())
    assert (group.where, group.message) == ("", "unraised")


def test_a_failure_without_an_error_is_counted(jobs):
    [group] = group_failures([jobs.failed(0).replace(error=None)], jobs.source())
    assert (group.count, group.error, group.message) == (1, "unknown error", "")


def test_errors_that_cannot_be_turned_into_text_are_one_group(jobs, nasty):
    state = failures(jobs, [nasty.Error(), nasty.Error()])
    [group] = group_failures(state.outcomes(), jobs.source())
    assert (group.count, group.message) == (2, "(the message cannot be shown)")


def test_text_from_elsewhere_is_cut_and_cleaned(jobs, nasty_text):
    state = failures(jobs, [ValueError(nasty_text)])
    [group] = group_failures(state.outcomes(), jobs.source(lambda _: {"x": nasty_text}))
    assert len(group.message) <= 300
    assert len(group.example) <= 80
    assert not set("\x00\x1b\x07\x9b\u202e\u2066\ud800") & set(group.message + group.example)


@pytest.mark.parametrize("error", [IndexError("no such item"), RuntimeError("broken")])
def test_an_input_that_cannot_be_read_is_left_empty(jobs, error):
    def broken(_):
        raise error

    assert source_input(jobs.source(broken), 0) == ""
