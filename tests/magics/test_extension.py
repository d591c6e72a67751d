"""Loading, unloading, defaults, and the magics that show things."""

import time
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import nbfutures.magics
from nbfutures.magics import load_ipython_extension, unload_ipython_extension
from nbfutures.magics.session_magics import NBFutures
from nbfutures.model.options import JobOptions

MAGICS = {
    "line": {"map", "submit", "jobs", "limit", "runner", "dashboard", "serve"},
    "cell": {"map", "submit", "flow"},
}


def state(shell):
    """Return what an extension can change in a shell."""
    return SimpleNamespace(
        magics={kind: dict(table) for kind, table in shell.magics_manager.magics.items()},
        registry=dict(shell.magics_manager.registry),
        configurables=list(shell.configurables),
        matchers=list(shell.Completer.custom_matchers),
        hooks={name: dict(found.strs) for name, found in shell.strdispatchers.items()},
        transformers=[*shell.input_transformers_post, *shell.ast_transformers],
        events={name: list(found) for name, found in shell.events.callbacks.items()},
        config=Config(shell.config),
        variables=dict(shell.user_ns),
    )


def test_loading_registers_the_magics_and_no_others(shell, fake):
    before = state(shell)
    load_ipython_extension(shell)
    for kind, names in MAGICS.items():
        assert shell.magics_manager.magics[kind].keys() - before.magics[kind].keys() == names


def test_unloading_leaves_the_shell_as_it_was(shell, fake):
    fake.defaults = JobOptions(workers=2)
    before = state(shell)
    load_ipython_extension(shell)
    shell.run_line_magic("runner", "threads -w 8")
    unload_ipython_extension(shell)
    after = state(shell)
    for name, value in vars(before).items():
        assert getattr(after, name) == value, name
    assert fake.defaults == JobOptions(workers=2)


def test_a_magic_of_the_same_name_comes_back(shell, fake):
    def mine(line):
        return "mine"

    shell.register_magic_function(mine, "line", "jobs")
    load_ipython_extension(shell)
    assert shell.run_line_magic("jobs", "") != "mine"
    unload_ipython_extension(shell)
    assert shell.run_line_magic("jobs", "") == "mine"
    del shell.magics_manager.magics["line"]["jobs"]


def test_loading_and_unloading_twice_is_harmless(shell, fake):
    before = state(shell)
    load_ipython_extension(shell)
    loaded = state(shell)
    load_ipython_extension(shell)
    assert state(shell) == loaded
    assert fake.warm_ups == 1
    unload_ipython_extension(shell)
    unload_ipython_extension(shell)
    assert state(shell) == before
    load_ipython_extension(shell)
    assert shell.run_line_magic("map", "-q len(['a'])") is fake.job


def test_two_shells_have_magics_of_their_own(shell, fake):
    other = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    load_ipython_extension(shell)
    load_ipython_extension(other)
    unload_ipython_extension(shell)
    assert "map" not in shell.magics_manager.magics["line"]
    other.user_ns["xs"] = [1]
    assert other.run_line_magic("map", "len(xs)").args == ([1],)


def test_loading_starts_prefect_in_advance(shell, fake):
    load_ipython_extension(shell)
    assert fake.warm_ups == 1


def test_loading_does_not_start_prefect_if_the_environment_says_so(shell, fake, monkeypatch):
    monkeypatch.setenv("NBFUTURES_WARM_UP", "0")
    load_ipython_extension(shell)
    assert fake.warm_ups == 0


def test_loading_does_not_fail_with_prefect(shell, fake, monkeypatch):
    def fail():
        raise OSError("no port")

    monkeypatch.setattr(fake, "warm_up", fail, raising=False)
    load_ipython_extension(shell)
    assert "map" in shell.magics_manager.magics["line"]


def test_a_load_that_fails_leaves_nothing_behind(shell, fake, monkeypatch):
    def fail(ip):
        raise RuntimeError("no completer")

    monkeypatch.setattr("nbfutures.magics.extension.make_matcher", fail)
    before = state(shell)
    with pytest.raises(RuntimeError):
        load_ipython_extension(shell)
    assert state(shell) == before


def test_loading_is_fast(shell, fake):
    start = time.thread_time()  # of this thread alone: other processes do not count
    load_ipython_extension(shell)
    assert time.thread_time() - start < 0.3


def test_the_public_names_are_the_two_of_an_extension():
    assert nbfutures.magics.__all__ == ["load_ipython_extension", "unload_ipython_extension"]


# %config


