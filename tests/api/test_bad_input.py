"""What users do wrong, and what items do wrong: told clearly, nothing lost, nothing hangs."""

from __future__ import annotations

import threading

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from tests.claims.proxy import Proxy

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, MapArgumentsError, NbfuturesError
from nbfutures.prefect.server import server_state


def test_an_unknown_runner_is_refused():
    with pytest.raises(InvalidOptionError, match=r"There is no runner 'process'.*Use one of: threads"):
        nbf.options(runner="process").map(abs, [1])


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(InvalidOptionError, match="workers must be a whole number of at least 1, got -1"):
        nbf.options(workers=-1).map(abs, [1])


def test_what_cannot_be_called_is_refused(jobs):
    with pytest.raises(MapArgumentsError, match=r"got list\. Write map\(fn, items\), not map\(fn\(items\)\)"):
        nbf.map([1, 2], [3])
    assert jobs == []


def test_a_call_that_does_not_fit_is_refused_with_the_signature(jobs):
    def area(width, height):
        return width * height

    with pytest.raises(MapArgumentsError, match=r"area\(width, height\) cannot be called like that: missing"):
        nbf.map(area, [1, 2])
    with pytest.raises(MapArgumentsError, match=r"area\(width, height\)"):
        nbf.submit(task(area), 1, 2, 3)
    assert jobs == []


def test_a_sized_iterable_that_raises_half_way_is_refused_with_what_came_before(jobs):
    class Pages:
        def __len__(self):
            return 3

        def __iter__(self):
            yield 1
            yield 2
            raise ConnectionError("no more pages")

    with pytest.raises(MapArgumentsError, match="no more pages after 2 items; nothing was submitted") as told:
        nbf.map(abs, Pages())
    assert told.value.items == [1, 2]
    assert jobs == []


class Shy:
    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Locked(Exception):
    """Cannot be pickled or copied."""

    def __init__(self, a, b):
        super().__init__("locked")
        self.lock = threading.Lock()


class Odd:
    __hash__ = None

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    def __reduce__(self):
        raise RuntimeError("no pickle")


INPUTS = [Shy(), Shy(), "unprintable", "locked", "odd", "generator"]
GOOD_SHY, BAD_SHY, UNPRINTABLE, LOCKED, ODD, GENERATOR = range(len(INPUTS))


def behave_oddly(x):
    if x is INPUTS[BAD_SHY]:
        raise ValueError("bad")
    if x == "unprintable":
        raise Unprintable
    if x == "locked":
        raise Locked(1, 2)
    return {"odd": Odd(), "generator": (y for y in range(3))}[x] if isinstance(x, str) else x


@pytest.fixture(scope="module", params=[behave_oddly, task(behave_oddly)], ids=["function", "task"])
def odd(request, server):
    """A job with a bit of everything."""
    job = nbf.map(request.param, INPUTS)
    assert job.wait(120)
    return job


def test_an_item_without_a_repr_is_shown_all_the_same(odd):
    table = odd.frame()
    assert "Shy" in table.loc[GOOD_SHY, "input"]
    assert table.loc[GOOD_SHY, "value"] is INPUTS[GOOD_SHY]
    examples = odd.errors().set_index("error")["example"]
    assert "Shy" in examples["ValueError"]
    assert "3 of 6 failed" in repr(odd)
    assert "Shy" in repr(odd.failure(BAD_SHY))
    assert "completed" in repr(odd[GOOD_SHY])


def test_an_error_without_a_text_is_shown_all_the_same(odd):
    assert isinstance(odd[UNPRINTABLE].exception(), Unprintable)
    assert odd[UNPRINTABLE].state.is_failed()
    assert odd.frame().loc[UNPRINTABLE, "error"] == "Unprintable"
    assert "Unprintable" in odd.errors()["error"].tolist()
    assert "Unprintable" in repr(odd)
    assert "Unprintable" in repr(odd.failure(UNPRINTABLE))
    with pytest.raises(Unprintable):
        odd[UNPRINTABLE].result()


