"""What an import costs, and that every public name is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nbfutures

SOURCE = Path(nbfutures.__file__).parent
HEAVY = {"IPython", "anywidget", "ipywidgets", "matplotlib", "pandas", "prefect"}
LIGHT_MODULES = [
    "nbfutures",
    "nbfutures.errors",
    "nbfutures.model",
    *(f"nbfutures.model.{path.stem}" for path in sorted((SOURCE / "model").glob("*.py")) if path.stem != "__init__"),
]


def modules_loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter and return the names of all modules that are loaded then."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_the_import_loads_nothing_heavy(module):
    loaded = modules_loaded_by(f"import {module}")
    assert module in loaded
    assert loaded & HEAVY == set()


def test_a_heavy_import_would_be_seen():
    assert "pandas" in modules_loaded_by("import nbfutures, pandas")


def test_listing_the_public_names_loads_nothing_heavy():
    assert modules_loaded_by("import nbfutures\nassert dir(nbfutures)") & HEAVY == set()


def test_public_names_are_sorted_and_not_repeated():
    assert list(nbfutures.__all__) == sorted(set(nbfutures.__all__))


@pytest.mark.parametrize("name", getattr(nbfutures, "__all__", ["__all__"]))
def test_a_public_name_resolves_and_is_listed(name):
    assert getattr(nbfutures, name) is not None
    assert name in dir(nbfutures)


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="no_such_name"):
        nbfutures.no_such_name


def test_a_star_import_gives_the_public_names():
    namespace: dict[str, object] = {}
    exec("from nbfutures import *", namespace)
    assert set(nbfutures.__all__) <= namespace.keys()
