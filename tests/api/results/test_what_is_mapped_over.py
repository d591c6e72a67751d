"""What `map` maps over and what it gives to every call as one thing: the table in the README, row by row."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import io
import os
import pathlib
import tempfile
import threading
import time
import types
import urllib.response
import warnings
from email.message import Message
from typing import NamedTuple
from unittest import mock

import attrs
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from prefect import State, task, unmapped

import nbfutures as nbf
from nbfutures.errors import MapArgumentsError
from nbfutures.views.clean import short_repr


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


class Model(pydantic.BaseModel):
    a: int = 1
    b: int = 2


class Numbers(pydantic.RootModel[list[int]]):
    def __iter__(self):
        return iter(self.root)

    def __len__(self):
        return len(self.root)


@dataclasses.dataclass
class Record:
    values: list

    def __iter__(self):
        return iter(self.values)


@attrs.define
class Attrs:
    values: list

    def __iter__(self):
        return iter(self.values)


class Struct(msgspec.Struct):
    values: list

    def __iter__(self):
        return iter(self.values)


class Pages:
    """Something of the user's that can be iterated over."""

    def __init__(self, *pages):
        self.pages = pages

    def __iter__(self):
        return iter(self.pages)


class Graph(Pages):
    def __len__(self):
        return len(self.pages)


class Old:
    """Python's older protocol: `x[0]`, `x[1]`, up to an IndexError."""

    def __getitem__(self, index):
        return ["a", "b"][index]


class OldWithLength(Old):
    def __len__(self):
        return 2


class Forbidden:
    def __iter__(self):
        raise TypeError("is not for iteration")


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
SHORT = pd.DataFrame({"a": [1], "b": [2], "c": [3]})

MAPPED = {
    "list": lambda: ["a", "b"],
    "tuple": lambda: ("a", "b"),
    "set": lambda: {"a"} | {"b"},
    "frozenset": lambda: frozenset("ab"),
    "range": lambda: range(2),
    "generator": lambda: (x for x in "ab"),
    "iterator": lambda: iter(["a", "b"]),
    "map": lambda: map(str.upper, "ab"),
    "zip": lambda: zip("ab", "xy", strict=True),
    "enumerate": lambda: enumerate("ab"),
    "deque": lambda: collections.deque("ab"),
    "array.array": lambda: array.array("i", [1, 2]),
    "dict.keys()": {"a": 1, "b": 2}.keys,
    "dict.items()": {"a": 1, "b": 2}.items,
    "dict.values()": {"a": 1, "b": 2}.values,
    "UserList": lambda: collections.UserList("ab"),
    "array of one dimension": lambda: np.array([1, 2]),
    "array of two dimensions": lambda: np.array([[1, 2], [3, 4]]),
    "Series": lambda: FRAME["a"][:2],
    "Index": lambda: pd.Index(["a", "b"]),
    "itertuples": FRAME[:2].itertuples,
    "a class with __iter__": lambda: Pages("a", "b"),
    "a class with __iter__ and __len__": lambda: Graph("a", "b"),
    "a class with __getitem__ and __len__": OldWithLength,
    "GroupBy": lambda: FRAME[:2].groupby("a"),
}

