"""`%serve`: a flow becomes a deployment, those that are served are listed, and stopped."""

import pytest


@pytest.fixture
def nb(notebook):
    notebook.run("def report(day): return day\nn = 2")
    return notebook


def test_a_flow_is_served_under_its_name(nb, fake):
    assert nb("%serve report --name nightly --workers 2*n --keep") == "served"
    assert fake.served == [(nb.ns["report"], {"name": "nightly", "workers": 4, "keep": True})]
    assert nb("made = %serve report -n x\nmade") == "served"


def test_a_semicolon_hides_what_is_served(nb, fake):
    assert nb("%serve report -n nightly;") is None
    assert len(fake.served) == 1


def test_without_a_flow_it_lists_what_is_served(nb):
    assert "Nothing is served" in nb.run("%serve").out
    nb("%serve report -n nightly")
    ran = nb.run("%serve")
    assert (ran.value, ran.out) == (None, "flow/nightly: served by process 1\n")


@pytest.mark.parametrize(("line", "name"), [("--stop", None), ("--stop flow/nightly", "flow/nightly")])
def test_stop_ends_all_or_the_one_that_is_named(nb, fake, line, name):
    assert nb.run(f"%serve {line}").out == "stopped flow/nightly\n"
    assert fake.stopped == [name]


def test_what_is_wrong_is_one_line(nb):
    assert "name" in nb.run("%serve report").usage_error
    assert "nothing_here" in nb.run("%serve nothing_here -n x").usage_error
    assert "did you mean --name" in nb.run("%serve report --nam x").usage_error
