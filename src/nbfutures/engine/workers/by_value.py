"""What cloudpickle sends by value: mended where it cannot send something whole, or changes what is there already.

cloudpickle finds its reducers in a table that may be added to. Prefect, Dask and nbfutures use cloudpickle itself, Ray
has a copy: what is added to both of them holds for whatever is sent, in a function's job or as a task.
"""

from __future__ import annotations

import contextlib
import contextvars
import enum
import functools
import gc
import random
import sys
import types
import typing
import uuid
import weakref
from typing import TYPE_CHECKING, Any

import cloudpickle.cloudpickle

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_importable", "is_of_module", "mend_cloudpickle"]

_COPIES = ("cloudpickle.cloudpickle", "ray.cloudpickle.cloudpickle")
_mended: set[str] = set()


def mend_cloudpickle() -> None:
    """Have cloudpickle, and Ray's copy of it, carry what they cannot; again once Ray or NumPy have been loaded."""
    for name in _COPIES:
        copy: Any = sys.modules.get(name)
        if copy is not None and name not in _mended:
            _mended.add(name)
            copy.Pickler.dispatch_table.maps.insert(0, _reducers)
            # Without it, such as in a later version, classes travel as before.
            if hasattr(copy, "_dynamic_class_reduce"):
                copy._dynamic_class_reduce = functools.partial(_reduce_class, name)
    generators = sys.modules.get("numpy.random")
    if generators is not None and "numpy.random" not in _mended and hasattr(generators, "get_state"):
        _mended.add("numpy.random")
        _add(type(generators.get_state.__self__), _reduce_numpy_state)


def is_importable(value: Any) -> bool:
    """Tell whether a function, a class or the like is found by its name in another process."""
    name, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if not isinstance(name, str) or not isinstance(module, str) or module in ("__main__", "__mp_main__"):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value and not _is_sent_by_value(module)


def _is_sent_by_value(module: str) -> bool:
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(module == one or module.startswith(f"{one}.") for one in registered)


# --- classes: who has one keeps it ----------------------------------------------------------------------------------

_arrived: weakref.WeakSet[Any] = weakref.WeakSet()
"""The classes that were made here of what was sent. All others are this process's own, and nothing that arrives changes
them: in a kernel, they are the user's."""


def _reduce_class(copy: str, cls: type) -> tuple[Any, ...]:
    pickling: Any = sys.modules[copy]
    if issubclass(cls, enum.Enum):
        state, slots = pickling._enum_getstate(cls)
        members: Any = cls.__members__
        for name in members:
            state.pop(name, None)
        carried = {name: _attributes(member) for name, member in members.items()}
        given = pickling._enum_getnewargs(cls)
        values = {name: (member._value_, _contents(cls, member)) for name, member in members.items()}
        given = (*given[:3], values, *given[4:])
        return _make_enum, (copy, *given), (state, slots, carried), None, None, functools.partial(_fill_class, copy)
    given, state = pickling._class_getnewargs(cls), (*pickling._class_getstate(cls), {})
    # Left out by cloudpickle, and part of what tracebacks and `repr` say.
    given[3]["__qualname__"] = cls.__qualname__
    return _make_class, (copy, *given), state, None, None, functools.partial(_fill_class, copy)


def _make_class(copy: str, *given: Any) -> Any:
    """Return the class that is here already, or one that is still empty."""
    constructor, name, bases, kwargs, key, extra = given
    pickling: Any = sys.modules[copy]
    known = pickling._DYNAMIC_CLASS_TRACKER_BY_ID.get(key)
    # Before a class is made, which would enter it with those above it.
    if known is not None:
        return known
    make = functools.partial(pickling._make_skeleton_class, constructor, name)
    made = None
    if any("__init_subclass__" in vars(one) and one in _arrived for base in bases for one in _mro(base)):
        # What the classes above do with a new one was done in the kernel, and cannot be with an empty one.
        for quiet in (_Quiet, _QuietWithSlots):
            with contextlib.suppress(TypeError):
                made = make((quiet, *bases), kwargs, None, extra)
                made.__bases__ = types.resolve_bases(bases)
                made = pickling._lookup_class_or_track(key, made)
                break
            made = None
    if made is None:
        made = make(bases, kwargs, key, extra)
    _arrived.add(made)
    return made


