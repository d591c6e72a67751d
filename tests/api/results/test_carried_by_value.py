# ruff: noqa: E501 - the cells hold one case in a line
"""What the cells of a notebook define arrives whole in other processes, and the notebook's own stays as it is."""

import re

import pytest
from prefect import task

import nbfutures as nbf
from nbfutures.errors import PicklingError

# What a notebook's cells could define: each case is a function that returns what can be compared by its text.
CELLS = """
import abc, collections, contextlib, contextvars, dataclasses, enum, functools, logging, math, os, random, re, sys, threading, typing, weakref, asyncio
from dataclasses import dataclass, field, InitVar
from typing import *
from enum import *

CASES = {}
def case(fn): CASES[fn.__name__] = fn; return fn
def run_case(name):
    try: return repr(CASES[name]())
    except Exception as error: return "raises " + repr(error)

@functools.lru_cache(maxsize=7)
def fib(n): return n if n < 2 else fib(n-1)+fib(n-2)
fib.mark = "kept"
@case
def lru_recursive(): return fib(30), fib.cache_parameters(), fib.__name__, fib.__module__, fib.mark, fib.cache_info().misses
@functools.cache
def sq(n): return n*n
@case
def cache_plain(): return sq(4), sq.cache_info().maxsize
@functools.lru_cache(typed=True)
def typed(x): return type(x).__name__
@case
def lru_typed(): return typed(1), typed(1.0), typed.cache_parameters()
@functools.cache
@functools.wraps(sq)
def wrapped(n): return n + 1
@case
def cache_over_wraps(): return wrapped(2), wrapped.__name__
class M:
    made = 0
    def __init__(self, k): self.k = k
    @functools.lru_cache
    def meth(self, x): return self.k*x
    @staticmethod
    @functools.cache
    def st(x): return x+1
    @classmethod
    @functools.cache
    def cm(cls, x): return cls.__name__, x
    @property
    @functools.cache
    def pr(self): return self.k
    @functools.cached_property
    def cp(self): "doc"; return self.k + 100
    pm = functools.partialmethod(meth, 5)
@case
def methods():
    m = M(3); return m.meth(2), m.st(1), m.cm(1), M.st(2), m.pr, m.cp, m.__dict__, M.cp.__doc__, m.pm()
m3 = M(3); m3.cp
@case
def instance_global(): return m3.cp, m3.meth(4), vars(m3)
@functools.singledispatch
def sd(x): return "any"
@sd.register
def _(x: int): return "int"
@sd.register(list)
def _(x): return "list"
@sd.register
def _(x: M): return "M"
sd(3)
@case
def singledispatch(): return sd(1), sd([]), sd("a"), sd(M(1)), sorted(map(str, sd.registry))
class SD:
    @functools.singledispatchmethod
    def go(self, x): return "any"
    @go.register
    def _(self, x: int): return "int"
    @functools.singledispatchmethod
    @classmethod
    def cgo(cls, x): return "any"
    @cgo.register
    @classmethod
    def _(cls, x: str): return cls.__name__
@case
def singledispatchmethod(): return SD().go(1), SD().go("a"), SD.cgo("a"), SD.cgo(1)
@functools.total_ordering
class TO:
    def __init__(self, x): self.x = x
    def __lt__(self, o): return self.x < o.x
    def __eq__(self, o): return self.x == o.x
@case
def total_ordering(): return TO(1) < TO(2), TO(1) >= TO(2)
key = functools.cmp_to_key(lambda a, b: b - a)
@case
def cmp_to_key(): return sorted([1,3,2], key=key)
def deco(f):
    @functools.wraps(f)
    def inner(*a): return f(*a)
    return inner
@deco
def w(x): return x
@case
def wraps(): return w(1), w.__name__, w.__wrapped__(2)
par = functools.partial(sq, 3)
@case
def partial(): return par()
@case
def reduce(): return functools.reduce(lambda a, b: a + b, [1, 2])
UserId = NewType("UserId", int)
Nested = NewType("Nested", UserId)
@case
def newtype():
    def f(x: UserId) -> Nested: ...
    return UserId(3), UserId.__name__, UserId.__supertype__.__name__, Nested.__supertype__ is UserId, UserId.__module__
T = TypeVar("T", bound="int"); P = ParamSpec("P"); Ts = TypeVarTuple("Ts")
class G(Generic[T]):
    def __init__(self, x: T): self.x = x
    @functools.cache
    def y(self) -> T: return self.x
class GP(Generic[T, P]):
    def __init__(self, f: Callable[P, T]): self.f = f
    def __call__(self, *a: P.args, **k: P.kwargs) -> T: return self.f(*a, **k)
class GT(Generic[*Ts]): ...
@case
def generic(): return G(3).x, G[int](4).y(), GP(abs)(-2), GT[int, str].__args__, str(GP[int, [str]])
Vec = list[UserId]; Opt = Optional[UserId]; Ann = Annotated[int, "meta", UserId]; U = int | M
@case
def aliases(): return str(Vec), str(Opt), str(Ann), str(U), get_args(Ann)[2] is UserId
class NT(NamedTuple):
    a: int
    b: UserId = UserId(4)
    def total(self): return self.a + self.b
class TD(TypedDict, total=False):
    a: int
    b: Required[str]
@runtime_checkable
class Pr(Protocol):
    def go(self) -> int: ...
class Impl:
    def go(self): return 1
@overload
def ov(x: int) -> int: ...
@overload
def ov(x: str) -> str: ...
def ov(x): return x
@case
def typing_things(): return NT(1).total(), NT(1)._replace(a=3), TD(a=1), sorted(TD.__required_keys__), isinstance(Impl(), Pr), isinstance(3, Pr), ov(2), NT._fields
CNT = collections.namedtuple("CNT", "x y", defaults=[3])
@case
def namedtuple(): return CNT(1), CNT(1)._asdict()
@dataclass(frozen=True)
class DF: x: int = 1; y: list = field(default_factory=list)
@dataclass(slots=True)
class DS: x: int; y: int = 2
@dataclass(slots=True, frozen=True)
class DSF: x: int; y: int = 2
@dataclass(kw_only=True, order=True)
class DK:
    x: int; z: ClassVar[int] = 9
    y: InitVar[int] = 3
    s: int = field(init=False, default=0)
    def __post_init__(self, y): self.s = self.x + y
@dataclass
class DLock: lock: Any = field(default_factory=threading.Lock, repr=False, compare=False); x: int = 1
@dataclass
class DChild(DF.__mro__[0] if False else DK): extra: int = 5
@dataclass
class DG(Generic[T]): x: T
dsf = DSF(5); df = DF(2)
@case
def dataclass_things():
    try: DF(1).x = 3
    except dataclasses.FrozenInstanceError as e: fr = str(e)
    return DF(1), DS(1), DSF(1), DK(x=1), DK(x=1, y=5).s, fr, dataclasses.asdict(DK(x=1)), dataclasses.replace(DSF(1), x=7), [f.name for f in dataclasses.fields(DK)], dsf, df, DLock().x, DChild(x=1).extra, DG[int](3), DK(x=1) < DK(x=2), hash(DF(1, ())), DSF.__slots__
@dataclass(slots=True)
class DSuper(DS):
    w: int = 0
    def total(self): return DS.__repr__(self)
@case
def dataclass_slots_child(): return DSuper(1).total()
class Color(Enum):
    RED = 1; GREEN = 2; ROT = 1
    def nice(self): return self.name.lower()
    @classmethod
    def first(cls): return cls.RED
    @property
    def twice(self): return self.value * 2
class Planet(Enum):
    MERCURY = (3.3e23, 2.4e6)
    EARTH = (5.9e24, 6.3e6)
    def __init__(self, mass, radius): self.mass = mass; self.radius = radius
    @property
    def gravity(self): return round(self.mass / self.radius**2, 2)
class Coord(bytes, Enum):
    def __new__(cls, value, label, unit):
        obj = bytes.__new__(cls, [value]); obj._value_ = value; obj.label = label; obj.unit = unit; return obj
    PX = (0, 'P.X', 'km'); PY = (1, 'P.Y', 'km')
class Lab(int, Enum):
    def __new__(cls, value, label):
        obj = int.__new__(cls, value); obj._value_ = value; obj.label = label; return obj
    A = (10, "aa")
class Auto(Enum):
    def _generate_next_value_(name, start, count, last): return name + "!"
    A = auto(); B = auto()
class Perm(Flag): R = auto(); W = auto(); RW = R | W
class IPerm(IntFlag): R = 4; W = 2
class IE(IntEnum): A = 1
class SE(StrEnum): A = auto(); B = "bee"
class Op(Enum):
    @member
    def add(a, b=1): return a + b if not isinstance(a, Op) else 0
    N = functools.partial(abs)
class Fn(Enum):
    P = functools.partial(abs)
    Q = nonmember(3)
class Missing(Enum):
    A = 1
    @classmethod
    def _missing_(cls, v): return cls.A
class Outer:
    class Inner(Enum): A = 1
    class Deep:
        class Er(Enum): B = 2
Func = Enum("Func", "ONE TWO")
@unique
class Uq(Enum): A = 1
class Cmp(Enum):
    A = 1; B = 2
    def __lt__(self, o): return self.value < o.value
red = Color.RED; rw = Perm.RW; mix = Perm.R | Perm.W
@case
def enums1(): return Color.RED.nice(), Color.first() is Color.RED, Color.ROT is Color.RED, Color["ROT"], list(Color), Color(2).twice, Color.RED is red, Color.__members__.keys(), {Color.RED: 1}[red]
@case
def enum_planet(): return Planet.EARTH.mass, Planet.EARTH.gravity, Planet((3.3e23, 2.4e6)) is Planet.MERCURY
@case
def enum_new(): return Coord.PY.label, Coord(1) is Coord.PY, Coord.PY == bytes([1]), Lab.A.label, Lab.A + 1
@case
def enum_auto(): return Auto.B.value, Auto("A!"), Func.TWO, Func(1), Uq.A, Cmp.A < Cmp.B, Cmp.B > Cmp.A
@case
def enum_flags(): return Perm.R | Perm.W, Perm.RW is rw, mix is Perm.RW, Perm.R in Perm.RW, ~Perm.R, Perm(0), IPerm(6), IPerm.R | 1, list(Perm.RW), Perm["RW"], (IPerm.R | IPerm.W).name
@case
def enum_other(): return IE.A + 1, SE.A, SE.B.upper(), f"{SE.B}", Fn.P.value(-2), Fn.Q, Missing(99), Outer.Inner.A, Outer.Deep.Er(2)
@case
def enum_member(): return Op.add.value(2)
class Base(abc.ABC):
    @property
    @abc.abstractmethod
    def p(self): ...
    @abc.abstractmethod
    def run(self): ...
class Sub(Base):
    p = 3
    def run(self): return super().p or 4
class V: pass
Base.register(V)
class Hook(abc.ABC):
    @classmethod
    def __subclasshook__(cls, C): return hasattr(C, "quack") or NotImplemented
class Quacks:
    def quack(self): ...
@case
def abcs():
    try: Base()
    except TypeError as e: t = str(e)
    return t, Sub().p, isinstance(V(), Base), isinstance(Sub(), Base), issubclass(Quacks, Hook), issubclass(int, Hook)
@contextlib.contextmanager
def cm(x):
    yield x
@contextlib.asynccontextmanager
async def acm(x): yield x
class CD(contextlib.ContextDecorator):
    def __enter__(self): return self
    def __exit__(self, *a): return False
cd = CD()
@CD()
def decorated(): return 3
sup = contextlib.suppress(ValueError); nul = contextlib.nullcontext(4); stack = contextlib.ExitStack()
clo = contextlib.closing(m3)
@case
def contextlibs():
    async def go():
        async with acm(2) as y: return y
    with cm(1) as x, sup, nul as n, stack, cd: raise ValueError if False else ValueError
    return 1
@case
def contextlibs2():
    async def go():
        async with acm(2) as y: return y
    with cm(1) as x, nul as n: pass
    @cm(3)
    def d(): return 8
    return x, n, asyncio.run(go()), decorated(), d(), clo.thing.k
var = contextvars.ContextVar("var", default=5); nodef = contextvars.ContextVar("nodef")
@case
def contextvar():
    try: nodef.get(); bad = 1
    except LookupError: bad = 0
    t = var.set(7); x = var.get(); var.reset(t)
    return x, var.get(), var.name, bad
class Node:
    def __init__(self, parent=None):
        self.parent = weakref.ref(parent) if parent else None; self.kids = []
    def add(self):
        k = Node(self); self.kids.append(k); return k
root = Node(); kid = root.add()
@case
def weakrefs(): return kid.parent() is None, root.kids[0].parent() is root
tree = {"kid": kid, "root": root}
@case
def weakrefs2(): return tree["kid"].parent() is tree["root"]
wv = weakref.WeakValueDictionary({"m": m3}); wk = weakref.WeakKeyDictionary({m3: 1}); ws = weakref.WeakSet([m3])
@case
def weakdicts(): return wv["m"] is m3, wk[m3], m3 in ws
log = logging.getLogger("mine")
class WithLog:
    log = logging.getLogger("x")
    def __init__(self): self.log2 = log
    def go(self): return self.log.name, self.log2.name
wl = WithLog()
adapter = logging.LoggerAdapter(log, {"a": 1})
@case
def loggers(): return wl.go(), log.name, adapter.extra
class Meta(type):
    made = []
    def __new__(m, name, bases, ns, **kw):
        c = super().__new__(m, name, bases, ns); c.tag = kw.get("tag", "none"); return c
    def __init__(c, name, bases, ns, **kw): super().__init__(name, bases, ns)
class MC(metaclass=Meta, tag="t"): x = 1
@case
def metaclass(): return MC.tag, MC.x, type(MC).__name__
class Plugin:
    registry = {}
    def __init_subclass__(cls, *, kind, **kw):
        super().__init_subclass__(**kw); cls.kind = kind; Plugin.registry[cls.need + kind] = cls
class PA(Plugin, kind="a"): need = "n"
class PB(Plugin, kind="b"): need = "m"
@case
def init_subclass():
    class PC(Plugin, kind="c"): need = "o"
    return sorted(Plugin.registry), PA.kind, Plugin.registry["na"] is PA, issubclass(PA, Plugin), [c.__name__ for c in Plugin.registry.values()]
class Strict:
    def __init_subclass__(cls):
        if not hasattr(cls, "table"): raise TypeError("no table")
class S1(Strict): table = 1
@case
def init_subclass_strict(): return S1.table, S1().table, S1.__bases__[0] is Strict
class Desc:
    def __set_name__(self, o, n): self.n = n
    def __get__(self, i, o=None): return self.n if i is not None else self
class HasD: d = Desc()
@case
def descriptors(): return HasD().d
class Slots:
    __slots__ = ("a", "b", "__weakref__")
    def __init__(self): self.a = 1
sl = Slots()
@case
def slots(): return sl.a, hasattr(sl, "b")
class Single:
    _i = None
    def __new__(cls):
        if cls._i is None: cls._i = super().__new__(cls)
        return cls._i
single = Single()
@case
def singleton(): return Single() is single
SENT = object()
def has_default(x=SENT): return x is SENT
@case
def sentinel(): return has_default()
class E1(Exception):
    def __init__(self, a, b): super().__init__(f"{a}-{b}"); self.a = a
@case
def exc():
    try: raise E1(1, 2)
    except E1 as e: return str(e), e.a
rx = re.compile("a+")
@case
def regex(): return rx.match("aaa").group()
dd = collections.defaultdict(lambda: 3); od = collections.OrderedDict(a=1); ctr = collections.Counter("aab"); dq = collections.deque([1], 3); cmap = collections.ChainMap({1: 2})
@case
def collectionsx(): return dd[1], od, ctr, dq, cmap[1]
import operator, itertools
ig = operator.itemgetter(1); cnt = itertools.count(3)
@case
def operators(): return ig([1,2]), next(cnt)
import pydantic
class Mod(pydantic.BaseModel):
    x: int; y: UserId = 3
    @functools.cached_property
    def z(self): return self.x
    @pydantic.field_validator("x")
    @classmethod
    def v(cls, x): return x + 1
mod = Mod(x=1)
@case
def pydantic_model(): return Mod(x=1), mod.z, mod.model_dump()
"""


