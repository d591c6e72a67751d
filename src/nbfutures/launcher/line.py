"""The Python that does what a form does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbfutures.launcher.entries import EntryError
from nbfutures.launcher.references import refer_to, refer_to_package

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbfutures.launcher.entries import Argument
    from nbfutures.launcher.fields import Target

__all__ = ["Call", "arrange", "write_line"]

_TAKEN = {"fn", "flow"}
"""Parameters of `nbf.map`, `nbf.submit` and `nbf.run` themselves; those of a `Submitter` have no names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a form submits."""

    verb: str
    """map, submit or run."""
    positional: tuple[Argument, ...]
    keyword: tuple[Argument, ...]


def arrange(target: Target, arguments: Sequence[Argument]) -> Call:
    """Decide how to pass the arguments: what is required by position, the others by name.

    Args:
        target: What is submitted.
        arguments: Those that are given, in the order of the fields.

    Raises:
        EntryError: If an argument that can be passed by position only is left out before one that is given.
    """
    given = {argument.field.name: argument for argument in arguments}
    positional: list[Argument] = []
    keyword: list[Argument] = []
    left_out = None
    for field in target.fields:
        argument = given.get(field.name)
        if argument is None:
            left_out = left_out or field.name
        elif field.is_positional_only:
            if left_out is not None:
                raise EntryError(f"Needed, since {field.name}, which is given, is passed after it.", left_out)
            positional.append(argument)
        elif field.is_required and not field.is_keyword_only:
            positional.append(argument)
        else:
            keyword.append(argument)
    is_map = any(argument.is_mapped for argument in arguments)
    verb = "run" if target.is_flow else "map" if is_map else "submit"
    return Call(verb=verb, positional=tuple(positional), keyword=tuple(keyword))


def write_line(
    target: Target, call: Call, options: Sequence[Argument], variable: str, namespace: Mapping[str, Any]
) -> str:
    """Write the Python that submits the same.

    Args:
        target: What is submitted.
        call: Its arguments.
        options: Options of the job that are set.
        variable: What the job is bound to; nothing if empty.
        namespace: The notebook's variables, whose names are used.

    Returns:
        Statements, the imports that they need first.

    Raises:
        EntryError: If the notebook has no name for something.
    """
    package = refer_to_package(namespace)
    function = refer_to(target.target, namespace)
    if function is None:
        raise EntryError(
            f"The notebook has no variable that holds {target.name}. Give it a name to get a line of Python."
        )
    imports = [*package.imports, *function.imports]
    written = [function.code]
    names = [""] * len(call.positional) + [f"{argument.field.name}=" for argument in call.keyword]
    for name, argument in zip(names, (*call.positional, *call.keyword), strict=True):
        if argument.code is None:
            raise EntryError(f"The notebook has no name for the value of {argument.field.name}.")
        imports.extend(argument.imports)
        is_whole = call.verb == "map" and not argument.is_mapped and not argument.is_scalar
        written.append(name + (f"{package.code}.unmapped({argument.code})" if is_whole else argument.code))
    settings = ", ".join(f"{option.field.name}={option.code}" for option in options)
    has_taken = any(argument.field.name in _TAKEN for argument in call.keyword)
    submitter = f"{package.code}.options({settings})" if settings or has_taken else package.code
    bound = f"{variable} = " if variable else ""
    return "\n".join([*dict.fromkeys(imports), f"{bound}{submitter}.{call.verb}({', '.join(written)})"])
