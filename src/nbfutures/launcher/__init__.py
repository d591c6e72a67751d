"""`nbf.launcher`: a form that submits and maps without typing code."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbfutures.launcher.chooser import Chooser
    from nbfutures.launcher.form import Form

__all__ = ["launcher"]


def launcher(target: Any = None, *, namespace: dict[str, Any] | None = None) -> Form | Chooser:
    """Return a form that submits or maps a function, made from its signature and type hints.

    As the last line of a cell it shows itself. Submit starts a job, shows it below the form, and binds it to the
    variable that the form names; the form also shows the same in Python, to copy.

    Args:
        target: A function, a Prefect task or a Prefect flow. If not given, the form offers those of the notebook.
        namespace: The variables that its fields may use, and where the job is bound; the notebook's if not given.

    Returns:
        The form; its `job` is the job that was submitted last.

    Raises:
        MapArgumentsError: If there is no form for `target`.

    Examples:
        >>> def parse(path: Path, encoding: str = "utf-8"): ...
        >>> nbf.launcher(parse)
    """
    # IPython's namespace of the user is that of the module `__main__`, as it is without IPython.
    variables = vars(sys.modules["__main__"]) if namespace is None else namespace
    if target is None:
        from nbfutures.launcher.chooser import Chooser

        return Chooser(variables)
    from nbfutures.launcher.form import Form

    return Form(target, variables)


class _CallableModule(types.ModuleType):
    """A module that can be called as the function of its name.

    Importing any module of this package makes `nbfutures.launcher` the package, where people expect the function.
    """

    def __call__(self, target: Any = None, *, namespace: dict[str, Any] | None = None) -> Form | Chooser:
        """As `launcher`."""
        return launcher(target, namespace=namespace)


sys.modules[__name__].__class__ = _CallableModule
