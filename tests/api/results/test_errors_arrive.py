"""What an item raises in another process arrives as it does from a thread."""

import builtins
import re
import traceback

import pytest

import nbfutures as nbf

_CHANGING = re.compile(r"0x[0-9a-f]+|repeated \d+ more times")
"""Addresses, and how deep a process or a thread can go."""


def make_model():
    """Return a model; apart, since it takes along what is defined beside it."""
    import pydantic

    class Model(pydantic.BaseModel):
        a: int
        b: str

    return Model


def raisers():  # noqa: C901, PLR0915 - a list
    """Return functions that raise, by name; all of them local, as those of a notebook's cell."""
    import json
    import os
    import sqlite3
    import subprocess

    import httpx
    import numpy as np
    import pandas as pd

    made = {}

    def add(fn):
        made[fn.__name__] = fn

    def raising(cls, *args, **named):
        def work():
            raise cls(*args, **named)

        made[f"{cls.__name__} {len(made)}"] = work

    special = {
        "BaseExceptionGroup": ("several", [ValueError("one"), KeyboardInterrupt("two")]),
        "ExceptionGroup": ("several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])]),
        "UnicodeDecodeError": ("utf-8", b"a\xff", 1, 2, "invalid start byte"),
        "UnicodeEncodeError": ("ascii", "a\u1234", 1, 2, "ordinal not in range"),
        "UnicodeTranslateError": ("a\u1234", 1, 2, "cannot be translated"),
    }
    for name, cls in vars(builtins).items():
        if isinstance(cls, type) and issubclass(cls, BaseException):
            is_syntax = issubclass(cls, SyntaxError)
            raising(cls, *special.get(name, ("what happened",) if is_syntax else ("what happened", 3)))
    raising(OSError, 2, "gone", "from", None, "to")
    raising(BlockingIOError, 11, "later", 5)
    raising(ImportError, "no such", name="some", path="/some")
    raising(SyntaxError, "odd", ("file", 3, 2, "some text", 3, 5))
    raising(SystemExit, 7)
    raising(StopIteration, [1, 2])

    for number, source in enumerate(["x = = 1", "if 1:\nx", "(", "'abc", "def f(:", "1 = x", "for"]):

        def syntax(source=source):
            compile(source, "the file.py", "exec")

        made[f"syntax {number}"] = syntax

    class Two(Exception):
        def __init__(self, code, *, why):
            super().__init__(f"{code} because {why}")
            self.code, self.why = code, why

    class Lies(Exception):
        def __reduce__(self):
            return str, ("something else",)

    class Slots(ValueError):
        __slots__ = ("own", "place")

        def __init__(self, place):
            self.place, self.own = place, 2

        def __str__(self):
            return f"at {self.place} {self.own}"

    class Strict(Exception):
        def __init__(self, text):
            Exception.__setattr__(self, "text", text)

        def __setattr__(self, name, value):
            raise TypeError("cannot be changed")

    class Silent(Exception):
        def __str__(self):
            raise ValueError("no words")

    class Group(ExceptionGroup):
        def __new__(cls, members, code):
            self = super().__new__(cls, f"exit {code}", members)
            self.code = code
            return self

    raising(subprocess.TimeoutExpired, ["sleep", "9"], 0.5, output=b"said")
    raising(Two, 1, why="of that")
    raising(Lies, "the truth")
    raising(Slots, "home")
    raising(Strict, "fixed")
    raising(Silent, "quiet")
    raising(Group, [Two(2, why="of this"), OSError(2, "gone", "file")], 9)
    raising(ValueError, "long " * 200_000)

    @add
    def recursion():
        def again(n):
            return again(n + 1)

        again(0)

    @add
    def chain():
        def down(n):
            try:
                if n:
                    down(n - 1)
                raise ValueError("the first")
            except Exception:
                raise KeyError(n)  # noqa: B904 - on purpose

        down(300)

    @add
    def notes_and_cause():
        try:
            try:
                1 / 0
            except ZeroDivisionError as error:
                error.add_note("by zero")
                raise Two(3, why="of zero") from error
        except Two as error:
            error.add_note("a note")
            raise

    @add
    def without_context():
        try:
            {}["a"]
        except KeyError:
            raise ValueError("alone") from None

    @add
    def circle():
        one, two = ValueError("one"), KeyError("two")
        one.__cause__, two.__context__, one.me = two, one, one
        raise one

    model = make_model()

    def failed_request():
        response = httpx.Response(503, request=httpx.Request("GET", "http://localhost/a"))
        response.raise_for_status()

    lines = {
        "attribute": lambda: None.shape,
        "attribute of one's own": lambda: model(a=1, b="c").other,
        "name": lambda: undefined,  # noqa: F821 - on purpose
        "import": lambda: __import__("no_such_module"),
        "decode": lambda: b"abc\xff".decode(),  # noqa: PLW0108 - with a frame
        "encode": lambda: "abc\u1234".encode("ascii"),
        "open": lambda: open("/no/such/file"),  # noqa: PTH123, SIM115 - as people do
        "rename": lambda: os.rename("/no/such/a", "/no/such/b"),  # noqa: PTH104 - as people do
        "json": lambda: json.loads('{"a": }'),
        "sqlite": lambda: sqlite3.connect(":memory:").execute("selec 1"),
        "called": lambda: subprocess.run(["python3", "-c", "exit(3)"], check=True, capture_output=True),
        "pydantic": lambda: model(a="x"),
        "http": failed_request,
        "column": lambda: pd.DataFrame({"a": [1]})["b"],
        "csv": lambda: pd.read_csv(__import__("io").StringIO("a\n1,2,3\n1,2,3,4,5")),
        "date": lambda: pd.to_datetime("nonsense"),
        "linalg": lambda: np.linalg.inv(np.zeros((2, 2))),
        "axis": lambda: np.zeros(2).sum(axis=5),
        "ufunc": lambda: np.add(np.array(["a"]), 1),
        "shapes": lambda: np.zeros(2) + np.zeros(3),
    }
    made.update(lines)
    return made


def told(error, seen=None):
    """Return all that can be asked of an error."""
    seen = seen or {}
    if error is None or id(error) in seen:
        return seen.get(id(error))
    seen = {**seen, id(error): f"see {len(seen)}"} if len(seen) < 50 else dict.fromkeys([id(error)], "deep")

    def ask(question):
        try:
            return question()
        except Exception as problem:
            return f"raises {problem!r}"

    found = {
        "type": type(error).__name__,
        "text": ask(lambda: str(error)),
        "suppress": error.__suppress_context__,
        "lines": [(one.name, one.line) for one in traceback.extract_tb(error.__traceback__)[:20]],
    }
    for name in {*dir(error), *vars(error)} - set(dir(object)) - {"__weakref__", "__dict__", "__module__"}:
        value = ask(lambda name=name: getattr(error, name))
        if name in {"__cause__", "__context__"}:
            found[name] = told(value, seen) if len(seen) < 50 else type(value)
        elif name == "exceptions":
            found[name] = [told(one, seen) for one in value]
        elif not callable(value) and name not in {"__traceback__", "__suppress_context__"}:
            found[name] = _CHANGING.sub("", ask(lambda value=value: repr(value)))
    return found


FEW = [
    "UnicodeDecodeError", "syntax 1", "notes_and_cause", "Two", "ExceptionGroup", "pydantic", "Lies", "open",
    "SystemExit",
]  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    return raisers()


def fail_in(submitter, kind, functions):
    job = submitter.map(kind(lambda work: work()), functions)
    assert job.wait(200)
    return job


def test_an_error_of_another_process_is_the_one_that_a_thread_raises(remote, kind, cases):
    names = list(cases)
    if kind.is_task:
        # A task run each.
        names = [next(one for one in names if one.startswith(few)) for few in FEW]
    functions = [cases[name] for name in names]
    here = fail_in(nbf.options(workers=2), kind, functions)
    there = fail_in(remote, kind, functions)
    for index, name in enumerate(names):
        expected, found = here[index].exception(), there[index].exception()
        assert told(found) == told(expected), name
        # Ray pickles a task by itself: classes of a cell come back as others of the same name.
        assert type(found) is type(expected) or (kind.is_task and "ray" in repr(remote)), name
        texts = [_CHANGING.sub("", job.failure(index).traceback) for job in (there, here)]
        assert texts[0] == texts[1], name
    assert there.errors()["message"].tolist() == here.errors()["message"].tolist()


def test_what_cannot_be_sent_of_an_error_is_told_in_its_place(remote, kind):  # noqa: C901 - many cases
    def work(x):  # noqa: C901 - as above
        import sys
        import threading
        import types

        class Locked(Exception):
            def __init__(self, text, lock):
                super().__init__(text)
                self.lock, self.code = lock, 7

            def __str__(self):
                return f"{self.args[0]}, {'' if self.lock.locked() else 'not '}locked"

        class Fussy:
            def __reduce__(self):
                return exec, ("import os\nassert os.getpid() == int(open('/proc/self/stat').read().split()[0]) + 1",)

        if x == 0:
            raise Locked("mine", threading.Lock())
        if x == 1:
            raise ValueError(threading.Lock())
        if x == 2:
            raise ExceptionGroup("both", [Locked("inner", threading.Lock()), KeyError("fine")])
        if x == 3:
            threading.Lock().no_such_name
        if x == 4:
            error = TimeoutError("slow")
            error.answer = Fussy()
            raise error
        if x == 5:
            # A class that only this process can import.
            module = types.ModuleType("only_there")
            sys.modules["only_there"] = module
            exec("class Special(LookupError): pass", module.__dict__)
            raise module.Special("where", 3)
        if x == 6:
            try:
                raise Locked("cause", threading.Lock())
            except Locked as error:
                raise RuntimeError("effect") from error
        return x

    job = remote.map(kind(work), range(8))
    assert job.wait(240)
    errors = [job[index].exception() for index in range(7)]
    assert job[7].result() == 7
    assert str(errors[0]) == "mine, not locked"
    assert errors[0].code == 7
    assert "lock object" in repr(errors[0].lock)
    assert type(errors[1]) is ValueError
    assert "unlocked _thread.lock object" in str(errors[1])
    assert type(errors[2]) is ExceptionGroup
    assert [str(one) for one in errors[2].exceptions] == ["inner, not locked", "'fine'"]
    assert (type(errors[3]), errors[3].name) == (AttributeError, "no_such_name")
    assert (type(errors[4]), str(errors[4])) == (TimeoutError, "slow")
    assert isinstance(errors[5], LookupError)
    assert (type(errors[5]).__name__, str(errors[5])) == ("Special", "('where', 3)")
    assert str(errors[6].__cause__) == "cause, not locked"
    assert all("line" in job.failure(index).traceback for index in range(7))
    assert job.errors()["error"].nunique() == 7
    by_name = {"Locked": [0], "ValueError": [1], "LookupError": [5], "AttributeError": [3], TimeoutError: [4]}
    job.retry(kind(lambda x: -x), errors=tuple(by_name))
    assert job.wait(240)
    assert [index for index in range(8) if job[index].exception() is None] == [0, 1, 2, 3, 4, 5, 7]


def test_an_error_that_is_a_value_or_an_argument_arrives_whole_too(remote):
    def work(error):
        return error, str(error), SyntaxError("bad", ("f", 3, 4, "text"))

    sent = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
    ((given, text, made),) = remote.map(work, [sent]).result(120)
    assert text == str(given) == str(sent)
    assert (str(made), made.text) == ("bad (f, line 3)", "text")


def test_a_table_that_an_attribute_was_missing_from_does_not_come_along(remote):
    import numpy as np

    def work(table):
        return table.no_such_name

    job = remote.map(work, [np.zeros(1_000_000), np.zeros(2)])
    assert job.wait(120)
    assert repr(job[0].exception().obj) == "<ndarray>"
    assert job[1].exception().obj.tolist() == [0, 0]
