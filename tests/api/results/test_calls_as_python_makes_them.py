"""Whatever Python calls with some arguments, a job calls with them: `*args`, decorators, pairs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import pickle
from pathlib import Path

import pandas as pd
import pytest
import wrapt
from prefect import task, unmapped

import nbfutures as nbf
from nbfutures.errors import MapArgumentsError

WIDTHS, HEIGHTS = [1, 2, 3], [4, 5, 6]


def area(width, height):
    return width * height


def gathered(*parts, sep="-"):
    return sep.join(map(str, parts))


@functools.lru_cache
def gathered_once(*parts):
    return parts


def first_and_rest(first, *rest, **options):
    return first, rest, options


class Joiner:
    def __init__(self, sep):
        self.sep = sep

    def __call__(self, *parts):
        return self.sep.join(map(str, parts))


def plain_decorator(fn):
    """One without `functools.wraps`."""

    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


def supplying(session):
    """A decorator with `functools.wraps` that supplies the first argument."""

    def decorate(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(session, *args, **kwargs)

        return wrapper

    return decorate


def supplying_url_only(fn):
    @functools.wraps(fn)
    def wrapper(url):
        return fn("session", url)

    return wrapper


def supplying_by_name(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, session="session", **kwargs)

    return wrapper


def supplying_async(fn):
    @functools.wraps(fn)
    async def wrapper(*args, **kwargs):
        return await fn("session", *args, **kwargs)

    return wrapper


@wrapt.decorator
def supplying_with_wrapt(wrapped, instance, args, kwargs):
    return wrapped("session", *args, **kwargs)


def fetch(session, url, *, verify=True):
    return session, url, verify


async def fetch_async(session, url, *, verify=True):
    return session, url, verify


class Client:
    @supplying("session")
    def get(self, session, url):  # the decorator puts the session before self
        return self, session, url

    @staticmethod
    @supplying("session")
    def head(session, url):
        return session, url


VARIADIC = {
    "print": (print, [["a", "b", "c"]]),
    "Path": (Path, [["a", "b", "c"]]),
    "Path of two": (Path, [["a", "b", "c"], ["x", "y", "z"]]),
    "*args": (gathered, [["a", "b", "c"], [1, 2, 3]]),
    "lambda": (lambda *args: args, [[1, 2, 3]]),
    "first and rest": (first_and_rest, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    "callable object": (Joiner("/"), [["a", "b", "c"], ["x", "y", "z"]]),
    "method": (Joiner("/").__call__, [["a", "b", "c"], ["x", "y", "z"]]),
    "decorator without wraps": (plain_decorator(area), [WIDTHS, HEIGHTS]),
    "partial": (functools.partial(gathered, "start"), [["a", "b", "c"]]),
    "cache": (gathered_once, [["a", "b", "c"]]),
    "no signature": (max, [[1, 5, 2], [3, 4, 9]]),
    "class without a signature": (dict, [[[("a", 1)], [("b", 2)], []]]),
    "zip": (lambda *args: list(zip(*args, strict=True)), [["ab", "cd", "ef"], ["xy", "zw", "uv"]]),
}


def test_a_variadic_function_is_called_once_for_each_element():
    running = {name: nbf.map(fn, *columns) for name, (fn, columns) in VARIADIC.items()}
    for name, job in running.items():
        fn, columns = VARIADIC[name]
        with contextlib.redirect_stdout(None):
            assert job.result(120) == list(map(fn, *columns)), name


def test_a_variadic_function_is_called_once_for_each_element_in_other_processes(remote):
    names = ["Path of two", "first and rest", "callable object", "decorator without wraps"]
    running = {name: remote.map(VARIADIC[name][0], *VARIADIC[name][1]) for name in names}
    for name, job in running.items():
        fn, columns = VARIADIC[name]
        assert job.result(120) == list(map(fn, *columns)), name


def test_a_variadic_function_gets_what_is_given_to_every_call_and_keywords(runner):
    job = runner.map(first_and_rest, [1, 2], unmapped([0, 0]), "text", key=["a", "b"], other=None)
    assert job.result(120) == [
        (1, ([0, 0], "text"), {"key": "a", "other": None}),
        (2, ([0, 0], "text"), {"key": "b", "other": None}),
    ]


def test_each_argument_of_a_variadic_function_has_a_column_of_its_own():
    job = nbf.map(gathered, ["a", "b"], [1, 2])
    assert job.result(120) == ["a-1", "b-2"]
    assert job.frame()["input"].tolist() == ["parts[0]='a', parts[1]=1", "parts[0]='b', parts[1]=2"]
    with pytest.raises(MapArgumentsError, match=r"parts\[0\] has 2, parts\[1\] has 3.*unmapped\(parts\[0\]\)"):
        nbf.map(gathered, ["a", "b"], [1, 2, 3])


def test_a_variadic_function_is_submitted_retried_and_reproduced_as_it_was_called():
    assert nbf.submit(gathered, "a", "b", sep="+").result(120) == "a+b"
    job = nbf.map(plain_decorator(area), WIDTHS, [0, None, 1])
    assert job.wait(120)
    with pytest.raises(TypeError, match="NoneType"):
        job.failure(1).reproduce()
    assert job.retry(lambda *values: values).result(120) == [0, (2, None), 3]


def test_a_variadic_prefect_task_is_mapped_as_prefect_does():
    assert nbf.map(task(gathered), ["a", "b"]).result(120) == ["a-b"]


DECORATED = {
    "url only": supplying_url_only(fetch),
    "anything": supplying("session")(fetch),
    "by name": supplying_by_name(lambda url, session: (session, url, True)),
    "twice": functools.wraps(fetch)(supplying("session")(supplying("ignored")(lambda a, b, url: (b, url, True)))),
    "partial": functools.partial(fetch, "session"),
    "wrapt": supplying_with_wrapt(fetch),
    "partial of decorated": functools.partial(supplying("session")(fetch), verify=True),
    "cached": functools.lru_cache(supplying("session")(fetch)),
    "cached inside": supplying("session")(functools.lru_cache(fetch)),
    "async": supplying_async(fetch_async),
    "static method": lambda url: (*Client.head(url), True),
}


@pytest.mark.parametrize("name", DECORATED)
def test_a_decorator_that_supplies_an_argument_leaves_the_others_to_the_caller(name):
    fn = DECORATED[name]
    expected = [("session", "a", True), ("session", "b", True)]
    assert nbf.map(fn, ["a", "b"]).result(120) == expected
    assert nbf.submit(fn, "a").result(120) == expected[0]


def test_a_decorator_that_supplies_an_argument_works_wherever_items_run(runner):
    running = [runner.map(DECORATED[name], ["a", "b"]) for name in ("url only", "anything", "async")]
    assert [job.result(120) for job in running] == [[("session", "a", True), ("session", "b", True)]] * 3


@pytest.mark.parametrize("name", ["url only", "anything", "async", "twice"])
def test_a_prefect_task_of_a_decorated_function_is_called_as_the_function_is(name):
    decorated = task(DECORATED[name])
    assert nbf.map(decorated, ["a", "b"]).result(120) == [("session", "a", True), ("session", "b", True)]
    assert nbf.submit(decorated, "a").result(120) == ("session", "a", True)


def test_a_decorator_keeps_the_names_of_the_parameters_for_the_tables():
    def timed(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs)

        return wrapper

    job = nbf.map(timed(area), WIDTHS, HEIGHTS)
    assert job.result(120) == [4, 10, 18]
    assert job.frame()["input"][0] == "width=1, height=4"
    job = nbf.map(timed(area), WIDTHS, height=HEIGHTS)
    assert job.result(120) == [4, 10, 18]
    assert job.frame()["input"][0] == "width=1, height=4"


def test_a_wrong_call_of_a_decorated_function_is_the_items_error():
    job = nbf.map(supplying("session")(fetch), ["a", "b"], ["c", "d"])
    assert job.wait(120)
    assert job.failed["error"].tolist() == ["TypeError"] * 2
    assert "positional argument" in job.failed["message"][0]


def test_a_wrong_call_that_can_be_known_before_is_refused_with_what_is_called(jobs):
    with pytest.raises(MapArgumentsError, match=r"fetch\(url\) cannot be called like that: too many"):
        nbf.map(supplying_url_only(fetch), ["a"], ["b"])
    assert jobs == []


def test_the_failed_items_of_a_decorated_function_are_retried_with_another():
    job = nbf.map(supplying("session")(fetch), ["a", "b"], verify=[True, False], timeout=[1, 2])
    assert job.wait(120)
    assert len(job.failed) == 2

    def mended(url, verify, timeout):
        return url, verify, timeout

    assert job.retry(mended).result(120) == [("a", True, 1), ("b", False, 2)]
    with pytest.raises(MapArgumentsError, match=r"area\(width, height\) does not take this job's arguments"):
        job.retry(area)


def test_a_bound_method_that_is_decorated_is_called():
    client = Client()
    job = nbf.map(lambda url: Client.get(client, url)[1:], ["a"])
    assert job.result(120) == [(client, "a")]


# --- pairs ----------------------------------------------------------------------------------------------------------

PAIRS = {
    "zip": lambda: zip(WIDTHS, HEIGHTS, strict=True),
    "dict.items()": lambda: dict(zip(WIDTHS, HEIGHTS, strict=True)).items(),
    "itertuples": lambda: pd.DataFrame({"width": WIDTHS, "height": HEIGHTS}).itertuples(index=False),
    "list": lambda: list(zip(WIDTHS, HEIGHTS, strict=True)),
    "lists": lambda: [[1, 4], [2, 5], [3, 6]],
    "generator": lambda: ((width, height) for width, height in zip(WIDTHS, HEIGHTS, strict=True)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_for_a_function_of_two_parameters_are_told_what_to_write_and_that_works(name, jobs):
    with pytest.raises(MapArgumentsError, match=r"missing.*nbf\.starmap\(area, \.\.\.\).*nbf\.map\(area, widths, h"):
        nbf.map(area, PAIRS[name]())
    with pytest.raises(MapArgumentsError, match=r"nbf\.starmap\(area"):
        nbf.map(task(area), PAIRS[name]())
    assert jobs == []
    job = nbf.starmap(area, PAIRS[name]())
    assert job.result(120) == list(itertools.starmap(area, PAIRS[name]()))
    assert job.name == "area"
    assert job.frame()["input"].tolist() == ["width=1, height=4", "width=2, height=5", "width=3, height=6"]


def test_a_pair_that_is_submitted_to_a_function_of_two_parameters_is_told_what_to_write():
    with pytest.raises(MapArgumentsError, match=r"nbf\.submit\(area, \*arguments\)"):
        nbf.submit(area, (1, 2))


def test_starmap_is_that_of_itertools(runner):
    rows = [(2, 5), (3, 2), (10, 3, 7)]
    running = [runner.starmap(pow, rows), runner.starmap(gathered, [(), (1,), "ab"], sep=unmapped("/"))]
    assert running[0].result(120) == list(itertools.starmap(pow, rows))
    assert running[1].result(120) == ["", "1", "a/b"]


def test_starmap_takes_each_kind_of_function(kind):
    job = nbf.starmap(kind(first_and_rest), [(1, 2), (3, 4)], key=["a", "b"], other="all")
    expected = [(1, (2,), {"key": "a", "other": "all"}), (3, (4,), {"key": "b", "other": "all"})]
    assert job.result(120) == expected
    assert nbf.starmap(kind(area), []).result(120) == []


@pytest.mark.kinds("task", "async task")
def test_starmap_of_a_task_leaves_its_defaults(kind):
    def scaled(x, factor=10):
        return x * factor

    assert nbf.starmap(kind(scaled), [(1,), (2, 3)]).result(120) == [10, 6]


def test_a_row_that_does_not_fit_is_the_error_of_its_item():
    job = nbf.starmap(area, [(1, 2), (3,), (4, 5)])
    assert job.wait(120)
    assert job.values() == [2, None, 20]
    assert job.failed["error"].tolist() == ["TypeError"]
    assert job.retry(lambda *row: row).result(120) == [2, (3,), 20]


def test_rows_come_from_another_job_as_soon_as_they_are_there():
    pairs = nbf.map(lambda x: (x, x + 1), [1, 2, 3])
    assert nbf.starmap(area, pairs).result(120) == [2, 6, 12]
    whole = nbf.submit(lambda: [(1, 2), (3, 4)])
    assert nbf.starmap(area, whole).result(120) == [2, 12]
    with pytest.raises(MapArgumentsError, match=r"nbf\.starmap\(area, job\.result\(\)\)"):
        nbf.starmap(task(area), pairs)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([1, 2], r"element 0 is 1, no tuple\. For one argument for each call: nbf\.map\(area, rows\)"),
        ([(1, 2), {"width": 1}], r"element 1 is <dict>, no tuple"),
        ({"a": 1}, r"got dict\. Write nbf\.starmap\(area, rows\.items\(\)\)"),
        (pd.DataFrame({"a": [1]}), r"got DataFrame\. Write nbf\.starmap\(area, rows\.itertuples\(index=False\)\)"),
        ("text", "got str"),
        (7, "got int"),
        ([(1,), (2,)], r"area\(width, height\) cannot be called like that: missing"),
    ],
    ids=["numbers", "dicts", "a dict", "a table", "a text", "a number", "too short"],
)
@pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])
def test_rows_that_are_none_are_refused(make, rows, told, jobs):
    with pytest.raises(MapArgumentsError, match=told):
        nbf.starmap(make(area), rows)
    assert jobs == []


def test_starmap_takes_options():
    assert nbf.options(workers=1, name="areas").starmap(area, [(1, 2)]).name == "areas"
    with pytest.raises(MapArgumentsError, match="With deployment="):
        nbf.options(deployment="a/b").starmap(area, [(1, 2)])
    job = nbf.options(dry_run=True).starmap(area, [(x, x) for x in range(100)])
    assert job.wait(120)
    assert job.values() == [0, 49 * 49, 99 * 99]
    assert pickle.loads(pickle.dumps(nbf.starmap))


# --- in the background ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(server):
    """A worker process that serves two functions, both of the same decorator, and a variadic one."""
    functions = {"fetch": supplying("session")(fetch), "scale": supplying(10)(scale), "gathered": gathered}
    serving = nbf.serve(*functions.values(), workers=1)
    assert serving.wait(120), serving
    yield functions
    serving.stop()


def scale(factor, x, *more):
    return factor * x, more


def test_background_tasks_of_functions_are_called_as_the_functions_are(served):
    run = nbf.options(background=True)
    running = [
        run.map(served["fetch"], ["a", "b"], verify=[True, False]),
        run.map(served["scale"], [1, 2], [3, 4]),
        run.map(served["gathered"], ["a", "b"], [1, 2], sep="+"),
        run.starmap(served["gathered"], [("a", "b"), ("c",)]),
    ]
    assert [job.result(120) for job in running] == [
        [("session", "a", True), ("session", "b", False)],
        [(10, (3,)), (20, (4,))],
        ["a+1", "b+2"],
        ["a-b", "c"],
    ]
