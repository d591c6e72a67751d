from __future__ import annotations

import io
import time

import pytest
import tqdm
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.views.clean import both_ends
from nbfutures.views.terminal import last_state

LINES = st.text(st.characters(categories=["L", "N", "P"], include_characters=" "), max_size=20).map(str.rstrip)


@given(st.lists(st.text(st.characters(exclude_characters="\x1b\r\b\v\f\a"))))
def test_text_without_moves_is_left_as_it_is(lines):
    assert last_state("\n".join(lines)) == "\n".join(lines)


@given(st.lists(LINES, max_size=5), st.lists(LINES, min_size=1, max_size=5), st.lists(LINES, max_size=5))
def test_of_what_is_drawn_again_and_again_the_last_is_left(before, drawn, after):
    bar = "".join(f"\r{text.ljust(20)}" for text in drawn)
    text = "\n".join([*before, bar, *after])
    assert last_state(text) == "\n".join([*before, drawn[-1], *after])
    # As those do that erase what they draw over.
    bar = "".join(f"\r\x1b[K\x1b[3{number % 8}m{text}\x1b[0m" for number, text in enumerate(drawn))
    assert last_state("\n".join([*before, bar, *after])) == "\n".join([*before, drawn[-1], *after])


@given(LINES, LINES)
def test_backspaces_go_back_and_what_follows_writes_over(text, new):
    assert last_state(text + "\b" * len(text) + new) == (new + text[len(new) :]).rstrip()


@given(st.lists(LINES, min_size=2, max_size=6), st.data())
def test_a_line_further_up_can_be_written_again(lines, data):
    row = data.draw(st.integers(0, len(lines) - 2))
    up = len(lines) - 1 - row
    text = "\n".join(lines) + f"\x1b[{up}A\r\x1b[2Knew\x1b[{up}B\r\x1b[2Kend"
    assert last_state(text) == "\n".join([*lines[:row], "new", *lines[row + 1 : -1], "end"])


@given(st.text(st.sampled_from("ab\r\n\b\t\x1b[];0123456789?ABCDEFGHJKPXfmsud\x07\\ "), max_size=60))
def test_no_text_breaks_it_and_none_is_left_with_codes(text):
    assert not set("\x1b\r\b") & set(last_state(text) if set("\x1b\r\b") & set(text) else "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("12345\rab", "ab345"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("old\x1b[2J\x1b[Hnew", "new"),
        ("one\ntwo\x1b[1;2HX", "oXe\ntwo"),
        ("one\ntwo\x1b[1F\x1b[Jnew", "new"),
        ("abc\x1b[2D\x1b[P", "ac"),
        ("a\tb\rc", "c       b"),
        ("\x1b[s1\x1b[u2", "2"),
        ("ding\a", "ding"),
    ],
)
def test_codes_do_what_they_do_on_a_terminal(text, shown):
    assert last_state(text) == shown


def test_a_progress_bar_is_one_line():
    written = io.StringIO()
    for _ in tqdm.tqdm(range(86), file=written, mininterval=0):
        pass
    assert written.getvalue().count("\r") > 80
    assert last_state(written.getvalue()).count("86/86") == 1
    assert last_state(written.getvalue()).count("\n") == 1


def test_a_text_that_moves_as_far_as_it_can_takes_no_time():
    start = time.thread_time()
    for text in ("\x1b[9999Cx\n" * 8_000, "\x1b[9999B" * 9_000, "\x1b[9999A\n" * 8_000, "\x1bP" * 30_000):
        assert len(last_state(text)) < 10_000_000
    assert time.thread_time() - start < 10


@given(st.text(), st.integers(200, 400))
def test_both_ends_are_short_and_the_last_characters_are_there(text, limit):
    text += "the end"
    made = both_ends(text * 20, limit)
    assert len(made) <= limit
    assert made.endswith("the end")


def test_what_is_left_out_is_counted():
    text = "\n".join(f"line {number}" for number in range(1_000))
    made = both_ends(text, 500).split("\n")
    (mark,) = (number for number, line in enumerate(made) if "left out" in line)
    first, last = int(made[mark - 1].split()[1]), int(made[mark + 1].split()[1])
    assert made[mark] == f"[… {last - first - 1} lines left out …]"
    assert (made[0], made[-1]) == ("line 0", "line 999")
    assert "characters left out" in both_ends("x" * 1_000, 300)
