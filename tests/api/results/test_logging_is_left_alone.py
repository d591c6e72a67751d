"""`logging` is the user's: jobs change nothing of it, and no line of Prefect's appears in a cell."""

from __future__ import annotations

import json
import logging

import pytest
from prefect import get_run_logger, task
from tests.support import eventually

CODE = """
import json, logging, pathlib, sys, warnings
{first}
import nbfutures as nbf
file = logging.FileHandler({file!r}, mode="w")
logging.getLogger("mine").addHandler(file)
logging.getLogger("mine").propagate = False
logging.getLogger("mine").warning("before")
{before}

def state():
    root = logging.getLogger()
    return [[type(one).__name__ for one in root.handlers], root.level, root.disabled, logging.root.manager.disable,
            type(logging.lastResort).__name__, logging.getLogger("mine").level, len(logging.getLogger("mine").handlers)]

def tell(x):
    logging.getLogger("of.items").warning("warning %d", x)
    logging.getLogger("of.items").info("info %d", x)
    warnings.warn(f"careful {{x}}", UserWarning)
    return x

known = state()
for runner in {runners!r}:
    for fn in {kinds}:
        job = nbf.options(runner=runner, workers=2).map(fn, range(4))
        job.result(240)
        outputs = [one.output.stderr if one.output else "" for one in job.outcomes()]
        print(json.dumps([runner, known == state(), outputs]))
logging.getLogger("mine").warning("after")
logging.getLogger("of.the.cell").error("an error of the cell")
if not logging.getLogger().handlers:
    logging.basicConfig(level=logging.INFO)
logging.info("an info of the cell")
print(json.dumps(pathlib.Path({file!r}).read_text().split()))
"""

CASES = {
    "nothing": ("", "", ["warning {}", "careful {}"]),
    "basicConfig": (
        "",
        "logging.basicConfig(level=logging.INFO)\nfrom prefect import task",
        ["warning {}", "info {}", "careful {}"],
    ),
    "Prefect after nbfutures": ("", "from prefect import task, flow", ["warning {}", "careful {}"]),
    "Prefect before nbfutures": ("import prefect.main", "", ["warning {}", "careful {}"]),
    "stdout": ("", "logging.basicConfig(level=logging.INFO, stream=sys.stdout)", ["careful {}"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_script_finds_logging_as_it_left_it(start_kernel, tmp_path, case):
    first, before, lines = CASES[case]
    runners, kinds = ["threads"], "(tell,)"
    if case == "basicConfig":
        runners, kinds = ["threads", "processes", "inline"], "(tell, task(tell))"
    file = str(tmp_path / "mine.log")
    kernel = start_kernel(CODE.format(first=first, before=before, file=file, runners=runners, kinds=kinds))
    for runner in runners:
        for _ in range(2 if "task" in kinds else 1):
            told, is_same, outputs = json.loads(kernel.read(240))
            assert told == runner
            assert is_same
            if runner != "processes":
                for x, output in enumerate(outputs):
                    assert [line.format(x) in output for line in lines] == [True] * len(lines), output
    answer = kernel.read()
    while not answer.startswith('["'):
        assert case == "stdout"
        answer = kernel.read()
    assert json.loads(answer) == ["before", "after"]
    status, _ = kernel.end()
    assert status == 0
    lines = [line for line in kernel.stderr.splitlines() if line]
    if case == "stdout":
        assert lines == []
        return
    assert "an error of the cell" in kernel.stderr
    assert len(lines) <= 3, lines
    assert all("of the cell" in line or line.startswith("  ") for line in lines), lines


def look(_):
    root = logging.getLogger()
    return [type(one).__name__ for one in root.handlers], root.level, root.disabled


def test_workers_have_no_handler_of_prefects(remote):
    for fn in (look, task(look)):
        for handlers, _, disabled in remote.map(fn, range(4)).result(120):
            assert "PrefectConsoleHandler" not in handlers
            assert not disabled


@task
def tell_prefect(x):
    get_run_logger().warning("told %s", x)


def test_prefects_own_log_has_its_lines_and_no_output_has(background, capfd):
    job = background.map(tell_prefect, range(3))
    assert job.wait(120)
    # Prefect's workers send their lines every other second.
    eventually(lambda: {f"told {x}" for x in range(3)} <= set(job.logs()["message"]))
    assert all(one.output is None or "told" not in one.output.stderr for one in job.outcomes())
    assert "told" not in "".join(capfd.readouterr())
