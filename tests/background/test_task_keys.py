"""What a cell submits is run by who serves the same cell of an earlier kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prefect import flow, task
from tests.background.conftest import define

import nbfutures as nbf
from nbfutures.prefect.background.task_keys import steady_key

CELL = """
from prefect import task

@task
def double(x):
    return 2 * x
"""


def of_another_kernel(source=CELL, name="double", file="/tmp/ipykernel_1/1.py"):
    namespace = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


@pytest.fixture(scope="module")
def kept(server):
    serving = nbf.serve(define(CELL)["double"], workers=1)
    assert serving.wait(240), serving
    yield serving
    serving.stop()


def test_workers_of_the_same_cell_take_the_items(kept):
    job = nbf.options(background=True).map(of_another_kernel(), range(3))
    assert job.result(120) == [0, 2, 4]


def test_workers_of_the_same_cell_take_what_a_flow_delays(kept):
    double = of_another_kernel()

    @flow
    def fan_out():
        return double.delay(4).result(timeout=120)

    assert nbf.run(fan_out).result(240) == 8


def test_a_key_follows_from_the_code_and_not_from_where_it_stands():
    first = of_another_kernel()
    assert steady_key(first) == steady_key(of_another_kernel(file="/tmp/ipykernel_2/1.py"))
    assert steady_key(first) == steady_key(of_another_kernel("# moved\n" + CELL))
    assert steady_key(first) != steady_key(of_another_kernel(CELL.replace("2 * x", "3 * x")))
    assert steady_key(first) != steady_key(of_another_kernel(CELL.replace("x):", "y, x=1):")))


def test_a_key_is_the_same_in_each_process():
    source = "from prefect import task\n@task\ndef pick(x): return [y in {'a', 'b', 'c'} for y in (x,)]"
    told = "from nbfutures.prefect.background.task_keys import steady_key; print(steady_key(pick))"
    code = f"exec(compile({source!r}, '<cell>', 'exec')); {told}"
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "123"
    }
    assert len(keys) == 1


def test_of_code_in_a_file_the_key_is_prefects_own():
    @task
    def here(x):
        return x

    assert steady_key(here) == here.task_key


DECORATED = """
import functools
from prefect import task

def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        return fn(*args)
    return wrapper

@task
@decorated
def double(x):
    return 2 * x

@task
@decorated
def triple(x):
    return 3 * x
"""


def test_functions_of_one_decorator_have_keys_of_their_own():
    keys = {name: steady_key(of_another_kernel(DECORATED, name)) for name in ("double", "triple")}
    assert keys["double"] != keys["triple"]
    again = of_another_kernel(DECORATED, "double", "/tmp/ipykernel_2/9.py")
    assert steady_key(again) == keys["double"]