class _Quiet:
    def __init_subclass__(cls, **given: Any) -> None:
        pass


class _QuietWithSlots:
    __slots__ = ()
    __init_subclass__ = _Quiet.__init_subclass__


def _mro(base: Any) -> tuple[Any, ...]:
    return getattr(base, "__mro__", ())


def _make_enum(copy: str, *given: Any) -> Any:
    """As `_make_class`; with all names of its members, and with what `__new__` made of them."""
    bases, name, qualname, values, module, key, _ = given
    pickling: Any = sys.modules[copy]
    known = pickling._DYNAMIC_CLASS_TRACKER_BY_ID.get(key)
    if known is not None:
        return known
    kind: Any = type(bases[-1])
    space = kind.__prepare__(name, bases)
    prepared = []
    for member, (value, contents) in values.items():
        space[member] = enum.member(value) if hasattr(type(value), "__get__") else value
        if contents is not None:
            prepared.append((value, contents))
    if prepared:
        turns = iter(prepared)

        def make(cls: Any, *_: Any) -> Any:
            value, (base, args) = next(turns)
            member = base.__new__(cls, *args)
            member._value_ = value
            return member

        space["__new__"] = make
    made = kind.__new__(kind, name, bases, space)
    made.__module__, made.__qualname__ = module, qualname
    made = pickling._lookup_class_or_track(key, made)
    _arrived.add(made)
    return made


def _contents(cls: Any, member: Any) -> tuple[Any, Any] | None:
    """Return the type that an enum's members are besides, and what one of them is as such, if the enum makes them."""
    if "__new_member__" not in vars(cls):
        return None
    base = cls._member_type_
    read = getattr(base, "__getnewargs__", None)
    return base, tuple(read(member)) if read is not None else ()


_MEMBERS_OWN = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


def _attributes(member: Any) -> dict[str, Any]:
    return {name: value for name, value in getattr(member, "__dict__", {}).items() if name not in _MEMBERS_OWN}


def _fill_class(copy: str, cls: Any, sent: tuple[Any, ...]) -> Any:
    """Have a class that came from elsewhere as it is there; one of this process's own stays as it is."""
    if cls not in _arrived:
        return cls
    state, slots, members = sent
    for name, value in list(vars(cls).items()):
        gone = name not in state and not (name.startswith("__") and name.endswith("__"))
        if gone and not isinstance(cls, enum.EnumType) and not isinstance(value, _OF_SLOTS):
            with contextlib.suppress(AttributeError, TypeError):
                delattr(cls, name)
    pickling: Any = sys.modules[copy]
    pickling._class_setstate(cls, (state, slots))
    for name, attributes in members.items():
        vars(cls.__members__[name]).update(attributes)
    return cls


_OF_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)


# --- what has locks, or is known by its name only ---------------------------------------------------------------------

_reducers: dict[type, Callable[[Any], Any]] = {}


def _add(kind: type, reducer: Callable[[Any], Any]) -> None:
    _reducers[kind] = reducer


def _reduce_cached(cached: Any) -> Any:
    if is_importable(cached):
        return cached.__qualname__
    own = {name: value for name, value in vars(cached).items() if name not in _WRAPPERS_OWN}
    return _cached, (cached.__wrapped__, cached.cache_parameters()), own


_WRAPPERS_OWN = frozenset({"__wrapped__", "cache_parameters"})


def _cached(fn: Any, parameters: dict[str, Any]) -> Any:
    """Return a function with a cache, which is empty."""
    return functools.lru_cache(**parameters)(fn)


def _reduce_cached_property(made: Any) -> Any:
    # Before Python 3.12, it has a lock.
    return functools.cached_property, (made.func,), {name: one for name, one in vars(made).items() if name != "lock"}


def _reduce_key(key: Any) -> Any:
    # It tells its function to nobody else.
    held = [one for one in gc.get_referents(key) if one is not type(key)]
    if len(held) != 1 or not callable(held[0]):
        raise TypeError("cannot pickle a key that functools.cmp_to_key has made of a value")
    return functools.cmp_to_key, (held[0],)


def _reduce_new_type(made: Any) -> Any:
    if is_importable(made):
        return made.__qualname__
    return _new_type, (made.__qualname__, made.__supertype__, made.__module__)


