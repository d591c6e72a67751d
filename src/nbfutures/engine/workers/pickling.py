"""Pickling for other processes; exceptions go whole, whatever their classes make of pickling.

An exception is taken apart here, and put together again without a call of its own `__init__` or `__reduce__`: class,
`args`, attributes, what C keeps of it (`SyntaxError.text`, `OSError.errno`), notes, causes, members and traceback.
Where some of that cannot be sent or read, `in_pieces` sends each part by itself, and words in place of what is missing.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import pickle
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from nbfutures.engine.item_frames import related
from nbfutures.engine.workers.by_value import mend_cloudpickle
from nbfutures.engine.workers.weighing import weigh
from nbfutures.model.outcome import ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pickler", "in_pieces"]

_MOST_OBJECT_BYTES = 64 * 1024
"""What an `AttributeError` was raised about goes along up to this size: it may be a table of a gigabyte."""
_SHOWN = 10_000
_KNOWN = 4096
_MANY = 20
_HEAP_TYPE = 1 << 9
_POINTER = 8

_own = BaseException.__dict__
# Not by the names: a class may have a property, or a `__setattr__`, in their place.
_args, _set_args = _own["args"].__get__, _own["args"].__set__
_trace, _set_trace = _own["__traceback__"].__get__, _own["__traceback__"].__set__
_cause, _set_cause = _own["__cause__"].__get__, _own["__cause__"].__set__
_context, _set_context = _own["__context__"].__get__, _own["__context__"].__set__
_suppress, _set_suppress = _own["__suppress_context__"].__get__, _own["__suppress_context__"].__set__
_attributes = _own["__dict__"].__get__
_message = BaseExceptionGroup.__dict__["message"].__get__
_members = BaseExceptionGroup.__dict__["exceptions"].__get__


# --- classes ---------------------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """What is to be known of a class of exceptions."""

    new: Callable[..., Any]
    """Makes one, without anything of the class's own."""
    slots: dict[str, tuple[Any, bool]]
    """What is kept outside of `__dict__`: name to descriptor, and whether nothing is there as long as it is `None`."""
    is_opaque: bool
    """Whether C keeps something of it that only its own `__reduce__` knows."""


def _look_at(cls: type[BaseException]) -> _Kind:
    slots: dict[str, tuple[Any, bool]] = {}
    is_opaque = False
    new: Any = None
    for base in cls.__mro__:
        if base is BaseException:
            break
        own = vars(base)
        is_builtin = base.__module__ == "builtins" and not base.__flags__ & _HEAP_TYPE
        if is_builtin and new is None and "__new__" in own:
            new = base.__new__
        members = 0
        for name, one in own.items():
            is_member = isinstance(one, types.MemberDescriptorType)
            members += is_member
            if (is_member or (isinstance(one, types.GetSetDescriptorType) and is_builtin)) and not (
                name in {"__dict__", "__weakref__"} or base is BaseExceptionGroup
            ):
                slots.setdefault(name, (one, is_builtin))
        if not is_builtin and isinstance(base.__base__, type) and issubclass(base, BaseException):
            has_weak = base.__weakrefoffset__ and not base.__base__.__weakrefoffset__
            expected = base.__base__.__basicsize__ + _POINTER * (members + bool(has_weak))
            is_opaque = is_opaque or base.__basicsize__ > expected
    return _Kind(new or BaseException.__new__, slots, is_opaque)


_kind_of: Callable[[Any], _Kind] = functools.lru_cache(maxsize=_KNOWN)(_look_at)


def _slots_of(error: BaseException, kind: _Kind) -> dict[str, Any] | None:
    if not kind.slots:
        return None
    found: dict[str, Any] = {}
    for name, (descriptor, is_builtin) in kind.slots.items():
        try:
            value = descriptor.__get__(error)
        except AttributeError:
            continue
        if value is not None or not is_builtin:
            found[name] = value
    if "obj" in found and isinstance(error, AttributeError):
        found["obj"] = _small(found["obj"])
    return found


def _small(value: Any) -> Any:
    if type(value) in ATOMS:
        return value
    try:
        is_small = weigh(value, _MOST_OBJECT_BYTES).is_whole
    except BaseException:
        is_small = False
    return value if is_small else NotSent(f"<{type(value).__name__}>")


