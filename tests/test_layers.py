"""Which module may import which: read from the source, imports inside functions and for type checking included.

    errors <- model <- { engine <- prefect | views } <- api <- { magics, launcher, lessons, testing, __main__ }

`engine` knows no Prefect, `views` sees neither of the two, and no modules import one another in a circle, however long.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).resolve().parent.parent / "src" / "nbfutures"

ROOT = ""
"""The layer of the package's `__init__`. It may name any module, since it loads each on first use only, and it counts
in no circle; so that it hides nothing, no module takes a name from it."""

BELOW_API = {"errors", "model", "engine", "prefect", "views"}
SURFACE = {"magics", "launcher", "lessons", "testing", "__main__"}
MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "model": {"errors"},
    "engine": {"errors", "model"},
    "prefect": {"errors", "model", "engine"},
    "views": {"errors", "model"},
    "api": BELOW_API,
    **dict.fromkeys(SURFACE, BELOW_API | {"api"}),
}
"""For each layer the layers that it may import, besides itself and `_version`, which holds one string."""

STDLIB_ONLY = {"_version", "errors", "model"}
# Where another library may be used all the same: one record is made for every item of every job.
BESIDES = {"msgspec": ("nbfutures.model.outcome",)}

HOMES = {
    "prefect": {"prefect"},
    "pandas": {"views", "launcher"},
    "matplotlib": {"views", "launcher"},
    "ipywidgets": {"views", "launcher"},
    "anywidget": {"views", "launcher"},
    "IPython": {"views", "magics"},
}
"""The layers that may import a library. A name stands for those that extend it, too, as in `prefect_dask`."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module and the line that imports it."""

    importer: str
    target: str
    """A module of the package, or the dotted name of something else as it is written."""
    where: str
    """`path:line`."""


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    modules: dict[str, Path]
    """Dotted name -> file."""

    @classmethod
    def read(cls, folder: Path) -> Package:
        modules = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return cls(folder.name, modules)

    def layer(self, module: str) -> str:
        """`pkg.views.text` -> `views`, `pkg` -> ``."""
        return module.removeprefix(self.name).removeprefix(".").partition(".")[0]

    def owns(self, module: str) -> bool:
        return module.partition(".")[0] == self.name

    def shown(self, module: str) -> str:
        folder = self.modules[self.name].parent
        return str(self.modules[module].relative_to(folder.parent.parent))

    def imports(self) -> Iterator[Import]:
        for importer, path in self.modules.items():
            inside = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
                for target in imported_names(node, inside):
                    yield Import(importer, self._module_of(target), f"{self.shown(importer)}:{node.lineno}")

    def _module_of(self, target: str) -> str:
        while self.owns(target) and target not in self.modules and "." in target:
            target = target.rpartition(".")[0]
        return target


def imported_names(node: ast.AST, inside: str) -> list[str]:
    """Return the dotted names that a node imports; relative ones are seen from the package `inside`."""
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            parents = inside.split(".")[: len(inside.split(".")) + 1 - level] if level else []
            return [".".join([*parents, *filter(None, [module]), name.name]) for name in names]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(target)), *_],
        ):
            return [target]
    return []


def violations(package: Package) -> list[str]:
    """Return one line for each broken rule, with the file and line that breaks it."""
    found = [
        f"{package.shown(module)}:1: is in no layer; give {package.layer(module)!r} its place in MAY_IMPORT"
        for module in package.modules
        if package.layer(module) not in {ROOT, *MAY_IMPORT}
    ]
    for each in package.imports():
        reason = wrong_inside(package, each) if package.owns(each.target) else wrong_outside(package, each)
        if reason:
            found.append(f"{each.where}: {reason}")
    return [*found, *circle(package)]


def wrong_inside(package: Package, each: Import) -> str | None:
    importer, target = package.layer(each.importer), package.layer(each.target)
    if importer == ROOT:
        return None
    if target == ROOT:
        return "takes a name from the package's root; import it from the module that defines it"
    if target in {importer, "_version", *MAY_IMPORT.get(importer, {target})}:
        return None
    return f"{importer} imports {each.target}; it may import {', '.join(sorted(MAY_IMPORT[importer])) or 'nothing'}"


def wrong_outside(package: Package, each: Import) -> str | None:
    layer, library = package.layer(each.importer), each.target.partition(".")[0]
    if (
        layer in STDLIB_ONLY
        and library not in sys.stdlib_module_names
        and each.importer not in BESIDES.get(library, ())
    ):
        return f"{layer} imports {each.target}; it may import the standard library only"
    for name, homes in HOMES.items():
        if (library == name or library.startswith(f"{name}_")) and layer not in homes:
            return f"{layer or 'the root'} imports {each.target}; only {' and '.join(sorted(homes))} may"
    return None


