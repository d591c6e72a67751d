"""What a notebook shows of an error that says what to do: the line that called, and next to nothing of the inside."""

from __future__ import annotations

import inspect
import traceback

import pytest

import nbfutures as nbf
from nbfutures.errors import NbfuturesError

CALLS = {
    "map": lambda: nbf.map(abs, 3),
    "submit": lambda: nbf.submit(3),
    "map with options": lambda: nbf.options(workers=2).map(abs, 3),
    "options": lambda: nbf.options(workers=0),
    "run": lambda: nbf.run(3),
    "attach": lambda: nbf.attach("nothing of that name"),
    "limit": lambda: nbf.limit("nothing of that name"),
    "delete_limit": lambda: nbf.delete_limit("nothing of that name"),
    "serve": lambda: nbf.serve(3),
    "stop_serving": lambda: nbf.stop_serving("nothing of that name"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_error_of_a_call_has_one_frame_of_the_inside(call):
    with pytest.raises(NbfuturesError) as raised:
        call()
    assert len(traceback.extract_tb(raised.value.__traceback__)) == 3, "this test, the call, and one"


def test_the_error_of_an_item_keeps_its_frames():
    def nested(_):
        return nbf.map(abs, 3)

    job = nbf.map(nested, [1])
    with pytest.raises(NbfuturesError) as raised:
        job.result(120)
    assert "nested" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


def test_other_errors_keep_all_their_frames(monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("nbfutures.api.submitter.map_work", broken)
    with pytest.raises(ZeroDivisionError) as raised:
        nbf.map(abs, [3])
    assert "broken" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


def test_functions_tell_their_signature():
    assert list(inspect.signature(nbf.limit).parameters) == ["name", "slots", "tag", "per_second"]
    assert nbf.map.__doc__.startswith("Call `fn` for each element")
