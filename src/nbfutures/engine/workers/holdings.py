"""What a function, an instance or a container holds, by the names that its user knows."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from nbfutures.engine.workers.by_value import is_importable
from nbfutures.engine.workers.weighing import weigh

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["can_be_packed", "holdings", "unpicklable_part"]

_DEEP = 12
_MANY = 10_000
"""Elements of one container that are looked at."""


def unpicklable_part(value: Any, words: str) -> str:
    """Return words for the innermost part of something that cannot be pickled: "the attribute 'lock' of `words`".

    Args:
        value: It.
        words: What people call it: "the argument 'pool' of fetch".
    """
    seen: set[int] = set()
    for _ in range(_DEEP):
        seen.add(id(value))
        found = next(
            (one for one in holdings(value, words) if id(one[1]) not in seen and not can_be_packed(one[1])), None
        )
        if found is None:
            break
        words, value = found
    return words


def holdings(value: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Yield what something holds and takes along when it is sent, with words for each.

    Args:
        value: It.
        words: What people call it.
    """
    # A mock says that it is whatever it stands for: types are asked.
    kind = type(value)
    if issubclass(kind, types.MethodType):
        yield f"'self' (a {type(value.__self__).__name__}) of {_name(value, words)}", value.__self__
        yield words, value.__func__
    elif issubclass(kind, functools.partial):
        yield words, value.func
        yield from ((f"an argument of {words}", one) for one in value.args)
        yield from ((f"the argument {name!r} of {words}", one) for name, one in value.keywords.items())
    elif issubclass(kind, dict | list | tuple | set | frozenset):
        yield from _of_container(value, words)
    elif not is_importable(value):
        special = {types.FunctionType: _of_function}.get(type(value), _of_instance)
        yield from (_of_class if issubclass(kind, type) else special)(value, words)


def _of_container(value: Any, words: str) -> Iterator[tuple[str, Any]]:
    if issubclass(type(value), dict):
        for key, one in list(value.items())[:_MANY]:
            yield (f"the value at {key!r} of {words}" if isinstance(key, str | int) else f"a value of {words}"), one
            yield f"a key of {words}", key
        return
    is_ordered = issubclass(type(value), list | tuple)
    for number, one in enumerate(list(value)[:_MANY]):
        yield (f"element {number} of {words}" if is_ordered else f"an element of {words}"), one


def _of_function(fn: Any, words: str) -> Iterator[tuple[str, Any]]:
    name = _name(fn, words)
    code = fn.__code__
    for one in dict.fromkeys(_names(code)):
        if one in fn.__globals__:
            held = fn.__globals__[one]
            yield (f"the variable {one!r} that {name} uses"), held
    for variable, cell in zip(code.co_freevars, fn.__closure__ or (), strict=False):
        try:
            yield f"the variable {variable!r} that {name} uses", cell.cell_contents
        except ValueError:
            continue
    defaults = fn.__defaults__ or ()
    parameters = code.co_varnames[: code.co_argcount]
    yield from (
        (f"the default of {parameter!r} of {name}", one)
        for parameter, one in zip(parameters[len(parameters) - len(defaults) :], defaults, strict=False)
    )
    yield from (
        (f"the default of {parameter!r} of {name}", one) for parameter, one in (fn.__kwdefaults__ or {}).items()
    )
    for attribute, one in vars(fn).items():
        yield (words if attribute == "__wrapped__" else f"the attribute {attribute!r} of {name}"), one


def _of_class(cls: type, words: str) -> Iterator[tuple[str, Any]]:
    yield from ((f"the class {base.__name__}", base) for base in cls.__bases__)
    for attribute, one in vars(cls).items():
        if attribute in ("__dict__", "__weakref__", "__doc__", "__module__", "_abc_impl"):
            continue
        inner = getattr(one, "__func__", None) or getattr(one, "fget", None) or getattr(one, "__wrapped__", None) or one
        yield (f"{cls.__name__}.{attribute}" if callable(inner) else f"the attribute {attribute!r} of {words}"), inner


def _of_instance(value: Any, words: str) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind.__module__ == "builtins":
        return
    wrapped = getattr(value, "__wrapped__", None) if callable(value) else None
    if isinstance(wrapped, types.FunctionType):
        yield words, wrapped
        return
    try:
        # An attribute that it leaves out is not to blame.
        state: Any = value.__getstate__()
    except Exception:
        state = None
    parts = state if isinstance(state, tuple) else (state,)
    for part in parts:
        if isinstance(part, dict):
            yield from ((f"the attribute {name!r} of {words}", one) for name, one in part.items())
        elif part is not None and part is not value:
            yield words, part
    yield f"the class {kind.__name__}", kind


def _name(fn: Any, words: str) -> str:
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else words


def _names(code: types.CodeType) -> list[str]:
    """Return the names that code uses, that of the functions inside it included."""
    found = list(code.co_names)
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            found += _names(one)
    return found


def can_be_packed(value: Any) -> bool:
    """Tell whether something can be sent, as far as a look of some seconds tells."""
    try:
        weigh(value)
    except Exception:
        return False
    return True
