from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.views.templates import CommonMessage, fold


def common(*messages):
    """What a group of these messages says; they have to be of one kind."""
    kinds = {fold(message)[0] for message in messages}
    assert len(kinds) == 1
    made = CommonMessage(*fold(messages[0]))
    for message in messages[1:]:
        made.add(fold(message)[1])
    return str(made)


@pytest.mark.parametrize(
    ("one", "other", "template"),
    [
        ("bad row 7", "bad row 1,234.5e-3", "bad row N"),
        ("took 0.25 s", "took 13 s", "took N s"),
        ("item17 is gone", "item4 is gone", "itemN is gone"),
        ("no such key: 'a'", "no such key: 'b c'", "no such key: '…'"),
        ('no such key: "a"', "no such key: 'a'", "no such key: '…'"),
        ("can't open 'a.csv'", "can't open 'b.csv'", "can't open '…'"),
        ("no file /data/a.csv.", "no file ~/other/b.csv.", "no file <path>."),
        (r"no file C:\data\a.csv", "no file ../b", "no file <path>"),
        ("cannot read https://a.org/x?y=1 now", "cannot read s3://bucket/k now", "cannot read <url> now"),
        ("<Lock at 0x7f00a1>", "<Lock at 0x1>", "<Lock at 0x…>"),
        (
            "run 3fa85f64-5717-4562-b3fc-2c963f66afa6 failed",
            "run 00000000-0000-4562-b3fc-2c963f66afa6 failed",
            "run <id> failed",
        ),
    ],
)
def test_messages_that_differ_in_what_can_be_folded_are_of_one_kind(one, other, template):
    assert common(one, other) == template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bad row 7", "bad column 7"),
        ("cannot read as float64", "cannot read as float32"),
        ("'utf-8' codec", "the codec"),
        ("and/or", "and/nor"),
    ],
)
def test_messages_that_say_something_else_are_not(one, other):
    assert fold(one)[0] != fold(other)[0]


def test_what_all_messages_share_is_kept():
    assert common("int() with base 10: 'a'", "int() with base 10: 'b'") == "int() with base 10: '…'"
    assert common("row 1 of 9", "row 2 of 9", "row 1 of 9") == "row N of 9"
    assert common("'NoneType' object has no attribute 'a'") == "'NoneType' object has no attribute 'a'"


pieces = st.lists(
    st.sampled_from([*"ab '\"/\\~.:,0x", "1", "/a/b", "'q'", "http://", "0x1f", "float64", "\n"]), max_size=40
)


@given(pieces.map("".join) | st.text())
def test_a_message_is_folded_without_loss(message):
    assert common(message) == message


@given(st.lists(st.integers(), min_size=1, max_size=5), st.lists(st.integers(), min_size=1, max_size=5))
def test_numbers_never_keep_messages_apart(one, other):
    size = min(len(one), len(other))
    first, second = (" and ".join(f"row {abs(number)}" for number in numbers[:size]) for numbers in (one, other))
    assert fold(first)[0] == fold(second)[0]


@pytest.mark.parametrize("piece", ["/", "\\", "'", '"', "a/", "1.", "0x", "~/", "a://", "''a", "1e", "./", "ab-"])
def test_no_message_takes_long_to_fold(piece):
    message = (piece * 300)[:300]
    start = time.thread_time()
    for _ in range(10):
        fold(message)
    assert time.thread_time() - start < 0.5