def circle(package: Package) -> list[str]:
    """Return one line for the first circle of modules that import one another, if there is any."""
    lines: dict[tuple[str, str], str] = {}
    graph: dict[str, set[str]] = {}
    for each in package.imports():
        if package.owns(each.target) and ROOT not in {package.layer(each.importer), package.layer(each.target)}:
            lines.setdefault((each.importer, each.target), each.where)
            graph.setdefault(each.importer, set()).add(each.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        ring = error.args[1][::-1]
        steps = [f"{lines[step]} imports {step[1]}" for step in itertools.pairwise(ring)]
        return [f"{lines[ring[0], ring[1]]}: a circle of imports: {', '.join(steps)}"]
    return []


def test_every_import_of_the_package_follows_the_layers():
    package = Package.read(SOURCE)
    assert package.modules.keys() >= {"nbfutures", "nbfutures.errors", "nbfutures.model.outcome"}
    assert "\n".join(violations(package)) == ""


# The checker itself, on small trees.


def tree(folder: Path, **files: str) -> Package:
    """Write a package `pkg`; a keyword `views__text` is the file `views/text.py`, `__` alone is the root."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / "src" / "pkg" / (name.replace("__", "/") if not name.startswith("__") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text, encoding="utf-8")
    return Package.read(folder / "src" / "pkg")


ALLOWED = {
    "errors": "import json",
    "model__item": "from pkg.errors import E\nfrom pkg._version import __version__",
    "_version": "",
    "engine__queue": "import numpy\nfrom ..model import item",
    "prefect__feed": "import prefect.futures\nimport prefect_dask\nfrom ..engine import queue",
    "prefect__session": "from . import feed\nimport numpy",
    "views__text": "import pandas as pd\nfrom IPython.display import HTML\nimport pkg.model.item",
    "api": "from pkg.prefect.feed import f\nfrom pkg.views import text\nfrom pkg import errors",
    "magics": "from IPython.core.magic import Magics\nfrom pkg.api import run",
    "launcher": "import ipywidgets, matplotlib.pyplot\nfrom .api import run",
    "__init__": "def __getattr__(name):\n    from pkg import api, magics",
}


def test_a_tree_that_keeps_the_rules_passes(tmp_path):
    assert violations(tree(tmp_path, **ALLOWED)) == []


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("errors", "\nfrom pkg.model import item", 2, "errors imports pkg.model.item; it may import nothing"),
        ("model__item", "from pkg.views.text import show", 1, "model imports pkg.views.text; it may import errors"),
        ("views__text", "def f():\n    from pkg.prefect.feed import g", 2, "views imports pkg.prefect.feed"),
        ("prefect__feed", "from ..views import text", 1, "prefect imports pkg.views.text"),
        ("prefect__feed", "if TYPE_CHECKING:\n    import pkg.api", 2, "prefect imports pkg.api"),
        (
            "views__text",
            "import importlib\nimportlib.import_module('pkg.prefect.feed')",
            2,
            "views imports pkg.prefect",
        ),
        ("engine__queue", "def f():\n    from pkg.prefect import feed", 2, "engine imports pkg.prefect.feed"),
        ("engine__queue", "if TYPE_CHECKING:\n    import prefect", 2, "engine imports prefect; only prefect may"),
        ("magics", "from pkg.launcher import form", 1, "magics imports pkg.launcher"),
        ("api", "from pkg import Job", 1, "takes a name from the package's root"),
        ("api", "import prefect", 1, "api imports prefect; only prefect may"),
        (
            "views__text",
            "def f():\n    from prefect_dask import x",
            2,
            "views imports prefect_dask.x; only prefect may",
        ),
        (
            "prefect__feed",
            "try:\n    import pandas\nexcept E: pass",
            2,
            "prefect imports pandas; only launcher and views",
        ),
        ("launcher", "from IPython import display", 1, "launcher imports IPython.display; only magics and views may"),
        ("model__item", "import numpy", 1, "model imports numpy; it may import the standard library only"),
        ("__init__", "import matplotlib", 1, "the root imports matplotlib"),
        ("helpers__more", "", 1, "is in no layer; give 'helpers' its place"),
    ],
)
def test_a_broken_rule_is_named_with_its_file_and_line(tmp_path, name, text, line, reason):
    found, *more = violations(tree(tmp_path, **{**ALLOWED, name: text}))
    assert all("a circle of imports" in other for other in more)  # an import the wrong way may close one
    path = name if name.startswith("__") else name.replace("__", "/")
    assert found.startswith(f"src/pkg/{path}.py:{line}: {reason}")


def test_a_circle_is_found_across_functions_and_type_checking(tmp_path):
    package = tree(
        tmp_path,
        model__a="def f():\n    from pkg.model import b",
        model__b="if TYPE_CHECKING:\n    from .c import C",
        model__c="import pkg.model.a",
    )
    [found] = violations(package)
    for step in ("a.py:2 imports pkg.model.b", "b.py:2 imports pkg.model.c", "c.py:1 imports pkg.model.a"):
        assert f"src/pkg/model/{step}" in found


def test_the_lazy_root_counts_in_no_circle_that_others_do_not_close(tmp_path):
    package = tree(
        tmp_path, __init__="def __getattr__(name):\n    from pkg import api", api="from pkg import errors", errors=""
    )
    assert violations(package) == []
