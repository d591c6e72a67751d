"""Words of a line: split at spaces that are outside of brackets and quotes."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbfutures.magics.scan import looks_like_option, scan


def words(line):
    return [word.text for word in scan(line).words]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("  -w 4   f(x)  ", ["-w", "4", "f(x)"]),
        ("f(a, b) -w 2", ["f(a, b)", "-w", "2"]),
        ("f([1, {2: 'a b'}], \"c d\")", ["f([1, {2: 'a b'}], \"c d\")"]),
        ("-n 'two words' f(x)", ["-n", "'two words'", "f(x)"]),
        (r"-n 'it\'s one' x", ["-n", r"'it\'s one'", "x"]),
        ('-n f"{a} {b}" x', ["-n", 'f"{a} {b}"', "x"]),
        ("'''a 'b' c''' x", ["'''a 'b' c'''", "x"]),
        ("'' \"\" x", ["''", '""', "x"]),
        ("f(')') x", ["f(')')", "x"]),
        ("f(x) # -w 4", ["f(x)"]),
        ("f('#') -w 4", ["f('#')", "-w", "4"]),
        ("f(x # y", ["f(x"]),
        ("f(x, 'open -w 4", ["f(x, 'open -w 4"]),
        ("f(x -w 4", ["f(x -w 4"]),
        ("a) b", ["a)", "b"]),
    ],
)
def test_a_line_splits_where_a_reader_would(line, expected):
    assert words(line) == expected


@pytest.mark.parametrize("line", ["f(x);", "f(x) ;", "f(x);  # told", "f(x); ;", "-w 4;"])
def test_semicolons_at_the_end_are_taken_off_and_told(line):
    assert scan(line).has_semicolon
    assert ";" not in "".join(words(line))


@pytest.mark.parametrize("line", ["f(x)", "f(';')", "f(x)  # ;", "-n ';'", ""])
def test_a_semicolon_inside_of_the_line_does_not_count(line):
    assert not scan(line).has_semicolon


@settings(deadline=None)
@given(st.text(alphabet="ab -'\"([{}])#;\\\n=", max_size=30))
def test_every_word_is_found_at_its_place_and_in_order(line):
    found = scan(line).words
    assert all(word.text and line[word.start :].startswith(word.text) for word in found)
    assert all(left.end <= right.start for left, right in itertools.pairwise(found))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "-w", "'a b'", "(a, 'b c')", "[1, 2]", 'f"{x} y"']), max_size=6))
def test_joined_words_split_into_the_same_words(parts):
    assert words("  ".join(parts)) == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-w", True), ("--tag=a", True), ("-1", False), ("-", False), ("a-b", False), ("--", False), ("-(1)", False)],
)
def test_a_dash_makes_an_option_only_directly_before_a_letter(text, expected):
    assert looks_like_option(text) is expected