WHOLE = {
    "text": lambda: "ab",
    "bytes": lambda: b"ab",
    "bytearray": lambda: bytearray(b"ab"),
    "memoryview": lambda: memoryview(b"ab"),
    "UserString": lambda: collections.UserString("ab"),
    "number": lambda: 2,
    "None": lambda: None,
    "function": lambda: len,
    "Path": lambda: pathlib.Path("a/b"),
    "open file": lambda: pathlib.Path(__file__).open(encoding="utf-8"),  # noqa: SIM115 - it is what is given
    "temporary file": tempfile.NamedTemporaryFile,
    "StringIO": lambda: io.StringIO("a\nb"),
    "BytesIO": lambda: io.BytesIO(b"a\nb"),
    "response of urllib": lambda: urllib.response.addinfourl(io.BytesIO(b"a\nb"), Message(), "http://localhost"),
    "pydantic model": Model,
    "pydantic root model": lambda: Numbers([1, 2]),
    "state of Prefect": lambda: State(type="COMPLETED"),
    "dataclass": lambda: Record([1, 2]),
    "attrs": lambda: Attrs([1, 2]),
    "msgspec": lambda: Struct([1, 2]),
    "named tuple": lambda: Point(1, 2),
    "collections.namedtuple": lambda: collections.namedtuple("Pair", "x y")(1, 2),  # noqa: PYI024 - one of those, too
    "os.stat_result": lambda: os.stat(__file__),  # noqa: PTH116 - what it returns counts
    "array without a dimension": lambda: np.array(2),
    "flag": lambda: Mode.READ | Mode.WRITE,
    "class": lambda: Record,
    "generic alias": lambda: list[int],
    "Mock": mock.Mock,
    "MagicMock": mock.MagicMock,
    "autospec": lambda: mock.create_autospec(Graph, instance=True),
    "what refuses to be iterated over": Forbidden,
}

EITHER = {
    "dict": (lambda: {"a": 1, "b": 2}, ["a", "b"]),
    "Counter": (lambda: collections.Counter("ab"), ["a", "b"]),
    "mapping proxy": (lambda: types.MappingProxyType({"a": 1, "b": 2}), ["a", "b"]),
    "DataFrame": (lambda: FRAME, ["a", "b"]),
    "enumeration": (lambda: Colour, [Colour.RED, Colour.BLUE]),
    "a class with __getitem__ alone": (Old, ["a", "b"]),
}


def pair(one, other):
    return one, other


def got(value):
    """What a function receives that is mapped over this alone."""
    return nbf.map(lambda x: x, value).result(120)