def in_a_notebook(code):
    """Run code as a cell does: what it defines cannot be imported elsewhere."""
    namespace = {"__name__": "__main__"}
    exec(code, namespace)
    return namespace


@pytest.fixture(scope="module")
def cells():
    return in_a_notebook(CELLS)


def test_what_cells_define_works_elsewhere_as_it_does_in_the_kernel(remote, cells):
    cases = cells["CASES"]
    got = remote.map(cells["run_case"], list(cases)).result(240)
    assert dict(zip(cases, got, strict=True)) == {name: cells["run_case"](name) for name in cases}


def test_a_task_of_a_cell_uses_caches_and_enums_of_cells(remote, cells):
    names = ["lru_recursive", "methods", "enum_planet"]
    got = remote.map(task(cells["run_case"]), names).result(240)
    assert got == [cells["run_case"](name) for name in names]


CLASSES = """
import enum, functools, dataclasses
class Base:
    registry = {}
    limit = 1
    def __init_subclass__(cls):
        Base.registry[cls.__name__] = cls
    def __init__(self, x):
        self.x = x
    def say(self):
        return "old"
class Sub(Base):
    pass
class Color(enum.Enum):
    RED = 1
    def say(self):
        return "old"
@dataclasses.dataclass
class Point:
    x: int
    @functools.cached_property
    def double(self):
        return 2 * self.x
def make(x):
    Base.limit = 100 + x
    Sub.extra = x
    Base.registry.clear()
    return Sub(x), Color.RED, Point(x), Sub
def say(x):
    return Sub(x).say(), Base.limit, sorted(Base.registry), Color.RED.say(), hasattr(Base, "gone")
"""