def test_an_error_that_cannot_be_pickled_arrives_as_it_is(odd):
    with pytest.raises(Locked) as told:
        odd[LOCKED].result()
    assert told.value.lock is not None


def test_a_value_that_cannot_be_pickled_or_compared_arrives_as_it_is(odd):
    assert type(odd[ODD].result()) is Odd
    assert type(odd.frame().loc[ODD, "value"]) is Odd


def test_a_generator_is_a_value(odd):
    assert list(odd[GENERATOR].result()) == [0, 1, 2]


def test_an_item_that_tries_to_end_everything_has_failed_and_the_others_go_on(kind):
    def work(x):
        if isinstance(x, type):
            raise x("enough")
        return x

    job = nbf.options(workers=1).map(kind(work), [0, KeyboardInterrupt, 2, SystemExit, GeneratorExit, 5])
    assert job.wait(120)
    assert job.values() == [0, None, 2, None, None, 5]
    assert job.failed["error"].tolist() == ["KeyboardInterrupt", "SystemExit", "GeneratorExit"]
    assert [type(job[index].exception()) for index in (1, 3, 4)] == [KeyboardInterrupt, SystemExit, GeneratorExit]
    assert all(job[index].state.is_failed() for index in (1, 3, 4))


def test_an_item_that_did_not_fail_has_no_failure():
    job = nbf.map(lambda x: 1 / x, [1, 0])
    assert job.wait(120)
    with pytest.raises(NbfuturesError, match=r"Item 0 did not fail: it completed\. Failed: 1\."):
        job.failure(0)
    with pytest.raises(IndexError):
        job.failure(2)


def test_very_many_items_are_submitted_and_cancelled_at_once(gate):
    job = nbf.options(workers=1).map(gate, range(200_000))
    gate.wait_for(1)
    job.cancel()
    gate.open()
    assert job.wait(120)
    assert job.counts.cancelled == 199_999


UNREACHABLE = """
import sys
import nbfutures as nbf

def square(x):
    return x * x

job, flow = nbf.map(square, range(20)), nbf.run(lambda: 5)
for one in (job, flow):
    try:
        one.result(120)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
counts = job.counts
print(job.is_done, counts.cancelled, counts.total, len(job.frame()), flush=True)
try:
    job[3].result(120)
except Exception as error:
    print(type(error).__name__, error, flush=True)
print(repr(job).splitlines()[0], flush=True)
sys.stdin.readline()
print(job.retry().result(120) == [x * x for x in range(20)], flush=True)
"""


def test_an_api_url_that_nobody_answers_is_told_and_the_job_can_be_retried_when_it_does(server, start_kernel):
    port = server_state.free_port()
    url = f"http://127.0.0.1:{port}/api"
    kernel = start_kernel(UNREACHABLE, PREFECT_API_URL=url, PREFECT_API_AUTH_STRING=server.lease.address.auth)
    for _ in ("map", "run"):
        told = kernel.read()
        assert told.startswith(f"ServerUnreachableError The Prefect server at PREFECT_API_URL={url} does not answer")
        assert "correct the URL" in told
    assert kernel.read() == "True 20 20 20"
    assert kernel.read().startswith("JobCrashedError The job could not go on")
    assert kernel.read().startswith("square: crashed, 20 items")
    with Proxy(server.api_url, port):
        kernel.say()
        assert kernel.read() == "True"
        assert kernel.end() == (0, [])
    assert kernel.stderr == ""


def test_an_index_that_is_none_says_which_there_are(odd):
    for ask in (odd.__getitem__, odd.failure):
        with pytest.raises(IndexError, match=r"no item 6: its items are 0 to 5"):
            ask(6)


def test_a_name_that_no_database_takes_is_shown_and_the_job_ends(kind):
    job = nbf.options(name="a\x00b\ud800c").map(kind(lambda x: -x), [-1])
    assert job.result(120) == [1]
    job._run.thread.join(120)
    assert not job._run.thread.is_alive()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(job._run.flow_run_id)
    assert (run.name, run.state.is_completed()) == ("a b c", True)
