"""A list of what the notebook has to submit, and the form of what is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from nbfutures.errors import NbfuturesError
from nbfutures.launcher.code_line import CodeLine
from nbfutures.launcher.fields import read_target
from nbfutures.launcher.form import Form
from nbfutures.launcher.references import Place
from nbfutures.launcher.row import message
from nbfutures.launcher.variables import find_targets

if TYPE_CHECKING:
    from nbfutures.api import Job

__all__ = ["Chooser"]

_NOTHING = (
    "The notebook has no functions, Prefect tasks or flows yet. Run a cell that defines one, "
    "such as def parse(path): ..., then press Refresh."
)


class Chooser:
    """Offers the functions, tasks and flows of a notebook, and shows the form of the one that is chosen.

    Args:
        namespace: The notebook's variables.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._place = Place()
        self._target: Any = None
        self.form: Form | None = None
        """The form of what is chosen."""
        self.choice = ipywidgets.Dropdown(description="function")
        self.choice.add_class("nbf-input")
        self.refresh = ipywidgets.Button(description="Refresh", tooltip="Look again for functions, tasks and flows")
        bar = ipywidgets.Box([self.choice, self.refresh])
        bar.add_class("nbf-row")
        self.message = ipywidgets.HTML()
        self._slot = ipywidgets.Box()
        # The line without code brings the style.
        style = CodeLine(layout={"display": "none"})
        self.widget = ipywidgets.VBox([bar, self.message, self._slot, style])
        self.widget.add_class("nbf-launcher")
        self._look()
        self.choice.observe(self._on_choice, "value")
        self.refresh.on_click(self._on_refresh)

    @property
    def job(self) -> Job | None:
        """The job that was submitted last by the form that is shown."""
        return self.form.job if self.form is not None else None

    def __repr__(self) -> str:
        return "<launcher: a form for the notebook's functions; show it as the last line of a cell in JupyterLab>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return self._place.take(self.widget, repr(self), **kwargs)

    def _look(self) -> None:
        """Offer what the notebook has now; what is chosen stays chosen."""
        found = find_targets(self._namespace)
        chosen = self.choice.value
        self.choice.options = [
            ("choose one" if found else "nothing yet", ""),
            *((f"{name} ({_sort(target)})", name) for name, target in found.items()),
        ]
        self.choice.value = chosen if chosen in found else ""
        self.message.value = "" if found else message(_NOTHING)

    def _on_refresh(self, _button: Any) -> None:
        self.choice.unobserve(self._on_choice, "value")
        try:
            self._look()
        finally:
            self.choice.observe(self._on_choice, "value")
        self._show_form()

    def _on_choice(self, _change: Any) -> None:
        self._show_form()

    def _show_form(self) -> None:
        target = self._namespace.get(self.choice.value)
        if target is self._target and self.form is not None:
            return
        former, self.form = self.form, None
        problem = ""
        if target is not None:
            try:
                self.form = Form(target, self._namespace, self._place)
            except NbfuturesError as error:
                problem = str(error)
        self._target = target
        self._slot.children = () if self.form is None else (self.form.widget,)
        if self.choice.value:
            self.message.value = message(problem, "alert")
        if former is not None:
            former.close()


def _sort(target: Any) -> str:
    try:
        return read_target(target).sort
    except NbfuturesError:
        return "function"