@pytest.mark.parametrize("wrap", [lambda fn: fn, task], ids=["function", "task"])
def test_values_that_arrive_change_no_class_of_the_kernel(remote, wrap):
    space = in_a_notebook(CLASSES)
    base, sub, color, point = (space[name] for name in ("Base", "Sub", "Color", "Point"))
    base.gone = True
    assert remote.map(wrap(space["say"]), [1]).result(120) == [("old", 1, ["Sub"], "old", True)]
    job = remote.map(wrap(space["make"]), [1, 2])
    base.say = lambda self: "mended"
    color.say = lambda self: "mended"
    base.limit = 7
    del base.gone
    for x, (made, red, where, kind) in zip([1, 2], job.result(120), strict=True):
        assert (type(made), red, type(where), kind) == (sub, color.RED, point, sub)
        assert red is color.RED
        assert (made.x, where, where.double, made.say(), red.say()) == (x, point(x), 2 * x, "mended", "mended")
    assert (base.limit, base.registry, hasattr(sub, "extra")) == (7, {"Sub": sub}, False)
    assert base.__subclasses__() == [sub]
    # And the next job finds the kernel's classes as they are by now.
    assert remote.map(wrap(space["say"]), [1]).result(120) == [("mended", 7, ["Sub"], "mended", False)]


