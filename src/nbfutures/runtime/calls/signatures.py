"""How arguments meet the parameters of a function: binding them when a job is made, and passing them for each call."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from nbfutures.errors import MapArgumentsError
from nbfutures.model.options import JobOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Layout", "bind", "call_with", "layout_of", "signature_of"]

_OPTIONS = frozenset(field.name for field in dataclasses.fields(JobOptions))
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Layout(NamedTuple):
    """How to pass arguments that are given by parameter name."""

    positional: list[str]
    keyword: list[str]
    variadic: str | None
    """The name among `positional` that stands for `*args`."""


def layout_of(fn: Callable[..., Any], names: Sequence[str]) -> Layout:
    """Return how `fn` takes arguments of these names."""
    signature = signature_of(fn)
    if signature is None:
        return Layout(list(names), [], None)
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


def call_with(fn: Callable[..., Any], arguments: Mapping[str, Any], layout: Layout | None = None) -> Any:
    """Call `fn` with arguments given by parameter name, as Prefect does."""
    layout = layout or layout_of(fn, list(arguments))
    args: list[Any] = []
    for name in layout.positional:
        if name == layout.variadic:
            args.extend(arguments[name])
        else:
            args.append(arguments[name])
    return fn(*args, **{name: arguments[name] for name in layout.keyword})


def bind(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Bind arguments to the parameters of `fn`, without its defaults; `**kwargs` are spread out.

    Args:
        fn: The function.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        Parameter name to argument. For a builtin without a signature the names are `arg0`, `arg1`, ...

    Raises:
        MapArgumentsError: If the arguments do not fit.
    """
    signature = signature_of(fn)
    if signature is None:
        if kwargs:
            raise MapArgumentsError(
                f"{_name(fn)}() tells no parameter names, so that it takes positional arguments only. "
                f"Wrap it: lambda x: {_name(fn)}(x, ...)."
            )
        return {f"arg{number}": value for number, value in enumerate(args)}
    try:
        bound = dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        meant = [name for name in kwargs if name in _OPTIONS and name not in signature.parameters]
        advice = (
            f"To set how it runs: nbf.options({', '.join(f'{name}=...' for name in meant)}).map(...)."
            if meant
            else "Give one argument for each parameter."
        )
        raise MapArgumentsError(f"{_name(fn)}{signature} cannot be called like that: {error}. {advice}") from None
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and parameter.name in bound:
            bound.update(bound.pop(parameter.name))
    return bound


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of `fn`; `None` if it tells none, as some builtins do."""
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError):
        return None


def _name(fn: Any) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__))
