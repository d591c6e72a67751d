"""Pin every dependency: write constraints.txt, environment.yml and binder/environment.yml from pyproject.toml.

Run it as `make constraints`, on Linux with the oldest Python that the package supports: what that Python can install,
newer ones can too. pip solves for the base package and all its extras together and installs nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)

CONSTRAINTS_HEAD = """\
# The whole tested set on Python 3.11: the package with all its extras. Written by `make constraints`.
"""

ENVIRONMENT_HEAD = f"""\
# The pins are those of constraints.txt, for the package and its extra `binder`. Written by `make constraints`.
name: nbfutures
channels:
  - conda-forge
dependencies:
  - python={OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}
  - pip
  - pip:
"""


def main() -> None:
    """Solve, then write the three files."""
    if sys.version_info[:2] != OLDEST_PYTHON:
        sys.exit("The pins are made on Python {}.{}, this is {}.{}.".format(*OLDEST_PYTHON, *sys.version_info))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = solve(project["name"], sorted(project["optional-dependencies"]))
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    (ROOT / "constraints.txt").write_text(CONSTRAINTS_HEAD + "".join(lines), encoding="utf-8")
    pins = [f"      - {name}=={versions[name]}\n" for name in sorted(direct_names(project, "binder"))]
    for path in (ROOT / "environment.yml", ROOT / "binder" / "environment.yml"):
        path.write_text(ENVIRONMENT_HEAD + "".join(pins), encoding="utf-8")
    print(f"{len(lines)} packages pinned in constraints.txt, {len(pins)} of them in environment.yml.")


def solve(project_name: str, extras: list[str]) -> dict[str, str]:
    """Return the version that pip picks for each package, by canonical name, without the project itself.

    It picks for the first release of the oldest Python: some packages refuse its early patch releases, which Linux
    distributions ship.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--python-version", "{}.{}.0".format(*OLDEST_PYTHON), "--only-binary=:all:", "--target", folder]
        command += ["--report", str(report), f".[{','.join(extras)}]"]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 - our own words
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    metadata = [entry["metadata"] for entry in found]
    return {
        canonicalize_name(each["name"]): each["version"]
        for each in metadata
        if canonicalize_name(each["name"]) != canonicalize_name(project_name)
    }


def direct_names(project: dict[str, object], extra: str) -> set[str]:
    """Return the canonical names that the package and one of its extras ask for themselves.

    An extra that names the package with another extra (`nbfutures[lab]`) stands for what that one asks for.
    """
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    asked = [*project["dependencies"], *extras[extra]]  # type: ignore[misc]
    names: set[str] = set()
    for requirement in map(Requirement, asked):
        if canonicalize_name(requirement.name) == project["name"]:
            for other in requirement.extras:
                names |= direct_names(project, other)
        else:
            names.add(canonicalize_name(requirement.name))
    return names


if __name__ == "__main__":
    main()
