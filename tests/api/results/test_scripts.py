"""Scripts that start jobs at their top level, where nothing says `if __name__ == "__main__":`."""

import subprocess
import sys

import pytest

SCRIPT = """
import os

print("the script runs", flush=True)

from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner

import nbfutures as nbf


class Point:
    def __init__(self, x):
        self.x = x


def double(point):
    return Point(point.x * 2)


async def double_async(point):
    return double(point)


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def pool():
    return [future.result().x for future in task(double).map([Point(1), Point(2)])]


points = [Point(1), Point(2)]
print([point.x for point in nbf.options(runner="threads").map(double, points).result()], flush=True)
submitter = nbf.options(runner="processes", workers=2)
for function in [double, double_async, task(double)]:
    print([point.x for point in submitter.map(function, points).result()], flush=True)
print(submitter.submit(os.getpid).result() != os.getpid(), flush=True)
print(nbf.run(pool).result(), flush=True)
"""


@pytest.mark.timeout(300)
def test_a_script_without_a_main_block_runs_once_with_processes(tmp_path, kernel_environment):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    made = subprocess.run(
        [sys.executable, str(script)],
        env=kernel_environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert made.stdout.splitlines() == ["the script runs", *[str([2, 4])] * 4, "True", str([2, 4])], made.stderr
    assert made.returncode == 0, made.stderr
