"""`%serve`, and `--background`."""

import pytest


@pytest.fixture
def nb(notebook):
    notebook("class pages:\n    @staticmethod\n    def fetch(x): return x\ndef parse(x): return x")
    return notebook


@pytest.mark.parametrize("names", ["parse pages.fetch", "parse, pages.fetch"])
def test_serve_serves_the_tasks_that_are_named(nb, fake, names):
    assert nb(f"%serve {names} --workers 2 --limit 4 --keep") == "serving 2"
    tasks = (nb.ns["parse"], nb.ns["pages"].fetch)
    assert fake.log == [("serve", tasks, {"workers": 2, "limit": 4, "keep": True})]


def test_serve_alone_tells_who_serves_what(nb, fake):
    assert nb("%serve") == "serving 0"
    assert nb("%serve parse;") is None


@pytest.mark.parametrize(
    ("line", "names"), [("--stop", ()), ("--stop parse", ("parse",)), ("parse --stop", ("parse",))]
)
def test_serve_stops(nb, fake, line, names):
    ran = nb.run(f"%serve {line}")
    assert fake.log == [("stop", names)]
    assert ran.out.strip() == f"No longer served: {', '.join(names) or 'nothing was'}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fetch", "name 'fetch' is not defined. Run the cell that defines it first."),
        ("parse(1)", "'parse(1)' is no name. Write it as in: %serve first second --workers 2."),
        ("--stop nothing", "Nobody serves nothing."),
        ("parse --wrokers 2", "There is no option --wrokers; did you mean --workers?"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(nb, line, message):
    assert nb.run(f"%serve {line}").usage_error == message


def test_background_is_handed_on(nb, fake):
    nb("%map --background parse([1])")
    assert fake.job.options == {"background": True}


@pytest.mark.parametrize("head", ["%%map x in [1]", "%%submit"])
def test_a_cell_cannot_be_a_background_task(nb, head):
    message = nb.run(f"{head} --background\n1").usage_error
    assert message.startswith(f"{head.split()[0]} cannot run in the background: workers serve tasks that have a name.")


def test_a_flow_is_served_by_the_name_of_its_deployment_and_stopped_by_that(nb, fake):
    nb("%serve parse --name nightly --workers 2")
    nb("%serve --stop parse/nightly")
    assert fake.log == [("serve", (nb.ns["parse"],), {"name": "nightly", "workers": 2}), ("stop", ("parse/nightly",))]
