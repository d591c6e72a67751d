"""The files that say what is installed agree, and Binder can build from them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*")
BINDER_SCRIPTS = [ROOT / "binder" / "postBuild", ROOT / "binder" / "start"]


def requirements(*extras: str) -> list[Requirement]:
    """Return what the package asks for, with these extras and those that they name."""
    asked = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, EXTRAS[extra]):
            asked += requirements(*sorted(requirement.extras)) if requirement.name == PROJECT["name"] else [requirement]
    return asked


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def pinned() -> dict[str, str]:
    return dict(line.split("==") for line in constraint_lines())


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def environment_pins() -> dict[str, str]:
    [below_pip] = [entry["pip"] for entry in environment()["dependencies"] if isinstance(entry, dict)]
    return dict(line.split("==") for line in below_pip)


def test_constraints_are_sorted_names_with_exact_versions_and_nothing_else():
    assert [line for line in constraint_lines() if not PIN.fullmatch(line)] == []
    names = [line.partition("==")[0] for line in constraint_lines()]
    assert names == sorted(set(names))
    assert PROJECT["name"] not in names


@pytest.mark.parametrize("requirement", requirements(*EXTRAS), ids=str)
def test_a_dependency_is_pinned_within_its_bounds(requirement):
    version = pinned()[canonicalize_name(requirement.name)]
    assert Version(version) in requirement.specifier


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_a_dependency_of_the_package_itself_has_an_upper_bound(requirement):
    assert {bound.operator for bound in requirement.specifier} & {"<", "<=", "==", "~="}


@pytest.mark.parametrize("broken", ["0.151.0", "0.155.0", "0.200.0"])
def test_fastapi_that_breaks_the_prefect_server_is_shut_out(broken):
    [fastapi] = [requirement for requirement in requirements() if requirement.name == "fastapi"]
    assert Version(broken) not in fastapi.specifier


@pytest.mark.parametrize(
    ("name", "version", "fits"),
    [
        ("prefect", "3.8.8", True),
        ("prefect", "3.9.1", True),
        ("prefect", "3.7.9", False),
        ("prefect", "4.0.0", False),
        ("ipykernel", "7.0.1", False),  # raises LookupError when a thread updates a display
        ("ipykernel", "7.4.0", True),
    ],
)
def test_the_bounds_are_those_that_were_tried(name, version, fits):
    [requirement] = [requirement for requirement in requirements() if requirement.name == name]
    assert (Version(version) in requirement.specifier) is fits


def libraries_imported_in(folder: str) -> dict[str, str]:
    """Return the distributions that the files of a folder import, each with a line that imports it."""
    distributions = packages_distributions()
    ours = sys.stdlib_module_names | {PROJECT["name"], "benchmarks", "conftest", "tests"}
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for library in {name.partition(".")[0] for name in names} - ours:
                [distribution, *_] = distributions.get(library, [library])
                found[canonicalize_name(distribution)] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def test_every_library_that_the_package_imports_is_a_dependency_of_its_own():
    """Not only of one of its dependencies, which may drop it; an extra's are for modules whose names begin with it."""
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    imported = libraries_imported_in("src")
    assert imported.keys() >= {"pandas", "prefect"}
    missing = {name: where for name, where in imported.items() if name not in declared}
    of_extras = {
        name
        for name, where in missing.items()
        for extra in ("dask", "ray")
        if re.search(rf"/{extra}(_\w+)?\.py:", where)
        and name in {canonicalize_name(one.name) for one in requirements(extra)}
    }
    assert {name: where for name, where in missing.items() if name not in of_extras} == {}
    assert of_extras >= {"distributed", "prefect-dask", "prefect-ray", "ray"}


@pytest.mark.parametrize("folder", ["tests", "scripts", "binder", "benchmarks"])
def test_every_library_that_is_used_around_the_package_is_installed_with_its_extras(folder):
    assert {name: where for name, where in libraries_imported_in(folder).items() if name not in pinned()} == {}


def test_environment_takes_python_and_pip_from_conda_and_the_rest_from_pip():
    conda = [entry for entry in environment()["dependencies"] if isinstance(entry, str)]
    assert environment()["channels"] == ["conda-forge"]
    [python] = [entry for entry in conda if entry.startswith("python=")]
    assert set(conda) == {python, "pip"}
    assert PROJECT["requires-python"] == f">={python.removeprefix('python=')}"


def test_environment_holds_the_package_with_its_notebooks_tools_at_the_versions_of_the_constraints():
    names = {canonicalize_name(requirement.name) for requirement in requirements("binder")}
    assert environment_pins() == {name: pinned()[name] for name in names}


@pytest.mark.parametrize("name", ["prefect", "ipywidgets", "jupyterlab", "pandas", "matplotlib", "nbval"])
def test_environment_has_what_was_asked_for(name):
    assert name in environment_pins()


def test_binder_has_the_same_environment_byte_for_byte():
    """Binder reads its own folder and nothing of the root's: without that file it installs nothing."""
    assert (ROOT / "binder" / "environment.yml").read_bytes() == (ROOT / "environment.yml").read_bytes()


def binder_dockerfile(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def binder_folder(tmp_path):
    shutil.copytree(ROOT / "binder", tmp_path / "binder")
    return tmp_path


def test_binder_plans_an_image_from_our_environment(binder_folder):
    plan = binder_dockerfile(binder_folder)
    assert plan.returncode == 0
    dockerfile = plan.stdout + plan.stderr
    for step in (
        '--file "binder/environment.yml"',
        "RUN ./binder/postBuild",
        'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"',
    ):
        assert step in dockerfile


def test_binder_refuses_a_broken_environment(binder_folder):
    (binder_folder / "binder" / "environment.yml").write_text("dependencies: [python=3.11\n", encoding="utf-8")
    assert binder_dockerfile(binder_folder).returncode != 0


@pytest.mark.parametrize("script", [*BINDER_SCRIPTS, ROOT / ".ci" / "run"], ids=lambda script: script.name)
def test_a_script_is_executable_bash_without_syntax_errors(script):
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("python", ["exit 0", "exit 1", "sleep 2"])
def test_binder_start_runs_what_it_is_given_whatever_becomes_of_the_server(tmp_path, python):
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/bash\n{python}\n", encoding="utf-8")
    stand_in.chmod(0o755)
    settings = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    command = [str(ROOT / "binder" / "start"), "bash", "-c", 'echo "$1"; exit 7', "-", "two words"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=settings)
    assert (done.stdout, done.stderr, done.returncode) == ("two words\n", "", 7)


def test_binder_prepares_the_database_of_the_local_server(tmp_path):
    from nbfutures.prefect.server.server_state import database_file, state_directory

    command = [sys.executable, str(ROOT / "binder" / "warm_up.py"), "--once"]
    subprocess.run(command, check=True, timeout=170, env={**os.environ, "NBFUTURES_HOME": str(tmp_path)})
    assert database_file(state_directory(tmp_path)).stat().st_size > 100_000
    assert list((state_directory(tmp_path) / "leases").iterdir()) == []


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("nbfutures/")}
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name and ".egg-info" not in name}
    assert "nbfutures/py.typed" in shipped
    assert shipped == files
