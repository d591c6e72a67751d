"""How a notebook writes down an object: by a variable's name, or after an import."""

from __future__ import annotations

import builtins
import contextvars
import html
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbfutures.api import Job

__all__ = ["Place", "Reference", "refer_to", "refer_to_package"]


class Place:
    """The cell that showed the form last; at first the one that made it."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    def take(self, widget: Any, words: str, **kwargs: Any) -> dict[str, Any]:
        """Make the running cell the place, and return what it shows of a widget.

        Where there are no widgets, as in a terminal or in a saved notebook, the words are shown.
        """
        self._context = contextvars.copy_context()
        made = widget._repr_mimebundle_(**kwargs)
        data: dict[str, Any] = dict(made[0] if isinstance(made, tuple) else made)
        return {**data, "text/plain": words, "text/html": f"<p>{html.escape(words)}</p>"}

    def show(self, job: Job) -> None:
        """Show a job below the form, as an output of its cell.

        What a button's callback displays belongs to no cell, and JupyterLab puts it into its log. ipykernel knows the
        cell by context variables. An `Output` widget would take no updates, and nothing of it would be saved.
        """
        self._context.copy().run(job._ipython_display_)


@dataclass(frozen=True, slots=True)
class Reference:
    """Python for an object."""

    code: str
    """The expression."""
    imports: tuple[str, ...] = ()
    """Statements that it needs first."""


def refer_to(thing: Any, namespace: Mapping[str, Any]) -> Reference | None:
    """Return how code in `namespace` writes `thing`, a function, class or method; `None` if it cannot."""
    own = getattr(thing, "__name__", None)
    if isinstance(own, str) and namespace.get(own) is thing and own.isidentifier():
        return Reference(own)
    name = _variable(thing, namespace)
    if name is not None:
        return Reference(name)
    if isinstance(thing, types.MethodType):
        owner = refer_to(thing.__self__, namespace)
        return None if owner is None else Reference(f"{owner.code}.{thing.__name__}", owner.imports)
    return _from_module(thing, namespace)


def refer_to_package(namespace: Mapping[str, Any]) -> Reference:
    """Return how code in `namespace` writes the package `nbfutures`."""
    # Asked by its name: the package's root stands above this layer.
    name = _variable(sys.modules["nbfutures"], namespace)
    if name is not None:
        return Reference(name)
    if "nbf" in namespace:
        return Reference("nbfutures", ("import nbfutures",))
    return Reference("nbf", ("import nbfutures as nbf",))


def _variable(thing: Any, namespace: Mapping[str, Any]) -> str | None:
    names = (name for name, value in list(namespace.items()) if value is thing)
    return next((name for name in names if name.isidentifier() and not name.startswith("_")), None)


def _from_module(thing: Any, namespace: Mapping[str, Any]) -> Reference | None:
    module, path = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for step in path.split("."):
        found = getattr(found, step, None)
    if found is None or found is not thing:
        return None
    alias = _variable(sys.modules[module], namespace)
    if alias is not None:
        return Reference(f"{alias}.{path}")
    top, dot, rest = path.partition(".")
    if namespace.get(top, getattr(builtins, top, None)) is getattr(sys.modules[module], top):
        return Reference(path)
    free = top
    while free in namespace:
        free += "_"
    renamed = "" if free == top else f" as {free}"
    return Reference(f"{free}{dot}{rest}", (f"from {module} import {top}{renamed}",))
