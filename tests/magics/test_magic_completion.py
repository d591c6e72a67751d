"""Tab, asked for as a kernel asks."""

import pytest
from IPython.core.completer import provisionalcompleter, rectify_completions

from nbfutures.magics import unload_ipython_extension
from nbfutures.magics.arguments import JOB_OPTIONS
from nbfutures.model.options import RUNNERS

LONG = [option.forms[-1] for option in JOB_OPTIONS]
SHORT = [option.short for option in JOB_OPTIONS if option.short]


@pytest.fixture
def complete(notebook):
    """Return what a text becomes by each completion at the place that is marked by `|`."""
    completer = notebook.shell.Completer

    def ask(text: str, *, use_jedi: bool = True) -> list[str]:
        before, _, after = text.partition("|")
        completer.use_jedi = use_jedi
        with provisionalcompleter():
            found = list(rectify_completions(before + after, completer.completions(before + after, len(before))))
        return [before[: one.start] + one.text + before[one.end :] for one in found]

    yield ask
    completer.use_jedi = True


@pytest.mark.parametrize("use_jedi", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        "%map ",
        "%map f(x) ",
        "%%map x in xs ",
        "%%submit ",
        "%%flow ",
        "squares = %map ",
        "%submit -w 4 ",
        "a, b = %map ",
    ],
)
def test_a_dash_offers_every_option_and_nothing_else(complete, line, use_jedi):
    assert complete(f"{line}-|", use_jedi=use_jedi) == [line + form for form in LONG + SHORT]
    assert complete(f"{line}--|", use_jedi=use_jedi) == [line + form for form in LONG]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%map --ret|", ["%map --retries", "%map --retry-delay"]),
        ("%map --retry-|", ["%map --retry-delay"]),
        ("%map f([1, 2]) --wo|", ["%map f([1, 2]) --workers"]),
        ("%map --wo| f(x)", ["%map --workers"]),
        ("%map --runner |", [f"%map --runner {name}" for name in RUNNERS]),
        ("%map -r th|", ["%map -r threads"]),
        ("%%map x in xs --runner=|", [f"%%map x in xs --runner={name}" for name in RUNNERS]),
        ("%map --runner=th|", ["%map --runner=threads"]),
        ("%map --batch |", ["%map --batch auto"]),
        ("%runner -|", ["%runner --workers", "%runner --address", "%runner --stop", "%runner -w"]),
        ("%runner th|", ["%runner threads"]),
        ("%limit db --|", ["%limit db --tag", "%limit db --per-second", "%limit db --delete"]),
        ("%serve report --k|", ["%serve report --keep"]),
        ("runner th|", ["runner threads"]),
        ("submit --ra|", ["submit --rate"]),
        ("\n  \n%%map --ra|\nx", ["\n  \n%%map --rate"]),
    ],
)
def test_options_and_their_values_are_completed(complete, text, expected):
    assert complete(text) == expected


@pytest.mark.parametrize(
    "text", ["map -|", "x - |", "print('%map -|", "x = 1\n%%map -|", "%config -|", "%mapped --wo|", "%map sorted(-|"]
)
def test_nothing_is_offered_elsewhere(complete, text):
    assert not [one for one in complete(text) if one.endswith(tuple(LONG))]


def test_a_variable_of_the_name_takes_precedence_over_a_magic_without_percent(complete, notebook):
    notebook("runner = 3")
    assert "runner --workers" not in complete("runner --|")


@pytest.mark.parametrize("use_jedi", [True, False])
@pytest.mark.parametrize(
    "line", ["%map ", "%map -w 4 ", "job = %submit ", "%map square_of(", "%%map x in ", "%map -w "]
)
def test_names_of_the_notebook_are_completed(complete, notebook, line, use_jedi):
    notebook("def square_of(x): pass")
    assert complete(f"{line}square_|", use_jedi=use_jedi) == [f"{line}square_of"]


def test_the_names_of_jobs_are_completed(complete, notebook):
    notebook("%%submit -q\n1")
    notebook("%%submit -q -n 'all pages'\n1")
    assert complete("%jobs |") == ["%jobs cell 1", "%jobs all pages"]
    assert complete("%jobs all p|") == ["%jobs all pages"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_the_completion_of_older_frontends_has_the_options(notebook):
    assert notebook.shell.complete("", "%map --ret", 10) == ("--ret", ["--retries", "--retry-delay"])


def test_unloading_ends_it(complete, notebook):
    unload_ipython_extension(notebook.shell)
    assert complete("%map --ret|") == []