def _put(error: BaseException, values: dict[str, Any]) -> None:
    """Give an exception what was kept in its `__dict__` and elsewhere; which was which may differ between processes."""
    slots, attributes = _kind_of(type(error)).slots, _attributes(error)
    for name, value in values.items():
        if name not in slots:
            attributes[name] = value
            continue
        # Some can only be read: the class makes them of something else.
        with contextlib.suppress(AttributeError, TypeError):
            slots[name][0].__set__(error, value)


class NotSent:
    """Stands for a part of an exception that could not be sent to the kernel; shown as what it stands for.

    Args:
        shown: Its `repr`.
        text: Its text, where that is another.
    """

    __slots__ = ("_shown", "_text")

    def __init__(self, shown: str, text: str | None = None) -> None:
        self._shown = shown
        self._text = shown if text is None else text

    def __repr__(self) -> str:
        return self._shown

    def __str__(self) -> str:
        return self._text


# --- tracebacks ------------------------------------------------------------------------------------------------------

_Place = tuple[str, str, str, str, int, int | None, int | None, int | None]
"""File, name and qualified name of the function, module; line, last line, column, last column."""


class _Trace:
    """A traceback; those that went the same way are the same object, so that a pickle has them once."""

    __slots__ = ("codes", "places")

    def __init__(self, places: tuple[_Place, ...], codes: list[Any]) -> None:
        self.places = places
        # By their ids it is known.
        self.codes = codes

    def __reduce__(self) -> tuple[Any, ...]:
        return _traceback, (self.places,)


_traces: dict[tuple[int | None, ...], _Trace] = {}


def reduce_traceback(trace: types.TracebackType) -> tuple[Any, ...]:
    """Return how to pickle a traceback, as a `reducer_override` does."""
    return _traceback, (_known(trace).places,)


def _trace_of(error: BaseException) -> _Trace | None:
    trace = _trace(error)
    return _known(trace) if trace is not None else None


def _known(trace: types.TracebackType) -> _Trace:
    step: types.TracebackType | None = trace
    way: list[int | None] = []
    frames: list[types.TracebackType] = []
    while step is not None:
        way += (id(step.tb_frame.f_code), step.tb_lasti, step.tb_lineno)
        frames.append(step)
        step = step.tb_next
    key = tuple(way)
    found = _traces.get(key)
    if found is None:
        if len(_traces) >= _KNOWN:
            _traces.clear()
        codes = [one.tb_frame.f_code for one in frames]
        found = _traces[key] = _Trace(tuple(map(_place_of, frames)), codes)
    return found


