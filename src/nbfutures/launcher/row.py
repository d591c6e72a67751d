"""One field of a form, as widgets: the input, how it is given, and what is said below it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets

from nbfutures.launcher.entries import EntryError, Mode, evaluate, initial_entry, read_entry, told_default
from nbfutures.launcher.fields import Field, Kind
from nbfutures.launcher.variables import UNKNOWN, count, fitting, is_same, peek
from nbfutures.views.clean import plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.launcher.entries import Argument

__all__ = ["Row", "message"]

_EXPRESSION = "a variable's name or an expression"
_LONGEST_CHOICE = 60  # characters


class Row:
    """The widgets of one field.

    Args:
        field: What is asked for.
        namespace: The notebook's variables.
        modes: The ways to fill it in, the first at first.
        placeholder: What an empty input shows.
        hint: What is said below the input; made from field and value if not given.
        check: Raises `EntryError` for a value that is of the right type and still wrong.
    """

    def __init__(
        self,
        field: Field,
        namespace: dict[str, Any],
        modes: Sequence[Mode],
        *,
        placeholder: str = "",
        hint: str | None = None,
        check: Callable[[Any], None] | None = None,
    ) -> None:
        self.field = field
        self._namespace = namespace
        self._check = check
        self._fixed_hint = hint
        self.value = _value_input(field, placeholder or told_default(field))
        self.value.tooltip = field.name  # a long one is cut
        self.value.add_class("nbf-input")
        self.expression = ipywidgets.Combobox(description=field.name, tooltip=field.name, continuous_update=False)
        self.expression.add_class("nbf-input").add_class("nbf-code-input")
        self.mode = ipywidgets.Dropdown(
            options=[(mode.value, mode) for mode in modes], description=f"how {field.name} is given"
        )
        self.mode.add_class("nbf-mode")
        self.message = ipywidgets.HTML()
        self.box = ipywidgets.Box()
        self.box.add_class("nbf-row")
        if len(modes) == 1:
            self.box.add_class("nbf-plain")
        self.problem = ""
        """What is wrong, as it is shown."""
        self.listener: Callable[[], None] = lambda: None
        """Called after each change, when the row is up to date."""
        self._lay_out()
        self.mode.observe(self._on_mode, "value")
        for each in (self.value, self.expression):
            each.observe(self._on_change, "value")

    @property
    def input(self) -> Any:
        """The input that is shown."""
        return self.value if self.mode.value is Mode.VALUE else self.expression

    @property
    def is_mapped(self) -> bool:
        """Whether the field is to be mapped over."""
        return self.mode.value is Mode.MAP

    def read(self) -> Argument | None:
        """Return what is entered, not evaluated; `None` if the default holds.

        Raises:
            EntryError: If it cannot be used.
        """
        return read_entry(self.field, self.mode.value, self.input.value, self._namespace)

    def evaluate(self) -> Argument | None:
        """Return what is entered with its value; what is wrong is shown, and raised.

        Raises:
            EntryError: If it cannot be used.
        """
        try:
            argument = self.read()
            if argument is not None:
                argument = evaluate(argument, self._namespace)
                self._check_more(argument.value)
        except EntryError as error:
            self.show_problem(str(error))
            raise
        self.show_problem("")
        return argument

    def known_value(self) -> Any:
        """Return the value if it is known without running anything, else `UNKNOWN`."""
        if self.mode.value is Mode.VALUE and not self.field.kind.is_expression:
            return self.value.value
        return peek(self.input.value, self._namespace)

    def show_problem(self, problem: str) -> None:
        """Say below the input what is wrong; with an empty text, what is known of the value."""
        self.problem = problem
        (self.box.add_class if problem else self.box.remove_class)("nbf-wrong")
        self.message.value = message(problem, "alert") if problem else message(self._hint())

    def refresh_names(self) -> None:
        """Offer the variables that the notebook has now."""
        self.expression.options = fitting(self.field, self._namespace, is_mapped=self.is_mapped)
        if self.field.kind.is_expression:
            self.value.options = fitting(self.field, self._namespace, is_mapped=False)

    def _check_more(self, value: Any) -> None:
        if self._check is not None:
            self._check(value)

    def _lay_out(self) -> None:
        self.refresh_names()
        is_map = self.is_mapped
        self.expression.placeholder = (
            "a list's name, or an expression such as range(10)" if is_map else "a variable's name"
        )
        self.box.children = (self.input, *([self.mode] if len(self.mode.options) > 1 else []), self.message)
        self.show_problem("")

    def _on_mode(self, _change: Any) -> None:
        self._lay_out()
        self._tell()

    def _on_change(self, _change: Any) -> None:
        problem = ""
        known = self.known_value()
        try:
            # Nothing is missing yet while somebody fills in the form; what is there may be wrong.
            if self.input.value not in {"", UNKNOWN}:
                self.read()
                if known is not UNKNOWN:
                    self._check_more(known)
        except EntryError as error:
            problem = str(error)
        self.show_problem(problem)
        self._tell()

    def _tell(self) -> None:
        self.listener()

    def _hint(self) -> str:
        if self._fixed_hint is not None:
            return self._fixed_hint
        known = self.known_value() if self.input.value not in {"", UNKNOWN} else UNKNOWN
        return _map_hint(known) if self.is_mapped else _value_hint(self.field, self.mode.value, known)


def message(text: str, role: str = "") -> str:
    """Return HTML for a line of text; with the role `alert` it is an error, which screen readers speak at once."""
    # The only markup of the form. What is untrusted is escaped, and nothing is taken for mathematics here.
    kind = "nbf-error" if role == "alert" else "nbf-muted"
    spoken = f' role="{role}"' if role else ""
    return f'<div{spoken} class="nbf-message {kind}">{html.escape(text)}</div>' if text else ""


def _value_input(field: Field, placeholder: str) -> Any:
    initial = initial_entry(field)
    if field.kind is Kind.CHOICE:
        choices = [(_choice_words(choice), choice) for choice in field.choices]
        if initial is UNKNOWN:
            first = "choose one" if field.is_required else f"default: {told_default(field)}"
            choices.insert(0, (first, UNKNOWN))
        return ipywidgets.Dropdown(options=choices, value=initial, equals=is_same, description=field.name)
    if field.kind is Kind.BOOLEAN:
        return ipywidgets.Checkbox(initial, description=field.name)
    shown = {"description": field.name, "continuous_update": False, "placeholder": placeholder}
    if field.kind.is_expression:
        made = ipywidgets.Combobox(initial, **shown)
        made.add_class("nbf-code-input")
        return made
    # A single line would lose the ends of the lines.
    return (ipywidgets.Textarea if "\n" in initial else ipywidgets.Text)(initial, **shown)


def _choice_words(choice: Any) -> str:
    # An Enum's member by the name that stands in the code.
    words = getattr(choice, "name", None) if not isinstance(choice, str) or hasattr(choice, "name") else choice
    return plain(words if isinstance(words, str) and words else repr(choice), _LONGEST_CHOICE)


def _value_hint(field: Field, mode: Mode, known: Any) -> str:
    kind = field.kind
    if known is not UNKNOWN and (mode is Mode.EXPRESSION or kind in {Kind.LIST, Kind.TABLE, Kind.ANY}):
        name, words = plain(type(known).__name__, 40), short_repr(known, 60)
        return words if name in words else f"{name}: {words}"
    if mode is Mode.EXPRESSION:
        return f"{kind.value}: {_EXPRESSION}"
    empty = "; empty for None" if field.is_required and field.is_optional else ""
    if kind is Kind.CHOICE:
        return f"one of {len(field.choices)} choices"
    if kind in {Kind.LIST, Kind.TABLE}:
        return f"{kind.value}, by the name of its variable{empty}"
    return f"{_EXPRESSION if kind is Kind.ANY else kind.value}{empty}"


def _map_hint(known: Any) -> str:
    if known is UNKNOWN:
        return "one item for each element"
    size = count(known)
    if size is None:
        return "one item for each element, counted when it is submitted"
    items = "1 item" if size == 1 else f"{size:,} items"
    if type(known).__name__ == "DataFrame":
        return f"{items}: the names of its columns. For its rows write: NAME.to_dict('records')"
    return f"{items}: {short_repr(known, 60)}"
