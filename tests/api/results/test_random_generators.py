"""Random numbers of items: a generator that starts over is told, and those of the modules do not repeat."""

import random

import numpy as np
import pytest
from prefect import task, unmapped
from tests.support import eventually

import nbfutures as nbf

CELL = """
import functools, random
import numpy as np
from random import random as draw_one
from numpy.random import random_sample
rng, old, plain, system = np.random.default_rng(0), np.random.RandomState(0), random.Random(0), random.SystemRandom()
bound = rng.normal
class Model:
    def __init__(self):
        self.noise = np.random.default_rng(1)
    def draw(self, x):
        return self.noise.random()
model = Model()
def uses_rng(x): return rng.random()
def uses_old(x): return old.rand()
def uses_plain(x): return plain.random()
def uses_bound(x): return bound()
def uses_model(x): return model.draw(x)
def calls_other(x): return uses_rng(x)
def with_default(x, gen=rng): return gen.random()
def closure():
    inner = np.random.default_rng(2)
    def captures(x): return inner.random()
    return captures
captures = closure()
def takes(x, gen): return gen.random()
def takes_one(gen): return gen.random()
async def uses_rng_async(x): return rng.random()
def own(x): return np.random.default_rng([0, x]).random()
def of_system(x): return system.random()
def of_modules(x): return draw_one(), random.random(), float(random_sample()), float(np.random.rand())
"""


@pytest.fixture(scope="module")
def cell():
    namespace = {"__name__": "__main__"}
    exec(CELL, namespace)
    return namespace


def note_of(job):
    assert job.wait(120)
    eventually(lambda: job.snapshot.note or not job._run.thread.is_alive())
    return job.snapshot.note


def test_a_generator_that_starts_over_is_named_with_what_to_write(cell):
    processes = nbf.options(runner="processes", workers=1)
    cases = [
        ("uses_rng", "The variable 'rng' that uses_rng uses"),
        ("uses_old", "The variable 'old' that uses_old uses"),
        ("uses_plain", "The variable 'plain' that uses_plain uses"),
        ("uses_bound", "The variable 'bound' that uses_bound uses"),
        ("uses_model", "The attribute 'noise' of the variable 'model' that uses_model uses"),
        ("calls_other", "The variable 'rng' that uses_rng uses"),
        ("with_default", "The default of 'gen' of with_default"),
        ("captures", "The variable 'inner' that captures uses"),
        ("uses_rng_async", "The variable 'rng' that uses_rng_async uses"),
    ]
    jobs = [(processes.map(cell[name], [1, 2]), words) for name, words in cases]
    jobs.append((processes.map(task(cell["uses_rng"]), [1]), "The variable 'rng' that uses_rng uses"))
    jobs.append((processes.map(cell["model"].draw, [1]), "The attribute 'noise' of 'self' (a Model) of Model.draw"))
    jobs.append((processes.map(cell["takes"], [1, 2], unmapped(cell["rng"])), "The argument 'gen' of takes"))
    jobs.append((processes.map(cell["takes_one"], [cell["rng"]] * 2), "The argument 'gen' of takes_one"))
    for job, words in jobs:
        note = note_of(job)
        assert note.startswith(f"{words} holds a random generator that starts over"), (words, note)
        assert "numpy.random.default_rng([seed, item])" in note


def test_generators_that_do_not_repeat_are_no_matter(cell):
    processes = nbf.options(runner="processes", workers=1)
    each = np.random.default_rng(0).spawn(3)
    for job in (
        processes.map(cell["own"], [1, 2]),
        processes.map(cell["of_system"], [1, 2]),
        processes.map(cell["of_modules"], [1, 2]),
        processes.map(cell["takes_one"], each),
        nbf.options(runner="threads").map(cell["uses_rng"], [1, 2]),
    ):
        assert note_of(job) == ""
        assert len(set(job.result())) == len(job)


def test_the_note_is_there_on_clusters_too(remote, cell):
    assert note_of(remote.map(cell["uses_rng"], [1, 2])).startswith("The variable 'rng'")


def test_the_generators_of_modules_draw_other_numbers_in_each_item_and_job(remote, cell):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what people do
    drawn = [remote.map(fn, range(24)).result(120) for fn in (cell["of_modules"], cell["of_modules"])]
    drawn.append(remote.map(task(cell["of_modules"]), range(4)).result(120))
    numbers = [number for job in drawn for item in job for number in item]
    assert len(set(numbers)) == len(numbers)
    # Nor does drawing elsewhere change what the kernel draws; of `random`, Prefect draws too.
    assert np.random.rand() == np.random.RandomState(0).rand()  # noqa: NPY002 - as above
