"""`%limit`: what its line asks of the api."""

import pytest


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("db 4", ("limit", "db", 4, {})),
        ("db", ("limit", "db", None, {})),
        ("db 2 * n", ("limit", "db", 6, {})),
        ("'the db' 4", ("limit", "the db", 4, {})),
        ("--tag db 4", ("limit", "db", 4, {"tag": True})),
        ("db 4 --tag", ("limit", "db", 4, {"tag": True})),
        ("api 10 --per-second 2.5", ("limit", "api", 10, {"per_second": 2.5})),
        ("db --delete", ("delete", "db", False)),
        ("--tag db --delete", ("delete", "db", True)),
    ],
)
def test_a_line_is_one_call(notebook, fake, line, asked):
    notebook.run("n = 3")
    shown = notebook(f"%limit {line}")
    assert fake.log == [asked]
    assert shown == (None if "delete" in line else f"limit {asked[1]}")


def test_what_was_deleted_is_told(notebook):
    assert notebook.run("%limit db --delete").out == "Deleted: db\n"
    assert notebook.run("%limit --tag gpu --delete").out == "Deleted: tag gpu\n"


def test_alone_it_shows_all_limits(notebook, fake):
    assert notebook("%limit") == "all limits"
    assert notebook("%limit ;") is None
    assert fake.log == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("db four", "'four' is no number of slots. Write it as in: %limit db 4."),
        ("--delete", "The name of the limit is missing."),
        ("--tag", "The name of the limit is missing."),
        ("db 4 --delete", "To delete a limit takes no number. Write: %limit db --delete."),
        ("db 4 --rate 3", "There is no option --rate"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(notebook, fake, line, message):
    assert message in notebook.run(f"%limit {line}").usage_error
    assert fake.log == []
