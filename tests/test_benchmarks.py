"""The benchmarks run, and tell a figure for everything that they measure; how good it is, is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TITLES = ["No-op items", "1 ms", "one item in a task run", "first item", "%load_ext", "until nbf.map returns", "memory"]


def benchmarks(*arguments, environment=None):
    """Run `python -m benchmarks` to its end."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, kernel_environment):
    """What a run of next to nothing prints, and writes as JSON; it finds the server of all tests."""
    pytest.importorskip("joblib", reason="the benchmarks compare with it: pip install nbfutures[bench]")
    pytest.importorskip("tqdm", reason="the benchmarks compare with it: pip install nbfutures[bench]")
    file = tmp_path_factory.mktemp("benchmarks") / "result.json"
    home = kernel_environment["NBFUTURES_HOME"]
    done = benchmarks("throughput", "--smoke", "--home", home, "--json", str(file), environment=kernel_environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("title", TITLES)
def test_each_table_is_printed_and_written(smoke, title):
    printed, written = smoke
    assert title.lower() in printed.lower()
    assert any(title.lower() in section["title"].lower() for section in written["sections"])


def test_every_contender_has_a_row_and_positive_figures(smoke):
    printed, written = smoke
    contenders = [contender for section in written["sections"] for contender in section["contenders"]]
    assert len(contenders) >= 20
    for contender in contenders:
        assert contender["label"] in printed
        assert contender["rounds"]
        # An item of a few may cost no memory that can be seen.
        if contender["workload"] not in {"resident", "traced"}:
            assert all(figure["low"] > 0 for figure in contender["figures"].values()), contender


def test_every_target_is_printed_as_met_or_not(smoke):
    printed, written = smoke
    targets = [target for section in written["sections"] for target in section["targets"]]
    assert len(targets) >= 10
    assert printed.count("  met ") + printed.count("  NOT met ") == len(targets)


def test_the_cost_of_the_card_is_told(kernel_environment, tmp_path):
    file = tmp_path / "result.json"
    home = kernel_environment["NBFUTURES_HOME"]
    done = benchmarks("display", "--smoke", "--home", home, "--json", str(file), environment=kernel_environment)
    assert done.returncode == 0, done.stderr
    sections = json.loads(file.read_text(encoding="utf-8"))["sections"]
    assert [section["title"] for section in sections] == ["The live card in a kernel", "The same with all folds open"]
    for section in sections:
        for contender in section["contenders"]:
            assert contender["figures"]["largest update"]["low"] > 100
            assert contender["figures"]["CPU"]["low"] > 0


def test_a_contender_in_a_fresh_process_prints_its_figures_as_json():
    done = benchmarks("contender", "thread_pool", "noop", "10")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seconds"] > 0


def test_an_unknown_subcommand_is_a_usage_error():
    done = benchmarks("nonsense")
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