UNSENDABLE = """
import functools, socket, sqlite3, threading
class Pool:
    def __init__(self):
        self.lock = threading.Lock()
    def run(self, x):
        return x
class Client:
    def __init__(self):
        self.pool = Pool()
    def fetch(self, x):
        return x
class Shared:
    guard = threading.RLock()
    def run(self, x):
        return x
client, numbers = Client(), (x for x in range(3))
settings = {"pools": [1, Pool()]}
connection, wire, output = sqlite3.connect(":memory:"), socket.socket(), open("/dev/null", "wb")
def uses_client(x): return client
def uses_numbers(x): return numbers
def uses_settings(x): return settings
def uses_connection(x): return connection
def uses_wire(x): return wire
def uses_output(x): return output
def calls_other(x): return uses_wire(x)
def with_default(x, lock=threading.Lock()): return x
def echo(x): return x
def takes_lock(x, lock): return x
@functools.cache
def cached(x): return numbers
def close():
    wire.close(); output.close(); connection.close()
CALLS = [
    (Pool().run, 1, "the attribute 'lock' of 'self' (a Pool) of Pool.run"),
    (client.fetch, 1, "the attribute 'lock' of the attribute 'pool' of 'self' (a Client) of Client.fetch"),
    (Shared().run, 1, "the attribute 'guard' of the class Shared"),
    (uses_client, 1, "the attribute 'lock' of the attribute 'pool' of the variable 'client' that uses_client uses"),
    (uses_numbers, 1, "the variable 'numbers' that uses_numbers uses"),
    (cached, 1, "the variable 'numbers' that cached uses"),
    (uses_settings, 1, "the attribute 'lock' of element 1 of the value at 'pools' of the variable 'settings'"),
    (uses_connection, 1, "the variable 'connection' that uses_connection uses"),
    (uses_wire, 1, "the variable 'wire' that uses_wire uses"),
    (calls_other, 1, "the variable 'wire' that uses_wire uses"),
    (uses_output, 1, "the variable 'output' that uses_output uses"),
    (with_default, 1, "the default of 'lock' of with_default"),
    (functools.partial(takes_lock, lock=threading.Lock()), 1, "the argument 'lock' of takes_lock"),
    (echo, Pool(), "the attribute 'lock' of the argument 'x' of item 0"),
    (echo, {"a": [1, threading.Lock()]}, "element 1 of the value at 'a' of the argument 'x' of item 0"),
]
"""


def test_what_cannot_be_sent_is_named_by_the_users_names_and_the_dry_run_says_the_same(server):
    space = in_a_notebook(UNSENDABLE)
    processes = nbf.options(runner="processes", workers=1)
    for fn, argument, words in space["CALLS"]:
        job = processes.map(fn, [argument])
        with pytest.raises(PicklingError, match=re.escape(words)) as caught:
            job.result(120)
        trial = nbf.options(runner="processes", workers=1, dry_run=True).map(fn, [argument])
        trial.wait(120)
        assert trial.dry_run.obstacle == caught.value.problem
    space["close"]()


def test_a_value_that_cannot_be_sent_back_names_its_attribute(remote):
    space = in_a_notebook(UNSENDABLE)
    space["close"]()
    exec("def make(x):\n    client = Client()\n    return [client] if x else x", space)
    del space["client"], space["settings"]
    job = remote.map(space["make"], [0, 1])
    job.wait(120)
    told = str(job.outcomes()[1].error)
    assert "the attribute 'lock' of the attribute 'pool' of element 0 of it" in told
    assert job.values()[0] == 0