def test_config_sets_a_default_of_the_session(notebook, fake):
    notebook("n = 2")
    notebook("%config NBFutures.workers = 2 * n")
    notebook("%config NBFutures.timeout = 1")
    assert fake.defaults == JobOptions(workers=4, timeout=1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("workers = 0", "workers must be a whole number of at least 1, got 0."),
        ("workers = 'a'", "The 'workers' trait of a NBFutures instance expected an int"),
        ("runner = 'threds'", "There is no runner 'threds'; did you mean 'threads'?"),
        ("batch = 'many'", "batch must be a whole number of at least 1 or \"auto\", got 'many'."),
        ("rate = -1", "rate must be a number of items per second"),
    ],
)
def test_a_wrong_default_is_told_in_one_line_and_changes_nothing(notebook, fake, setting, message):
    notebook("%config NBFutures.retries = 1")
    ran = notebook.run(f"%config NBFutures.{setting}")
    assert ran.err.startswith(f"UsageError: {message}")
    assert ran.err.count("\n") == 1
    assert (ran.error, ran.out) == (None, "")
    assert fake.defaults == JobOptions(retries=1)


def test_a_wrong_default_does_not_stand_in_the_way_of_the_next(notebook, fake):
    notebook.run("%config NBFutures.workers = 0")
    assert notebook.run("%config NBFutures.retries = 1").err == ""
    assert fake.defaults == JobOptions(retries=1)


def test_a_default_reaches_the_session_again_after_another_way_has_changed_it(notebook, fake):
    notebook("%config NBFutures.workers = 4")
    fake.defaults = JobOptions()
    notebook("%config NBFutures.workers = 4")
    assert fake.defaults.workers == 4


def test_defaults_of_a_configuration_file_hold_from_the_start(fake):
    config = Config({"HistoryManager": {"enabled": False}, "NBFutures": {"workers": 3, "fail_fast": True}})
    load_ipython_extension(InteractiveShell(config=config))
    assert fake.defaults == JobOptions(workers=3, fail_fast=True)


def test_a_default_survives_a_reload(notebook, fake):
    notebook("%config NBFutures.workers = 4")
    unload_ipython_extension(notebook.shell)
    assert fake.defaults == JobOptions()
    load_ipython_extension(notebook.shell)
    assert fake.defaults == JobOptions(workers=4)


def test_a_wrong_default_in_the_configuration_does_not_keep_the_magics_from_being_loaded(shell, fake, caplog):
    shell.config.NBFutures.workers = 0
    load_ipython_extension(shell)
    assert "workers must be a whole number of at least 1, got 0." in caplog.text
    assert fake.defaults == JobOptions()
    assert shell.run_line_magic("map", "-q len(['a'])") is fake.job


def test_every_setting_is_an_option_of_a_job_with_the_same_default():
    options = JobOptions()
    for name, trait in NBFutures.class_traits(config=True).items():
        assert trait.default_value == getattr(options, name)
        assert trait.help


def test_config_shows_what_the_session_has(notebook, fake):
    fake.defaults = JobOptions(retries=7)
    notebook("%runner -w 5")
    shown = notebook.run("%config NBFutures").out
    assert "NBFutures.workers=<Int>\n    Default: how many items run at once.\n    Current: 5" in shown
    assert "Current: 7" in shown


# %runner and %jobs


@pytest.mark.parametrize(
    ("line", "defaults", "shown"),
    [
        ("", JobOptions(), "threads, 6 workers\n"),
        ("threads", JobOptions(), "threads, 6 workers\n"),
        ("'threads' -w 1", JobOptions(workers=1), "threads, 1 worker\n"),
        ("--workers 2*3", JobOptions(workers=6), "threads, 6 workers\n"),
    ],
)
def test_runner_sets_the_default_and_tells_it_in_a_line(notebook, fake, line, defaults, shown):
    ran = notebook.run(f"%runner {line}")
    assert (fake.defaults, ran.out, ran.value) == (defaults, shown, None)


def test_runner_alone_tells_and_changes_nothing(notebook, fake):
    fake.defaults = JobOptions(workers=6, retries=2)
    assert notebook.run("%runner").out == "threads, 6 workers\n"
    assert fake.defaults == JobOptions(workers=6, retries=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("threds", "There is no runner 'threds'; did you mean 'threads'?"),
        ("threads -w 0", "workers must be a whole number of at least 1, got 0."),
        ("--wokers 2", "There is no option --wokers; did you mean --workers?"),
    ],
)
def test_a_wrong_runner_is_told_in_one_line_and_changes_nothing(notebook, fake, line, message):
    assert message in notebook.run(f"%runner {line}").usage_error
    assert fake.defaults == JobOptions()


def test_jobs_shows_them_all(notebook, fake):
    notebook("%%submit -q\n1")
    assert notebook("%jobs") == ["view", fake.job]
    assert notebook("%jobs ;") is None


@pytest.mark.parametrize("name", ["all pages", "'all pages'", '"all pages"', "  all pages  "])
def test_jobs_with_a_name_shows_that_one(notebook, fake, name):
    notebook("%%submit -q -n 'all pages'\n1")
    assert notebook(f"%jobs {name}") is fake.job


def test_jobs_with_an_unknown_name_tells_the_known_ones(notebook, fake):
    assert notebook.run("%jobs nothing").usage_error == "There is no job 'nothing'. Jobs of this notebook: none yet."
