"""The form of one function, task or flow: fields, options, a button, the Python line, and the job below it."""

from __future__ import annotations

import html
import keyword
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets

from nbfutures import api
from nbfutures.errors import InvalidOptionError, NbfuturesError
from nbfutures.launcher.code_line import CodeLine
from nbfutures.launcher.entries import EntryError, Mode
from nbfutures.launcher.fields import Field, Kind, Target, is_alike, read_target
from nbfutures.launcher.references import Place, refer_to, refer_to_package
from nbfutures.launcher.row import Row, message
from nbfutures.launcher.variables import UNKNOWN, count
from nbfutures.model.options import RUNNERS, JobOptions
from nbfutures.views.clean import error_message, error_name, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbfutures.launcher.entries import Argument

__all__ = ["Form"]


def option_rows(target: Target, namespace: dict[str, Any]) -> dict[str, Row]:
    """Return a row for each option that jobs of the target take. What is left empty is the session's default."""
    now = api.session_defaults()
    own = getattr(target.target, "retries", None) if target.sort == "Prefect task" else None
    runner = Field(name="runner", kind=Kind.CHOICE, choices=RUNNERS, default=now.runner)
    workers = Field(name="workers", kind=Kind.INTEGER, default=None)
    retries = Field(name="retries", kind=Kind.INTEGER, default=None)
    name = Field(name="name", kind=Kind.TEXT, default="")
    dry_run = Field(name="dry_run", kind=Kind.BOOLEAN, default=now.dry_run)
    placeholders = {
        "workers": str(now.workers or api.default_workers()),
        "retries": str(own or 0) if now.retries is None else str(now.retries),
        "name": now.name or target.name,
    }
    # A flow decides by itself how its tasks run.
    fields = [name] if target.is_flow else [runner, workers, retries, name, dry_run]
    return {
        field.name: Row(
            field,
            namespace,
            [Mode.VALUE],
            placeholder=placeholders.get(field.name, ""),
            hint="",
            check=_option_check(field.name),
        )
        for field in fields
    }


def variable_row(target: Target, namespace: dict[str, Any]) -> Row:
    """Return the row for the name of the variable that holds the job."""
    field = Field(name="variable", kind=Kind.TEXT, default="")
    row = Row(
        field,
        namespace,
        [Mode.VALUE],
        placeholder="none",
        hint="holds the job",
        check=_variable_check(target, namespace),
    )
    row.value.value = free_variable(namespace)
    return row


def free_variable(namespace: dict[str, Any]) -> str:
    """Return a name for a job that the notebook does not use yet: job, job2, ..."""
    number = 1
    name = "job"
    while name in namespace:
        number += 1
        name = f"job{number}"
    return name