def _place_of(step: types.TracebackType) -> _Place:
    code = step.tb_frame.f_code
    line = step.tb_lineno or 0
    last_line = column = last_column = None
    if step.tb_lasti >= 0:
        at = next(itertools.islice(code.co_positions(), step.tb_lasti // 2, None), None)
        if at is not None and at[0] == line:
            _, last_line, column, last_column = at
    module = step.tb_frame.f_globals.get("__name__")
    name = module if isinstance(module, str) else ""
    return code.co_filename, code.co_name, code.co_qualname, name, line, last_line, column, last_column


@functools.lru_cache(maxsize=256)
def _traceback(places: tuple[_Place, ...]) -> types.TracebackType | None:
    made = None
    for place in reversed(places):
        # A traceback with a gap is better than none, and that better than no error.
        with contextlib.suppress(Exception):
            frame, instruction = _frame(place)
            made = types.TracebackType(made, frame, instruction, place[4])
    return made


@functools.lru_cache(maxsize=_KNOWN)
def _frame(place: _Place) -> tuple[types.FrameType, int]:
    """Return a frame that looks like one in this place, and the instruction in it that stands there."""
    filename, name, qualified, module, line, last_line, column, last_column = place
    start, end = (max(line, 1), column or 0), (last_line or 0, last_column or 0)
    has_columns = column is not None and last_column is not None and start <= end
    if not has_columns:
        start = end = (start[0], 0)
    spot: dict[str, Any] = {"lineno": start[0], "col_offset": start[1], "end_lineno": end[0], "end_col_offset": end[1]}
    nothing = ast.arguments([], [], None, [], [], None, [])
    body: list[ast.stmt] = [ast.Expr(ast.Yield(ast.Constant(None, **spot), **spot), **spot)]
    # A generator that has not begun has a frame which nobody has called: it holds no other.
    stub = ast.Module([ast.FunctionDef("stub", nothing, body, [], **spot)], [])
    # From Python 3.12 on, a function has parameters of types; an empty list where they are missing is deprecated.
    ast.fix_missing_locations(stub)
    made = compile(stub, filename.replace("\0", "?"), "exec", dont_inherit=True)
    code = next(one for one in made.co_consts if isinstance(one, types.CodeType))
    code = code.replace(co_name=name, co_qualname=qualified)
    at = (line, last_line, column, last_column)
    found = (index for index, one in enumerate(code.co_positions()) if one == at)
    instruction = 2 * next(found, 0) if has_columns else -1
    generator = types.FunctionType(code, {"__name__": module})()
    frame: types.FrameType = generator.gi_frame
    return frame, instruction


# --- whole -----------------------------------------------------------------------------------------------------------


def reduce_exception(error: BaseException, laid_out: set[int]) -> tuple[Any, ...]:
    """Return how to pickle an exception, as a `reducer_override` does.

    Args:
        error: The exception.
        laid_out: Ids of those of which the pickle has all that are behind them; empty for a new pickle.
    """
    cls = type(error)
    kind = _kind_of(cls)
    args, attributes = _args(error), _attributes(error)
    cause, context = _cause(error), _context(error)
    is_bare = cause is None and context is None and not attributes
    is_plain = is_bare and not kind.slots and not kind.is_opaque and not _suppress(error)
    if is_plain and ATOMS.issuperset(map(type, args)) and not isinstance(error, BaseExceptionGroup):
        return _make_plain, (cls, args, _trace_of(error))
    state = (
        _from_the_end(error, laid_out),
        args,
        {name: value for name, value in attributes.items() if name != "__reduce_ex__"},
        _slots_of(error, kind),
        cause,
        context,
        _suppress(error),
        _trace_of(error),
    )
    if kind.is_opaque:
        made = error.__reduce_ex__(4)
        if isinstance(made, str) or made[0] is None:
            raise TypeError(f"{cls.__name__} cannot be pickled")
        given = made[2] if len(made) > 2 else None  # noqa: PLR2004 - callable, arguments, state
        return _make_opaque, (cls, made[0], made[1], given, _text_of(error)), state, None, None, _restore
    if isinstance(error, BaseExceptionGroup):
        return _make_group, (cls, _message(error), _members(error)), state, None, None, _restore
    return _make, (cls,), state, None, None, _restore


def _from_the_end(error: BaseException, laid_out: set[int]) -> list[BaseException] | None:
    """Return the exceptions behind one, the most distant first, where they are many.

    A function that calls itself may leave a thousand, each the context of the next: pickled from the other end, none
    is within another.
    """
    if id(error) in laid_out:
        return None
    found = list(related(error))
    if len(found) < _MANY:
        return None
    laid_out.update(map(id, found))
    return found[:0:-1]


def _make_plain(cls: type[BaseException], args: tuple[Any, ...], trace: types.TracebackType | None) -> BaseException:
    made: BaseException = _kind_of(cls).new(cls)
    _set_args(made, args)
    _set_trace(made, trace)
    return made


def _make(cls: type[BaseException]) -> BaseException:
    made: BaseException = _kind_of(cls).new(cls)
    return made


def _make_group(cls: type[BaseException], message: str, members: tuple[BaseException, ...]) -> BaseException:
    made: BaseException = _kind_of(cls).new(cls, message, members)
    return made


def _make_opaque(
    cls: type[BaseException], make: Callable[..., Any], args: tuple[Any, ...], given: Any, text: str | None
) -> BaseException:
    made = make(*args)
    if hasattr(made, "__setstate__") and given is not None:
        made.__setstate__(given)
    if type(made) is not cls or _text_of(made) != text:
        raise TypeError(f"{cls.__name__} is pickled as something else")
    return made


def _restore(error: BaseException, state: tuple[Any, ...]) -> None:
    _, args, attributes, slots, cause, context, suppress, trace = state
    _set_args(error, args)
    _put(error, attributes)
    if slots:
        _put(error, slots)
    _set_cause(error, cause)
    _set_context(error, context)
    _set_suppress(error, suppress)
    _set_trace(error, trace)


def _text_of(error: BaseException) -> str | None:
    try:
        return str(error)
    except BaseException:
        return None


# --- in pieces -------------------------------------------------------------------------------------------------------

_Part = tuple[str, Any]


class _Node(NamedTuple):
    """An exception of which each part can be read, or not, by itself."""

    classes: list[tuple[str, str, bytes | None]]
    """Its class and the bases of that, up to Python's own: module, name, and the class, packed."""
    made: bytes | None
    """What its own `__reduce__` says, packed; where only that knows."""
    message: str
    members: list[int]
    args: list[_Part]
    attributes: list[tuple[str, _Part]]
    slots: list[tuple[str, _Part]]
    cause: int | None
    context: int | None
    suppress: bool
    trace: _Trace | None
    text: str | None
    """What it says; `None` if it cannot say it."""


class Pieces:
    """An exception that can be pickled for sure; what comes out is as much of it as can be read."""

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = nodes

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_pieces, ([tuple(node) for node in self._nodes],)


def in_pieces(error: BaseException, pack: Callable[[Any], bytes]) -> Pieces:
    """Return an exception that can be pickled and read for sure, with words in place of what cannot.

    Args:
        error: Any exception.
        pack: Pickles something.
    """
    found = list(related(error))
    known = {id(one): number for number, one in enumerate(found)}
    return Pieces([_node(one, known, pack) for one in found])


def _node(error: BaseException, known: dict[int, int], pack: Callable[[Any], bytes]) -> _Node:
    def packed(value: Any) -> bytes | None:
        try:
            made = pack(value)
            _read(made)
        except BaseException:
            return None
        return made

    def part(value: Any) -> _Part:
        if type(value) in ATOMS:
            return "atom", value
        if id(value) in known:
            return "exception", known[id(value)]
        if type(value) in (list, tuple) and value and all(id(one) in known for one in value):
            return "exceptions", (type(value) is tuple, [known[id(one)] for one in value])
        return "packed", (packed(value), *_words_for(value))

    cls = type(error)
    kind = _kind_of(cls)
    cause, context = _cause(error), _context(error)
    classes = [one for one in cls.__mro__ if issubclass(one, BaseException)]
    last = next(number for number, one in enumerate(classes) if one.__module__ == "builtins")
    is_group = isinstance(error, BaseExceptionGroup)
    return _Node(
        classes=[(one.__module__, one.__qualname__, packed(one)) for one in classes[: last + 1]],
        made=_made_by_itself(error, packed) if kind.is_opaque else None,
        message=str(_message(error)) if is_group else "",
        members=[known[id(one)] for one in _members(error)] if is_group else [],
        args=[part(one) for one in _args(error)],
        attributes=[(name, part(one)) for name, one in _attributes(error).items() if name != "__reduce_ex__"],
        slots=[(name, part(one)) for name, one in (_slots_of(error, kind) or {}).items()],
        cause=known[id(cause)] if cause is not None else None,
        context=known[id(context)] if context is not None else None,
        suppress=bool(_suppress(error)),
        trace=_trace_of(error),
        text=_text_of(error),
    )


def _made_by_itself(error: BaseException, packed: Callable[[Any], bytes | None]) -> bytes | None:
    try:
        made = error.__reduce_ex__(4)
    except BaseException:
        return None
    return packed(made[:3]) if isinstance(made, tuple) else None


def _words_for(value: Any) -> tuple[str, str]:
    shown = []
    for words in (repr, str):
        try:
            shown.append(words(value)[:_SHOWN])
        except BaseException:
            shown.append(f"<{type(value).__name__}>")
    return shown[0], shown[1]


def _read(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - from our own worker, over a connection that asks for a key


def _from_pieces(parts: list[tuple[Any, ...]]) -> BaseException:
    nodes = [_Node(*one) for one in parts]
    classes = [_readable_class(one) for one in nodes]
    made = _assembled(nodes, classes)
    texts = [(number, node.text) for number, node in enumerate(nodes) if node.text is not None]
    changed = [number for number, text in texts if _text_of(made[number]) != text]
    if changed:
        for number in changed:
            classes[number] = _named_like(classes[number], *nodes[number].classes[0][:2])
        made = _assembled(nodes, classes)
    return made[0]


def _assembled(nodes: list[_Node], classes: list[type[BaseException]]) -> dict[int, BaseException]:
    made: dict[int, BaseException] = {}
    todo = list(range(len(nodes)))
    while todo:
        node = nodes[todo[-1]]
        missing = [one for one in node.members if one not in made]
        if missing:
            # A group is made of its members; what it was caused by is added afterwards.
            todo += missing
            continue
        number = todo.pop()
        if number not in made:
            made[number] = _made_of(node, classes[number], [made[one] for one in node.members])
    for number, node in enumerate(nodes):
        _fill(made[number], node, made)
    return made


def _made_of(node: _Node, cls: type[BaseException], members: list[BaseException]) -> BaseException:
    try:
        if _kind_of(cls).is_opaque:
            make, args, *given = _read(node.made or b"")
            return _make_opaque(cls, make, args, given[0] if given else None, node.text)
        return _make_group(cls, node.message, tuple(members)) if members else _make(cls)
    except BaseException:
        base = next((one for one in cls.__mro__ if one.__module__ == "builtins"), Exception)
        named = _named_like(base, *node.classes[0][:2])
        return _make_group(named, node.message, tuple(members)) if members else _make(named)


def _fill(error: BaseException, node: _Node, made: dict[int, BaseException]) -> None:
    def whole(part: _Part) -> Any:
        kind, value = part
        if kind == "exception":
            return made[value]
        if kind == "exceptions":
            is_tuple, numbers = value
            found = [made[one] for one in numbers]
            return tuple(found) if is_tuple else found
        if kind == "packed":
            data, shown, text = value
            try:
                return _read(data) if data is not None else NotSent(shown, text)
            except BaseException:
                return NotSent(shown, text)
        return value

    if isinstance(error, _Retold):
        error.told = node.text
    _set_args(error, tuple(whole(one) for one in node.args))
    _put(error, {name: whole(one) for name, one in node.attributes + node.slots})
    _set_cause(error, made[node.cause] if node.cause is not None else None)
    _set_context(error, made[node.context] if node.context is not None else None)
    _set_suppress(error, node.suppress)
    _set_trace(error, node.trace)


def _readable_class(node: _Node) -> type[BaseException]:
    """Return an exception's class, or one of its name that is derived from the first of its bases that is known."""
    for number, (_, _, data) in enumerate(node.classes):
        try:
            found = _read(data) if data is not None else None
        except BaseException:
            found = None
        if isinstance(found, type) and issubclass(found, BaseException):
            return found if number == 0 else _named_like(found, *node.classes[0][:2])
    return _named_like(Exception, *node.classes[0][:2])


class _Retold:
    """Says what another exception said that could not be sent whole."""

    told: str | None


def _make_class(base: type[BaseException], module: str, name: str) -> type[BaseException]:
    """Return a class of this name, derived from one that does not take notice of that."""
    tame: Any = next(one for one in base.__mro__ if _is_tame(one))

    def __str__(self: Any) -> str:  # noqa: N807 - as the name says
        text: str = self.told if self.told is not None else tame.__str__(self)
        return text

    content = {"__str__": __str__, "__slots__": ("told",), "__module__": module, "__qualname__": name}
    made: type[BaseException] = type(name.rpartition(".")[2], (tame, _Retold), content)
    return made


_named_like: Callable[[Any, str, str], type[BaseException]] = functools.lru_cache(maxsize=_KNOWN)(_make_class)


def _is_tame(cls: Any) -> bool:
    return (
        type(cls) is type
        and not _kind_of(cls).is_opaque
        and not any("__init_subclass__" in vars(one) for one in cls.__mro__ if one is not object)
    )


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Pickles also functions and classes that are defined in a notebook, and exceptions whole.

    Args:
        file: What is written to.
        take_buffer: As `pickle.Pickler`'s `buffer_callback`.
    """

    def __init__(self, file: Any, take_buffer: Any = None) -> None:
        mend_cloudpickle()
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=take_buffer)
        self._laid_out: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle an object, or `NotImplemented` for what others know better."""
        if isinstance(obj, BaseException):
            return reduce_exception(obj, self._laid_out)
        if type(obj) is types.TracebackType:
            return reduce_traceback(obj)
        return super().reducer_override(obj)
