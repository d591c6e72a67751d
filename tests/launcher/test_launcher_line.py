"""The Python line does the same as the form."""

from __future__ import annotations

import ast
import enum
import os.path
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.launcher.entries import EntryError, Mode, evaluate, read_entry
from nbfutures.launcher.fields import read_target
from nbfutures.launcher.form import arrange, write_line
from nbfutures.launcher.references import refer_to, refer_to_package


def line(notebook, function, options=(), name="job", /, **entries):
    """The line for a function with these entries."""
    target = read_target(notebook[function])
    arguments = []
    for field in target.fields:
        entry = entries.get(field.name)
        mode, text = entry if isinstance(entry, tuple) else (Mode.VALUE, entry)
        if entry is not None:
            arguments.append(evaluate(read_entry(field, mode, text, notebook), notebook))
    return write_line(target, arrange(target, arguments), options, name, notebook)


@pytest.mark.parametrize(
    ("signature", "entries", "written"),
    [
        ("x", {"x": "3"}, "job = nbf.submit(f, 3)"),
        ("x", {"x": (Mode.MAP, "xs")}, "job = nbf.map(f, xs)"),
        ("x, y", {"x": (Mode.MAP, "xs"), "y": "n"}, "job = nbf.map(f, xs, n)"),
        ("x, y", {"x": (Mode.MAP, "xs"), "y": "xs"}, "job = nbf.map(f, xs, nbf.unmapped(xs))"),
        ("x, y", {"x": (Mode.MAP, "xs"), "y": "n + 1"}, "job = nbf.map(f, xs, nbf.unmapped(n + 1))"),
        ("x, y", {"x": "xs", "y": "xs"}, "job = nbf.submit(f, xs, xs)"),
        ("x, y=1", {"x": "1", "y": "2"}, "job = nbf.submit(f, 1, y=2)"),
        ("x, *, y", {"x": "1", "y": "2"}, "job = nbf.submit(f, 1, y=2)"),
        ("x, y=1, /", {"x": "1", "y": "2"}, "job = nbf.submit(f, 1, 2)"),
        ("x=1, y=2", {"y": "5"}, "job = nbf.submit(f, y=5)"),
        ("x, fn=1", {"x": "1", "fn": "2"}, "job = nbf.options().submit(f, 1, fn=2)"),
        ("", {}, "job = nbf.submit(f)"),
    ],
)
def test_arguments_are_written_as_people_would(notebook, signature, entries, written):
    notebook.run(f"def f({signature}): ...\nxs = [1, 2]\nn = 3")
    assert line(notebook, "f", **entries) == written


def test_what_can_be_given_by_position_only_has_to_be_given_before_others(notebook):
    notebook.run("def f(a=1, b=2, /): ...")
    with pytest.raises(EntryError, match="b, which is given") as caught:
        line(notebook, "f", b="3")
    assert caught.value.field == "a"


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True),
    st.sampled_from(["a, b, c=3, d=4", "a, b, /, c=3, *, d=4", "a, *, b, c=3, d=4", "a, b, c=3, d=4, /"]),
)
def test_every_argument_arrives_at_its_parameter(given_names, signature):
    names = {"__name__": "__main__", "nbf": Recorder()}
    exec(f"def f({signature}): return a, b, c, d", names)
    entries = {name: f"'{name}'" for name in {"a", "b", *given_names}}
    try:
        # The recorder is not the package, which would be imported.
        exec(line(names, "f", **entries).partition("\n")[2].replace("nbfutures.", "nbf."), names)
    except EntryError:
        assert signature.endswith("/")
        assert "d" in entries
        assert "c" not in entries
    else:
        assert names["job"] == tuple(name if name in entries else {"c": 3, "d": 4}[name] for name in "abcd")


class Recorder:
    """Stands for `nbf`: makes the call at once."""

    def submit(self, fn, *args, **kwargs):
        return fn(*args, **kwargs)

    def options(self, **_):
        return self


# --- names of things -----------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1

    def mix(self): ...


def local():
    def inner(): ...

    return inner


@pytest.mark.parametrize(
    ("thing", "namespace", "code", "imports"),
    [
        (local, {"local": local}, "local", ()),
        (local, {"other": local}, "other", ()),
        (local, {"local": 1, "other": local}, "other", ()),
        (Path, {}, "Path", ("from pathlib import Path",)),
        (Path, {"pathlib": __import__("pathlib")}, "pathlib.Path", ()),
        (Path, {"Path": 1}, "Path_", ("from pathlib import Path as Path_",)),
        (len, {}, "len", ()),
        (len, {"len": 1}, "len_", ("from builtins import len as len_",)),
        (Colour.mix, {"Colour": Colour}, "Colour.mix", ()),
        (Path.home, {"Path": Path}, "Path.home", ()),
    ],
)
def test_things_are_named_as_the_notebook_can(thing, namespace, code, imports):
    reference = refer_to(thing, namespace)
    assert (reference.code, reference.imports) == (code, imports)
    names = dict(namespace)
    exec("\n".join(imports), names)
    assert eval(code, names) == thing


def test_what_has_no_name_is_not_given_one():
    assert refer_to(local(), {}) is None
    assert refer_to(lambda: 0, {"_": 1}) is None


def test_an_imported_function_and_path_bring_their_imports(notebook):
    notebook["f"] = os.path.join
    del notebook["f"], notebook["nbf"]
    target = read_target(os.path.join)
    [field, *_] = target.fields
    argument = read_entry(field, Mode.VALUE, "'a'", notebook)
    written = write_line(target, arrange(target, [argument]), (), "", notebook)
    assert written == "import nbfutures as nbf\nfrom posixpath import join\nnbf.submit(join, 'a')"
    ast.parse(written)


def test_the_package_is_called_as_the_notebook_calls_it(notebook):
    assert refer_to_package(notebook).code == "nbf"
    assert refer_to_package({"futures": notebook["nbf"]}).code == "futures"
    assert refer_to_package({"nbf": 1}).imports == ("import nbfutures",)