def _option_check(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        try:
            JobOptions().replace(**{name: value})
        except InvalidOptionError as error:
            raise EntryError(str(error)) from None

    return check


def _variable_check(target: Target, namespace: dict[str, Any]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not value.isidentifier() or keyword.iskeyword(value):
            raise EntryError("Needed: a variable's name, such as job, or nothing.")
        taken = [one for one in (refer_to(target.target, namespace), refer_to_package(namespace)) if one is not None]
        if value in {one.code for one in taken}:
            raise EntryError(f"{value} is needed itself; take another name, such as job.")

    return check


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


_LONG_NAME = 14  # characters, from which on the names have a wide column


class Form:
    """Widgets that submit and map a function without typing code.

    As the last line of a cell it shows itself; each Submit shows its job below.

    Args:
        target: A function, a Prefect task or a Prefect flow.
        namespace: The variables that fields may use, and where the job is bound.
        place: Where jobs are shown; below the form if not given.

    Raises:
        MapArgumentsError: If there is no form for `target`.
    """

    def __init__(self, target: Any, namespace: dict[str, Any], place: Place | None = None) -> None:
        self._target = read_target(target)
        self._namespace = namespace
        self._place = place or Place()
        named = refer_to(target, namespace)
        self._variable_of_target = named.code if named is not None and named.code in namespace else None
        self.job: api.Job | None = None
        """The job that was submitted last."""
        self.rows = {
            field.name: Row(field, namespace, _modes(self._target, field.kind)) for field in self._target.fields
        }
        """The arguments, by parameter name."""
        self.options = option_rows(self._target, namespace)
        """Options of the job, by name."""
        self.variable = variable_row(self._target, namespace)
        """The name of the variable that holds the job."""
        self._own_name = self.variable.value.value
        self.submit = ipywidgets.Button(button_style="primary")
        self.line = CodeLine()
        self.message = ipywidgets.HTML()
        """What is wrong, or said, of the form as a whole."""
        self.problem = ""
        """What is wrong with the form as a whole, as it is shown."""
        self.widget = self._laid_out()
        self._unequal: list[Row] = []
        """Rows that show that their lengths differ, which a change of any of them may mend."""
        for row in self._all_rows():
            row.listener = self._on_change
        self.submit.on_click(self._on_submit)
        self._refresh()

    def __repr__(self) -> str:
        name = plain(self._target.name, 40)
        return f"<launcher for {name}: a form; show it as the last line of a cell in JupyterLab>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return self._place.take(self.widget, repr(self), **kwargs)

    def close(self) -> None:
        """Close the form's widgets, which ipywidgets keeps otherwise."""
        _close(self.widget)

    # --- layout ----------------------------------------------------------------------------------------------------

    def _laid_out(self) -> Any:
        heading = ipywidgets.HTML(message("Options: left empty, the defaults hold"))
        heading.add_class("nbf-heading")
        options = ipywidgets.Box([row.box for row in (*self.options.values(), self.variable)])
        options.add_class("nbf-options")
        actions = ipywidgets.Box([self.submit, self.message])
        actions.add_class("nbf-submit")
        rows = [row.box for row in self.rows.values()]
        box = ipywidgets.VBox([ipywidgets.HTML(_title(self._target)), *rows, heading, options, actions, self.line])
        box.add_class("nbf-launcher")
        if any(len(name) >= _LONG_NAME for name in self.rows):
            box.add_class("nbf-wide")
        return box

    def _all_rows(self) -> list[Row]:
        return [*self.rows.values(), *self.options.values(), self.variable]

    def _renew(self) -> bool:
        """Take the function as the notebook defines it now; tell whether the form still fits it."""
        named = self._namespace.get(self._variable_of_target) if self._variable_of_target else None
        if named is None or named is self._target.target:
            return True
        try:
            renewed = read_target(named)
        except NbfuturesError:
            return False
        if not is_alike(renewed, self._target):
            return False
        self._target = renewed
        return True

    # --- what changes ----------------------------------------------------------------------------------------------

    def _on_change(self) -> None:
        while self._unequal:
            self._unequal.pop().show_problem("")
        self._refresh()

    def _refresh(self) -> None:
        """Bring button and line up to date with the fields."""
        self._renew()
        self._say("")
        self.submit.description = self._button_words()
        try:
            call = arrange(self._target, [one for row in self.rows.values() if (one := _read(row)) is not None])
            options = [one for row in self.options.values() if (one := _read(row)) is not None]
            _read(self.variable)
            name = self.variable.value.value.strip()
            self.line.code = write_line(self._target, call, options, name, self._namespace)
        except EntryError as error:
            missing = f"The same in Python appears here once {error.field} is right."
            self.line.note = missing if error.field else str(error)
            self.line.code = ""

    def _button_words(self) -> str:
        if self._target.is_flow:
            return "Run flow"
        mapped = [row for row in self.rows.values() if row.is_mapped]
        if not mapped:
            return "Submit"
        sizes = {count(known) for row in mapped if (known := row.known_value()) is not UNKNOWN and not row.problem}
        sizes.discard(None)
        size = sizes.pop() if len(sizes) == 1 else None
        return "Map items" if size is None else "Map 1 item" if size == 1 else f"Map {size:,} items"

    def _say(self, words: str, *, is_error: bool = False) -> None:
        self.problem = words if is_error else ""
        self.message.value = message(words, "alert" if is_error else "status")

    # --- submitting ------------------------------------------------------------------------------------------------

    def _on_submit(self, _button: Any) -> None:
        # Cells may have changed the variables since.
        if not self._renew():
            self._say(f"{self._target.name} has other parameters now: run this cell again for its form.", is_error=True)
            return
        self._keep_others_variable()
        for row in self._all_rows():
            row.refresh_names()
        wrong: list[Row] = []
        arguments = _evaluate(self.rows, wrong)
        options = _evaluate(self.options, wrong)
        _evaluate({"variable": self.variable}, wrong)
        if not wrong:
            wrong = list(self._check_lengths(arguments))
        self._refresh()
        if wrong:
            self._point_at(wrong)
            return
        try:
            job = self._start(arrange(self._target, arguments), {one.field.name: one.value for one in options})
        except EntryError as error:
            row = self.rows[str(error.field)]
            row.show_problem(str(error))
            self._point_at([row])
        except Exception as error:  # an iterable of the user's may raise anything
            name = "" if isinstance(error, NbfuturesError) else f"{error_name(error)}: "
            self._say(f"Nothing was submitted. {name}{error_message(error)}", is_error=True)
        else:
            self._show(job)

    def _keep_others_variable(self) -> None:
        """Take another variable if nobody chose this one, and it holds by now what the form has not made."""
        name = self.variable.value.value
        if name == self._own_name and self._namespace.get(name, self.job) is not self.job:
            self._own_name = self.variable.value.value = free_variable(self._namespace)

    def _check_lengths(self, arguments: list[Argument]) -> list[Row]:
        """Show at the mapped fields that their lengths differ, where these are known."""
        sizes = {one.field.name: size for one in arguments if one.is_mapped and (size := count(one.value)) is not None}
        if len(set(sizes.values())) < 2:  # noqa: PLR2004 - two lengths that differ
            return []
        told = ", ".join(f"{name} has {size:,}" for name, size in sizes.items())
        self._unequal = [self.rows[name] for name in sizes]
        for row in self._unequal:
            row.show_problem(f"The lengths differ: {told}. Make them equal, or give one of them as one value.")
        return self._unequal

    def _start(self, call: Call, options: dict[str, Any]) -> api.Job:
        args = [_passed(call, one) for one in call.positional]
        kwargs = {one.field.name: _passed(call, one) for one in call.keyword}
        submitter = api.options(**options)
        verb: Callable[..., api.Job] = getattr(submitter, call.verb)
        return verb(self._target.target, *args, **kwargs)

    def _point_at(self, rows: Sequence[Row]) -> None:
        names = ", ".join(row.field.name for row in rows)
        self._say(f"Nothing was submitted: correct the field{'s' * (len(rows) > 1)} {names}.", is_error=True)
        rows[0].input.focus()

    def _show(self, job: api.Job) -> None:
        self.job = job
        name = self.variable.value.value.strip()
        if name:
            self._namespace[name] = job
        self._say(f"Submitted; the variable {name} holds the job." if name else "Submitted.")
        self._place.show(job)


def _close(widget: Any) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()


def _modes(target: Target, kind: Kind) -> list[Mode]:
    modes = [Mode.VALUE] if kind.is_expression else [Mode.VALUE, Mode.EXPRESSION]
    return modes if target.is_flow else [*modes, Mode.MAP]


def _title(target: Target) -> str:
    about = f'<div class="nbf-message nbf-muted">{html.escape(plain(target.about, 200))}</div>' if target.about else ""
    left_out = (
        message(f"{' and '.join(target.left_out)} cannot be given here; for that call it in a cell.")
        if target.left_out
        else ""
    )
    name = html.escape(plain(target.name, 80))
    return f'<div class="nbf-title">{name} <span class="nbf-muted">{target.sort}</span></div>{about}{left_out}'


def _read(row: Row) -> Argument | None:
    if row.problem:
        raise EntryError(row.problem, row.field.name)
    try:
        return row.read()
    except EntryError as error:
        raise EntryError(str(error), row.field.name) from None


def _evaluate(rows: dict[str, Row], wrong: list[Row]) -> list[Argument]:
    found = []
    for row in rows.values():
        try:
            argument = row.evaluate()
        except EntryError:
            wrong.append(row)
        else:
            found.extend([argument] if argument is not None else [])
    return found


def _passed(call: Call, argument: Argument) -> Any:
    if call.verb != "map" or argument.is_mapped or argument.is_scalar:
        return argument.value
    from nbfutures.prefect.annotations import unmapped

    return unmapped(argument.value)
