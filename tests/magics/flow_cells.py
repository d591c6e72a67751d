"""Cells for `%%flow` that use Prefect in each of the ways that its guides teach, and what comes of them."""

from __future__ import annotations

from typing import Any, NamedTuple


class FlowCell(NamedTuple):
    """A cell, what its flow returns, and the task runs that are to be seen, as task and outcome."""

    code: str
    result: Any
    seen: list[tuple[str, str]]


def _completed(**counts: int) -> list[tuple[str, str]]:
    return sorted((task, "completed") for task, count in counts.items() for _ in range(count))


_LIFT = """
import time
from prefect import flow, task
from prefect.futures import wait

@task
def ride(floor: int):
    print(f"to floor {floor}")
    time.sleep(floor / 100)
    return floor
"""

FLOW_CELLS = {
    "tasks called": FlowCell(f"{_LIFT}\nride(1)\nride(2)\nride(3)", 3, _completed(ride=3)),
    "a flow defined and not called": FlowCell(
        f"{_LIFT}\n@flow\ndef lift():\n    futures = [ride.submit(floor) for floor in (3, 2, 1)]\n    wait(futures)",
        None,
        _completed(ride=3),
    ),
    "another task runner": FlowCell(
        f"""
from prefect.task_runners import ProcessPoolTaskRunner
{_LIFT}
@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def lift():
    wait(ride.map([1, 2]))
""",
        None,
        _completed(ride=2),
    ),
    "the result of a future": FlowCell(
        f"{_LIFT}\n@flow\ndef lift():\n    future = ride.submit(1)\n    return future.result()\n\nlift()",
        1,
        _completed(ride=1),
    ),
    "waiting for a future": FlowCell(
        f"{_LIFT}\n@flow\ndef lift():\n    future = ride.submit(1)\n    future.wait()", None, _completed(ride=1)
    ),
    "a future given to a task that is called": FlowCell(
        f"""
{_LIFT}
@task
def tell(floor: int):
    return f"on floor {{floor}}"

@flow
def lift():
    future = ride.submit(2)
    print(tell(future))
    return tell(future)
""",
        "on floor 2",
        _completed(ride=1, tell=2),
    ),
    "a mapped task": FlowCell(
        f"{_LIFT}\n@flow\ndef lift():\n    floors = ride.map(list(range(3)))\n    wait(floors)\n\nlift()",
        None,
        _completed(ride=3),
    ),
    "arguments that are not mapped": FlowCell(
        """
from prefect import flow, task, unmapped

@task
def scale(x, factor, offsets):
    return x * factor + sum(offsets)

@flow
def scale_all(numbers: list[int], factor: int):
    futures = scale.map(numbers, factor, unmapped([1, 2]))
    return futures.result()

scaled = scale_all([1, 2, 3], 10)
assert scaled == [13, 23, 33]
""",
        None,
        _completed(scale=3),
    ),
    "tasks mapped within a task": FlowCell(
        """
from prefect import flow, task
from prefect.futures import wait

def length(text): return len(text)
def shout(text): return text.upper()

@task
def look_at(texts: list[str]):
    found = {look.__name__: task(look).map(texts) for look in (length, shout)}
    wait([future for futures in found.values() for future in futures])
    return {name: [future.result() for future in futures] for name, futures in found.items()}

@flow
def look_at_all():
    return look_at(texts=["one", "three"])

look_at_all()
""",
        {"length": [3, 5], "shout": ["ONE", "THREE"]},
        _completed(length=2, shout=2, look_at=1),
    ),
    "an order without data": FlowCell(
        """
from prefect import flow, task

order = []

@task
def step(name):
    order.append(name)

@flow
def steps():
    first = step.submit("a")
    second = step.submit("b", wait_for=[first])
    third = step.submit("c", wait_for=[first, second])
    last = step("d", wait_for=[third])
    return order

steps()
""",
        ["a", "b", "c", "d"],
        _completed(step=4),
    ),
    "failures looked at afterwards": FlowCell(
        """
from prefect import flow, task
from prefect.futures import wait

@task
def check(item: int) -> str:
    if item < 0:
        raise ValueError(f"negative: {item}")
    return f"checked {item}"

@flow
def check_all():
    done, not_done = wait(check.map([1, -2, 3]))
    good = [future.result() for future in done if future.state.is_completed()]
    bad = [future.state for future in done if not future.state.is_completed()]
    return sorted(good), len(bad), len(not_done)

check_all()
""",
        (["checked 1", "checked 3"], 1, 0),
        [("check", "completed"), ("check", "completed"), ("check", "failed")],
    ),
    "asyncio": FlowCell(
        """
import asyncio
from prefect import flow, task

@task
async def ride(floor: int):
    await asyncio.sleep(floor / 100)
    return floor

@flow
async def lift():
    return await asyncio.gather(*[ride(floor) for floor in (3, 2, 1)])

if __name__ == "__main__":
    told = asyncio.run(lift())
told
""",
        [3, 2, 1],
        _completed(ride=3),
    ),
    "await in the cell": FlowCell(
        """
import asyncio
from prefect import flow, task

@task
async def ride(floor: int):
    return floor

@flow
async def lift():
    return await asyncio.gather(*[ride(floor) for floor in (3, 2, 1)])

await lift()
""",
        [3, 2, 1],
        _completed(ride=3),
    ),
    "names made from arguments": FlowCell(
        """
from dataclasses import dataclass
from prefect import flow, task
from prefect.futures import PrefectFuture, wait
from prefect.runtime import task_run

@dataclass
class Model:
    name: str

@task(task_run_name="fit {model.name} to {data}")
def fit(data: str, model: Model) -> str:
    return task_run.name

@flow
def fit_all(data: list[str], models: list[Model]):
    futures: list[PrefectFuture[str]] = []
    for one in data:
        futures.extend(fit.map(data=one, model=models))
    return sorted(future.result() for future in wait(futures).done)

fit_all(["orders", "visits"], [Model("tree"), Model("line")])
""",
        ["fit line to orders", "fit line to visits", "fit tree to orders", "fit tree to visits"],
        _completed(fit=4),
    ),
    "groups of tasks, as they end": FlowCell(
        """
from prefect import flow, task
from prefect.futures import as_completed
from prefect.task_runners import ThreadPoolTaskRunner

@task
def load(x): return x

@task
def clean(x): return x + 1

@task
def join(a, b): return a + b

def group(x):
    loaded = load.submit(x)
    cleaned = clean.submit(x)
    return {"loaded": loaded, "final": join.submit(loaded, cleaned, wait_for=[loaded, cleaned])}

@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
def main(items: list[int]):
    groups = [group(item) for item in items]
    streamed = [future.result() for future in as_completed([one["final"] for one in groups])]
    return sorted(streamed)

main([1, 2, 3])
""",
        [3, 5, 7],
        _completed(load=3, clean=3, join=3),
    ),
    "Dask": FlowCell(
        f"""
from prefect_dask.task_runners import DaskTaskRunner
{_LIFT}
@flow(task_runner=DaskTaskRunner(cluster_kwargs={{"n_workers": 1, "dashboard_address": None}}))
def lift():
    floors = [ride.submit(floor) for floor in (2, 1)]
    wait(floors)
""",
        None,
        _completed(ride=2),
    ),
}