@pytest.fixture
def told():
    """The warnings."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield lambda: [str(one.message) for one in seen if one.category is UserWarning]


def by_name(**given):
    return [given[name] for name in sorted(given)]


def same(values, expected):
    return [repr(one) for one in values] == [repr(one) for one in expected]


@pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])
def test_collections_are_mapped_over_alone_and_beside_another(make, told):
    # Alone in one job of each kind of collection for functions, all in one beside each other for tasks.
    if make is task:
        job = nbf.map(task(by_name), **{f"p{number:02}": made() for number, made in enumerate(MAPPED.values())})
        assert same(job.result(120), map(list, zip(*[made() for made in MAPPED.values()], strict=True)))
    else:
        running = {name: nbf.map(lambda x: x, made()) for name, made in MAPPED.items()}
        for name, job in running.items():
            assert same(job.result(120), MAPPED[name]()), name
        assert told() == []
        beside = nbf.map(lambda *rows: rows, *[made() for made in MAPPED.values()])
        assert same(beside.result(120), zip(*[made() for made in MAPPED.values()], strict=True))
    # Only what may be meant as one thing is told.
    unsure = {text.partition("(")[2].partition(")")[0] for text in told()}
    assert unsure == {"Pages", "Graph", "OldWithLength", "DataFrameGroupBy"}


@pytest.mark.parametrize("make", [lambda fn: fn, task], ids=["function", "task"])
def test_one_thing_beside_a_collection_is_given_to_every_call(make, told):
    # What Prefect does with a mock, a state or such a model before it calls a task, is its own.
    left_out = {"MagicMock", "Mock", "autospec", "state of Prefect", "pydantic root model"} if make is task else set()
    values = {name: made() for name, made in WHOLE.items() if name not in left_out}
    job = nbf.map(
        make(lambda x, **given: [id(one) for one in by_name(**given)]),
        x=["x", "y"],
        **{f"p{number:02}": value for number, value in enumerate(values.values())},
    )
    assert job.result(120) == [[id(value) for value in values.values()]] * 2
    assert told() == []


def test_one_thing_alone_is_nothing_to_map_over(jobs):
    for made in WHOLE.values():
        with pytest.raises(MapArgumentsError, match="nothing to map over: x="):
            nbf.map(lambda x: x, made())
    assert jobs == []


@pytest.mark.parametrize("name", EITHER)
def test_what_may_be_either_is_mapped_over_alone_and_given_as_a_whole_beside_another(name, told):
    made, elements = EITHER[name]
    assert got(made()) == elements
    value = made()
    job = nbf.map(lambda one, other: (one, other is value), ["x", "y"], value)
    assert job.result(120) == [("x", True), ("y", True)]
    # Where its length does not fit, there is no other way.
    job = nbf.map(lambda one, other: (one, other is value), ["x"], value)
    assert job.result(120) == [("x", True)]
    assert len(told()) == {"DataFrame": 2, "enumeration": 1, "a class with __getitem__ alone": 0}.get(name, 2)


def test_a_warning_says_which_way_it_went_and_what_to_write(told):
    def scale(number, factors):
        return number, factors

    nbf.map(scale, [1, 2], {"a": 1, "b": 2})
    nbf.map(scale, [1, 2], factors=Graph(1, 2))
    nbf.map(lambda prices: prices, {"a": 1})
    nbf.map(scale, [1, 2, 3], FRAME)
    assert [text.partition(".")[0] for text in told()] == [
        "factors (dict) is given to every call as a whole, though its length fits that of the others",
        "factors (Graph) is mapped over, since it can be iterated over and its length fits that of the others",
        "prices is a dict: its keys are mapped over",
        "factors (DataFrame) is given to every call as a whole, though its length fits that of the others",
    ]
    assert "nbf.unmapped(factors)" in told()[0]
    assert "list(factors)" in told()[0]
    assert "nbf.unmapped(factors)" in told()[1]
    assert "nbf.starmap(f, prices.items())" in told()[2]


def test_the_warning_points_at_the_line_of_the_call():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        nbf.options(workers=1).map(lambda prices: prices, {"a": 1})
    assert [pathlib.Path(one.filename).name for one in seen if one.category is UserWarning] == [
        pathlib.Path(__file__).name
    ]


def test_what_was_said_to_be_right_is_not_told(told):
    nbf.map(pair, [1, 2], unmapped({"a": 1, "b": 2}))
    nbf.map(pair, [1, 2], list({"a": 1, "b": 2}))
    nbf.map(pair, [1, 2], {"a": 1, "b": 2}.values())
    nbf.map(pair, [1, 2], unmapped(Graph(1, 2)))
    nbf.map(pair, [1, 2], {"a": 1})
    nbf.map(lambda x: x, Graph(1, 2))
    assert told() == []


def test_lengths_that_differ_name_what_is_probably_one_thing():
    def score(row, model):
        return row, model

    with pytest.raises(MapArgumentsError, match=r"row has 1, model has 3.*unmapped\(model\)"):
        nbf.map(score, ["a"], Graph(1, 2, 3))


def test_a_model_reaches_items_of_other_processes_as_a_whole(remote):
    job = remote.map(lambda x, model, point: (x, model.b, point.y), [1, 2], Model(b=7), point=Point(0, 5))
    assert job.result(120) == [(1, 7, 5), (2, 7, 5)]


# --- arguments that answer to every attribute -----------------------------------------------------------------------


class Client:
    """As an API's client or a query builder: every attribute is there, and to ask for one costs a request."""

    def __init__(self):
        object.__setattr__(self, "asked", [])

    def __getattr__(self, name):
        self.asked.append(name)
        return Client()

    def __call__(self, *args, **kwargs):
        self.asked.append("call")
        return Client()


class Query(Client):
    def __getitem__(self, name):
        self.asked.append(name)
        return Client()

    def __eq__(self, other):
        self.asked.append("eq")
        return np.array([True, False])

    __hash__ = None


class Raising:
    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


class RaisingForAll:
    """As a proxy of something that is gone."""

    def __getattribute__(self, name):
        raise RuntimeError(f"no {name}")


class Slow:
    def __getattr__(self, name):
        time.sleep(60)


class Contrary:
    """Raises for each of Python's own questions."""

    def _no(self, *args):
        raise RuntimeError("no")

    __bool__ = __len__ = __eq__ = __hash__ = __repr__ = __str__ = __contains__ = _no


class IterRaises:
    def __iter__(self):
        raise ConnectionError("the network is gone")


