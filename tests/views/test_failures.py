from __future__ import annotations

import dataclasses
import threading

import pytest

from nbfutures.model.item import Item
from nbfutures.model.outcome import CapturedOutput, Outcome, OutcomeKind
from nbfutures.views.failures import Failure


@pytest.fixture
def failure(jobs):
    def make(error=None, arguments=None, output=None, call=lambda: None, index=7):
        outcome = jobs.failed(index, error or ValueError("bad row 7"), output=output)
        return Failure.of(outcome, Item(index, {"row": 7} if arguments is None else arguments), call)

    return make


def test_a_failure_holds_what_it_takes_to_understand_it(failure):
    one = failure(output=CapturedOutput("reading\n", "careful\n"), arguments={"row": 7, "strict": True})
    assert (one.index, one.input) == (7, {"row": 7, "strict": True})
    assert isinstance(one.error, ValueError)
    assert one.traceback.endswith("ValueError: bad row 7")
    assert one.output == CapturedOutput("reading\n", "careful\n")


def test_its_text_shows_all_of_that(failure):
    one = failure(output=CapturedOutput("reading\n", "careful\n"))
    lines = repr(one).splitlines()
    assert lines[:4] == ["Item 7 failed with ValueError: bad row 7", "Input", "  row = 7", "Traceback"]
    assert lines[-6:] == [
        "  ValueError: bad row 7",
        "Printed",
        "  reading",
        "Printed to stderr",
        "  careful",
        "Run it again with .reproduce()",
    ]


def test_what_there_is_not_takes_no_room(failure):
    text = repr(failure(arguments={}, output=CapturedOutput("", " \n")))
    assert "no arguments" in text
    assert "Printed" not in text


def test_reproduce_calls_in_this_thread_and_returns_the_value(failure):
    assert failure(call=threading.current_thread).reproduce() is threading.current_thread()


def test_reproduce_raises_what_the_function_raises_with_its_frames(failure):
    def again():
        x = 5
        raise KeyError(x)

    with pytest.raises(KeyError) as caught:
        failure(call=again).reproduce()
    assert caught.traceback[-1].frame.f_locals["x"] == 5


def test_a_failure_cannot_be_changed(failure):
    with pytest.raises(dataclasses.FrozenInstanceError):
        failure().index = 1


def test_an_outcome_without_an_error_is_no_failure():
    with pytest.raises(ValueError, match="Item 3 has no error: it completed"):
        Failure.of(Outcome(3, OutcomeKind.COMPLETED), Item(3, {}), lambda: None)


def test_text_from_elsewhere_is_escaped_cut_and_cleaned(failure, nasty_text):
    one = failure(ValueError(nasty_text), {nasty_text: nasty_text}, CapturedOutput(nasty_text, nasty_text))
    html = one._repr_html_()
    for text in (repr(one), html):
        assert len(text) < 300_000
        assert not set("\x00\x1b\x07\x9b\u202e\u2066\ud800") & set(text)
        text.encode()
    for dangerous in ("<img", "<script", "</script"):
        assert dangerous not in html


def test_html_shows_a_message_as_it_was_written(failure, nasty):
    assert "ValueError: &lt;img src=x onerror=alert(1)&gt;" in failure(ValueError(nasty.IMG))._repr_html_()


def test_reprs_and_errors_that_raise_do_not_break_it(failure, nasty):
    one = failure(nasty.Error(), {"x": nasty.Repr()})
    for text in (repr(one), one._repr_html_()):
        assert "Error: (the message cannot be shown)" in text


def test_many_arguments_are_cut(failure):
    text = repr(failure(arguments={f"a{number}": number for number in range(100)}))
    assert "a19 = 19\n  …\n" in text