def _new_type(name: str, supertype: Any, module: str) -> Any:
    made = typing.NewType(name, supertype)  # type: ignore[misc]  # a copy of one whose name is only known here
    made.__module__ = module
    return made


def _reduce_param_spec(made: Any) -> Any:
    if is_importable_as(made, made.__name__):
        return made.__name__
    bound = made.__bound__
    variance = {"covariant": made.__covariant__, "contravariant": made.__contravariant__}
    return _param_spec, (made.__name__, bound, variance, made.__module__)


def _param_spec(name: str, bound: Any, variance: dict[str, bool], module: str) -> Any:
    made = typing.ParamSpec(name, bound=bound, **variance)  # type: ignore[misc]  # as above
    made.__module__ = module
    return made


def _reduce_type_var_tuple(made: Any) -> Any:
    if is_importable_as(made, made.__name__):
        return made.__name__
    return typing.TypeVarTuple, (made.__name__,)


def is_importable_as(value: Any, name: str) -> bool:
    """Tell whether something is found under a name in its module in another process."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or module in ("__main__", "__mp_main__") or _is_sent_by_value(module):
        return False
    return getattr(sys.modules.get(module), name, None) is value


def _reduce_reference(reference: Any) -> Any:
    target = reference()
    return (weakref.ref, (target,)) if target is not None else (_dead_reference, ())


def _dead_reference() -> Any:
    return weakref.ref(_Gone())


class _Gone:
    pass


def _reduce_weak_dictionary(made: Any) -> Any:
    # Its items come once it is known: they may lead back to it.
    return type(made), (), None, None, iter(list(made.items()))


_context_ids: dict[Any, str] = {}
_context_vars: dict[str, Any] = {}


def _reduce_context_var(variable: Any) -> Any:
    key = _context_ids.setdefault(variable, uuid.uuid4().hex)
    _context_vars[key] = variable
    default: tuple[Any, ...]
    try:
        default = (contextvars.Context().run(variable.get),)
    except LookupError:
        default = ()
    return _context_var, (key, variable.name, default)


def _context_var(key: str, name: str, default: tuple[Any, ...]) -> Any:
    """Return the variable that is known by a key: the same one whatever it is sent with."""
    made = _context_vars.get(key)
    if made is None:
        given: Any = {"default": default[0]} if default else {}
        made = _context_vars.setdefault(key, contextvars.ContextVar(name, **given))
        _context_ids[made] = key
    return made


# --- the generators that modules have: those of the other process take their place ------------------------------------


def is_of_module(generator: Any) -> bool:
    """Tell whether a generator is the one behind the functions of `random` or of `numpy.random`."""
    return generator is _random_state() or ("numpy.random" in _mended and generator is _numpy_state())


def _reduce_random(generator: Any) -> Any:
    if generator is _random_state():
        return _random_state, ()
    return generator.__reduce__()


def _random_state() -> Any:
    """Return the generator behind `random.random` and the other functions."""
    return random.seed.__self__  # type: ignore[attr-defined]  # a method of it


def _reduce_numpy_state(generator: Any) -> Any:
    if generator is _numpy_state():
        return _numpy_state, ()
    return generator.__reduce__()


def _numpy_state() -> Any:
    """Return the generator behind `numpy.random.rand` and the other functions."""
    import numpy as np

    return np.random.get_state.__self__  # type: ignore[attr-defined]  # a method of it


_add(type(functools.lru_cache(_cached)), _reduce_cached)
_add(functools.cached_property, _reduce_cached_property)
_add(type(functools.cmp_to_key(max)), _reduce_key)
_add(typing.NewType, _reduce_new_type)
_add(typing.ParamSpec, _reduce_param_spec)
_add(typing.TypeVarTuple, _reduce_type_var_tuple)
_add(weakref.ref, _reduce_reference)
_add(weakref.WeakKeyDictionary, _reduce_weak_dictionary)
_add(weakref.WeakValueDictionary, _reduce_weak_dictionary)
_add(contextvars.ContextVar, _reduce_context_var)
_add(random.Random, _reduce_random)
_add(random.SystemRandom, lambda _: (random.SystemRandom, ()))
mend_cloudpickle()
