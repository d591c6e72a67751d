"""A task with a cache policy that cannot be kept to: the job says that caching is off, and for which argument."""

from __future__ import annotations

import threading

import pytest
from prefect import flow, task
from prefect.cache_policies import DEFAULT, INPUTS, TASK_SOURCE

import nbfutures as nbf


class Client:
    """Holds what cannot be pickled here, and comes whole all the same: it makes a new one."""

    def __init__(self):
        self.lock = threading.Lock()

    def __reduce_ex__(self, protocol):
        import inspect

        # Prefect makes its keys so; what goes to a worker has to arrive.
        if any(frame.function == "hash_objects" for frame in inspect.stack(0)):
            raise TypeError("cannot pickle 'lock' object")
        return Client, ()


def use(client, x):
    return x


def raise_key(context, parameters):
    raise KeyError("no such parameter")


TOLD = "the argument 'client' (Client) cannot be part of the cache key. Leave it out: cache_policy=INPUTS - 'client'"
POLICIES = {
    "inputs": ({"cache_policy": INPUTS}, TOLD),
    "compound": ({"cache_policy": TASK_SOURCE + INPUTS}, TOLD),
    "default": ({"cache_policy": DEFAULT, "persist_result": True}, TOLD),
    "function": ({"cache_key_fn": raise_key}, "cache_key_fn raised KeyError"),
    "left out": ({"cache_policy": INPUTS - "client"}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_says_once_that_caching_is_off_and_for_which_argument(server, policy):
    settings, told = POLICIES[policy]
    used = task(**settings)(use)
    job = nbf.options(workers=2).map(used, nbf.unmapped(Client()), range(4))
    assert job.result(120) == [0, 1, 2, 3]
    shown = " ".join(repr(job).split())
    assert shown.count("not cached: ") == (told is not None)
    assert told is None or told in shown


def test_it_is_said_by_every_runner_and_by_flows(runner):
    used = task(cache_policy=INPUTS)(use)
    job = runner.submit(used, Client(), 5)
    assert job.result(240) == 5
    assert "the argument 'client'" in repr(job)


def test_it_is_said_of_the_tasks_of_a_flow(server):
    used = task(cache_policy=INPUTS)(use)

    @flow
    def uses():
        return [used.submit(Client(), 1), used(Client(), 2)]

    job = nbf.run(uses)
    assert job.result(120) == [1, 2]
    assert "the argument 'client'" in repr(job)


def test_what_is_cached_still_is(server, tmp_path):
    counted = []

    @task(cache_policy=INPUTS)
    def count(x):
        counted.append(x)
        return x

    names = [f"cached {tmp_path} {number}" for number in range(2)]
    for _ in range(2):
        job = nbf.map(count, names)
        assert job.result(120) == names
        assert "not cached" not in repr(job)
    assert sorted(counted) == names
