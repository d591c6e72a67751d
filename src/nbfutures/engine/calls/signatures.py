"""How arguments meet the parameters of a function: binding them when a job is made, and passing them for each call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from nbfutures.engine.calls.prefect_types import is_prefect_task
from nbfutures.errors import MapArgumentsError
from nbfutures.model.attributes import own_attribute
from nbfutures.model.options import JobOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "ROW",
    "Bound",
    "Layout",
    "as_called",
    "bind",
    "bind_for_prefect",
    "layout_of",
    "name_of_callable",
    "signature_of_call",
]

_OPTIONS = frozenset(field.name for field in dataclasses.fields(JobOptions))
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_CACHED = type(functools.lru_cache(len))
_UNKNOWN = object()
ROW = "*row"
"""The name of what `starmap` unpacks for a call."""


class Layout(NamedTuple):
    """How to pass arguments that are kept by name."""

    positional: list[str]
    keyword: list[str]
    variadic: str | None = None
    """The name among `positional` whose values are passed one by one, as `*args` is."""

    def split(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments."""
        args: list[Any] = []
        for name in self.positional:
            if name == self.variadic:
                args.extend(arguments[name])
            else:
                args.append(arguments[name])
        return args, {name: arguments[name] for name in self.keyword}

    def call(self, fn: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Call `fn` with arguments that are kept by name."""
        args, kwargs = self.split(arguments)
        return fn(*args, **kwargs)


class Bound(NamedTuple):
    """Arguments by name, and how to pass them."""

    arguments: dict[str, Any]
    layout: Layout


def bind(target: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, how: str = "map") -> Bound:
    """Name the arguments of a call, without the function's defaults; `**kwargs` are spread out.

    Of a plain function whatever Python would call is accepted, and passed as it was written: what counts is the
    function that is called, which may be a decorator's and take anything. Names are those of the function that it
    decorates where the arguments fit that, too; each further argument of `*args` has a name of its own, as `args[0]`.
    Of a Prefect task, Prefect's rules hold: `*args` is one argument.

    Args:
        target: The function, or Prefect task.
        args: Positional arguments.
        kwargs: Keyword arguments.
        how: What the user called, for the message: "map", "submit".

    Raises:
        MapArgumentsError: If the arguments do not fit.
    """
    if is_prefect_task(target):
        return _bound_for_prefect(target.fn, args, kwargs, how)  # type: ignore[attr-defined]
    signature = _called_signature(target)
    if signature is not None:
        _check(target, signature, args, kwargs, how)
    names = _positional_names(signature, len(args))
    if not all(map(str.isidentifier, names)) or len(names) < len(args):
        declared = _declared_signature(target)
        names = _positional_names(declared, len(args)) if _takes(declared, args, kwargs) else names
        names += [f"arg{number}" for number in range(len(names), len(args))]
    # `def f(x, /, **others)` can be given an `x` of each kind.
    names = [f"{name} (by position)" if name in kwargs else name for name in names]
    return Bound({**dict(zip(names, args, strict=True)), **kwargs}, Layout(names, list(kwargs)))


def bind_for_prefect(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of one call by the names that Prefect gives them, `*args` as one.

    Raises:
        MapArgumentsError: If they do not fit.
    """
    return _bound_for_prefect(fn, args, kwargs, "submit").arguments


def _bound_for_prefect(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], how: str) -> Bound:
    signature = _declared_signature(fn)
    if signature is None:
        raise MapArgumentsError(f"{name_of_callable(fn)}() tells no parameter names, which Prefect needs. Wrap it.")
    _check(fn, signature, args, kwargs, how)
    bound = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and parameter.name in bound:
            bound.update(bound.pop(parameter.name))
    return Bound(bound, _by_name(signature, list(bound)))


def layout_of(target: Callable[..., Any], names: Sequence[str], before: Layout) -> Layout | None:
    """Return how another function takes arguments that were kept for one: by their names, else as they were passed.

    Args:
        target: The function, or Prefect task.
        names: The names of the arguments.
        before: How the other function took them.

    Returns:
        The layout; `None` if it does not take them.
    """
    is_task = is_prefect_task(target)
    signature = _declared_signature(target.fn) if is_task else _called_signature(target)  # type: ignore[attr-defined]
    if signature is None or before.variadic == ROW:
        return before
    has_names = is_task or all(map(str.isidentifier, names))
    # Whoever has names for all its parameters is to have these.
    is_nameless = any(parameter.kind in _NAMELESS for parameter in signature.parameters.values())
    as_before = [before] if not is_task and (is_nameless or not has_names) else []
    for layout in (*([_by_name(signature, names)] if has_names else []), *as_before):
        args, kwargs = layout.split(dict.fromkeys(names, ()))
        if _takes(signature, args, kwargs):
            return layout
    return None


def _called_signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of what is really called, and not of what it decorates; `None` if that is not known."""
    return _signature(_bare(fn), follow_wrapped=False)


def as_called(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that Prefect takes for what it is: for a decorator's function, not for what that decorates."""
    if not isinstance(fn, types.FunctionType) or not {"__wrapped__", "__signature__"} & fn.__dict__.keys():
        return fn
    made = _without_attributes(fn)
    made.__dict__.update(fn.__dict__)
    for name in ("__wrapped__", "__signature__"):
        made.__dict__.pop(name, None)
    made.__module__, made.__qualname__, made.__doc__ = fn.__module__, fn.__qualname__, fn.__doc__
    return made