class LengthRaises:
    def __len__(self):
        raise RuntimeError("not known")

    def __iter__(self):
        return iter(["a", "b"])


class LongRepr:
    def __repr__(self):
        return "x" * 10_000_000


class Liar:
    @property
    def __class__(self):
        return dict


class LiarAboutFutures:
    @property
    def __class__(self):
        from prefect.futures import PrefectFuture

        return PrefectFuture


ANSWERING = {
    "client": Client,
    "query builder": Query,
    "raises anything": Raising,
    "raises for all": RaisingForAll,
    "sleeps": Slow,
    "contrary": Contrary,
    "iter raises": IterRaises,
    "long repr": LongRepr,
    "liar": Liar,
    "claims to be a future": LiarAboutFutures,
    "Mock": mock.Mock,
    "MagicMock": mock.MagicMock,
    "Mock of a dict": lambda: mock.Mock(spec=dict),
    "MagicMock of a list": lambda: mock.MagicMock(spec=list),
    "Mock of a future": lambda: mock.Mock(spec_set=__import__("prefect.futures").futures.PrefectFuture),
    "Mock of a job": lambda: mock.MagicMock(spec=nbf.Job),
    "the class of jobs": lambda: nbf.Job,
}


@pytest.fixture
def within_seconds():
    """Fails, rather than to hang, where a user's object is asked for what takes for ever."""

    def call(fn):
        made = []
        thread = threading.Thread(target=lambda: made.append(fn()), daemon=True)
        thread.start()
        thread.join(120)
        assert made, "it did not return"
        return made[0]

    return call


@pytest.fixture(scope="module")
def numbers(server):
    """A job, so that there are futures: to look for, and to be given as arguments."""
    job = nbf.map(abs, [-1, -2])
    job.result(120)
    return job


@pytest.mark.parametrize("name", ANSWERING)
def test_an_argument_that_answers_to_everything_reaches_each_call_as_it_is(name, numbers, within_seconds):
    value = ANSWERING[name]()

    def check(x, beside, inside, mapped):
        if x == 2:
            raise ValueError(x)
        return beside is value and inside[0] is value and mapped is value

    # A future beside it has to be resolved.
    job = within_seconds(lambda: nbf.map(check, numbers, value, unmapped([value]), [value, value]))
    single, starred = within_seconds(
        lambda: (nbf.submit(lambda x: x is value, value), nbf.starmap(lambda _, x: x is value, [(1, value)]))
    )
    assert job.wait(120)
    assert job.values() == [True, None]
    assert (single.result(120), starred.result(120)) == (True, [True])
    shown = within_seconds(lambda: (len(job.frame()), len(job.errors()), repr(job), repr(job.failure(1))))
    assert shown[:2] == (2, 1)
    assert len(short_repr(value)) <= 80
    if issubclass(type(value), Client):
        assert value.asked == []


def test_a_client_that_is_mapped_with_is_asked_for_nothing():
    client = Query()
    job = nbf.map(lambda x, it: x, [1, 2], client)
    assert job.result(120) == [1, 2]
    assert client.asked == []


def test_an_object_whose_length_raises_is_mapped_over():
    assert got(LengthRaises()) == ["a", "b"]


def test_an_object_whose_iter_raises_is_told_where_there_is_nothing_else(jobs):
    with pytest.raises(MapArgumentsError, match="'pages' raised ConnectionError: the network is gone"):
        nbf.map(lambda pages: pages, IterRaises())
    assert jobs == []


@pytest.mark.parametrize("make", [mock.MagicMock, Client], ids=["MagicMock", "client"])
def test_a_callable_that_answers_to_every_attribute_is_called(make, within_seconds):
    fn = make()
    job = within_seconds(lambda: nbf.map(fn, [1, 2]))
    assert job.wait(120)
    assert job.counts.completed == 2
    assert job.name == make.__name__
    if isinstance(fn, mock.MagicMock):
        assert sorted(one.args[0] for one in fn.call_args_list) == [1, 2]
    else:
        assert fn.asked == ["call", "call"]