def signature_of_call(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.Signature:
    """Return a signature that takes just these arguments."""
    names = bind(fn, args, kwargs).layout.positional
    names = [name if name.isidentifier() else f"arg{number}" for number, name in enumerate(names)]
    return inspect.Signature(
        [
            *(inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names),
            *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in kwargs),
        ]
    )


def name_of_callable(fn: Any) -> str:
    """Return what people call a function, or the name of the type of something else that can be called."""
    while issubclass(type(fn), functools.partial | types.MethodType):
        fn = fn.func if issubclass(type(fn), functools.partial) else fn.__func__
    found = own_attribute(fn, "__name__")
    return found if isinstance(found, str) else type(fn).__name__


def _bare(fn: Any) -> Any:
    """Return something with the same parameters that `inspect` reads from code, not from what its attributes claim."""
    made = fn
    call = inspect.getattr_static(type(fn), "__call__", None)
    if type(fn) is types.FunctionType:
        made = _without_attributes(fn)
    elif type(fn) is types.MethodType:
        made = types.MethodType(_bare(fn.__func__), fn.__self__)
    elif type(fn) is functools.partial:
        made = functools.partial(_bare(fn.func), *fn.args, **fn.keywords)
    elif type(fn) is _CACHED:
        made = _bare(fn.__wrapped__)
    elif type(call) is types.FunctionType and not issubclass(type(fn), type):
        made = types.MethodType(_bare(call), fn)
    elif inspect.getattr_static(fn, "__wrapped__", None) is not None and not issubclass(type(fn), type):
        # What a wrapper that is written in C does with its arguments, nobody knows.
        made = _UNKNOWN
    return made


def _without_attributes(fn: types.FunctionType) -> types.FunctionType:
    made = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    made.__kwdefaults__ = fn.__kwdefaults__
    return made


def _declared_signature(fn: Any) -> inspect.Signature | None:
    if isinstance(inspect.getattr_static(type(fn), "__call__", None), types.FunctionType) and not any(
        inspect.getattr_static(fn, name, None) is not None for name in ("__wrapped__", "__signature__")
    ):
        # An object of the user's that claims nothing, or to have every attribute.
        return _called_signature(fn)
    return _signature(fn, follow_wrapped=True)


def _signature(fn: Any, *, follow_wrapped: bool) -> inspect.Signature | None:
    # Objects of users' classes may raise anything when they are looked at.
    with contextlib.suppress(Exception):
        return inspect.signature(fn, follow_wrapped=follow_wrapped)
    return None


def _takes(signature: inspect.Signature | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if signature is None:
        return False
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _positional_names(signature: inspect.Signature | None, count: int) -> list[str]:
    """Return the names of so many positional arguments, as far as there are any."""
    names: list[str] = []
    for parameter in signature.parameters.values() if signature is not None else ():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return [*names[:count], *(f"{parameter.name}[{number}]" for number in range(count - len(names)))]
        if parameter.kind in _POSITIONAL:
            names.append(parameter.name)
    return names[:count]


def _by_name(signature: inspect.Signature, names: Sequence[str]) -> Layout:
    """Return how a function takes arguments of these names: by position as far as these have no gap."""
    positional: list[str] = []
    variadic = None
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            if parameter.name in names:
                positional.append(parameter.name)
                variadic = parameter.name
            break
        if parameter.kind not in _POSITIONAL or parameter.name not in names:
            break
        positional.append(parameter.name)
    return Layout(positional, [name for name in names if name not in positional], variadic)


def _check(
    fn: Callable[..., Any], signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], how: str
) -> None:
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = name_of_callable(fn)
        advice = _advice(name, signature, args, kwargs, how)
        raise MapArgumentsError(f"{name}{signature} cannot be called like that: {error}. {advice}") from None


def _advice(name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], how: str) -> str:
    meant = [option for option in kwargs if option in _OPTIONS and option not in signature.parameters]
    if meant:
        return f"To set how it runs: nbf.options({', '.join(f'{option}=...' for option in meant)}).map(...)."
    try:
        signature.bind_partial(*args, **kwargs)
    except TypeError:
        return "Give one argument for each parameter."
    if len(args) != 1:
        return "Give one argument for each parameter."
    # Some parameters have nothing, and there is one argument: most often it holds pairs.
    if how == "map":
        needed = [
            one.name
            for one in signature.parameters.values()
            if one.kind in _POSITIONAL and one.default is one.empty and one.name not in kwargs
        ]
        columns = ", ".join(f"{one}s" for one in needed)
        return (
            f"Where each element holds all arguments, as the pairs of zip() or dict.items() do, write "
            f"nbf.starmap({name}, ...); or map over one iterable for each parameter: nbf.map({name}, {columns})."
        )
    if how == "submit" and isinstance(args[0], tuple | list):
        return f"Where the one argument holds all of them, write nbf.submit({name}, *arguments)."
    return "Give one argument for each parameter."
