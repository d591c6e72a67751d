"""The options of the magics: one table, from which the parser, the help and the completion are made."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from nbfutures.magics.expressions import evaluate_text
from nbfutures.magics.scan import looks_like_option, scan
from nbfutures.model.options import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.magics.scan import Word

__all__ = [
    "JOB_OPTIONS",
    "LIMIT_OPTIONS",
    "RUNNER_OPTIONS",
    "SERVE_OPTIONS",
    "Arguments",
    "Option",
    "option_table",
    "parse_arguments",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a magic."""

    field: str
    """Its name in Python."""
    help: str
    """What it does, in one line."""
    short: str = ""
    """Its short form, such as `-w`."""
    long: str = ""
    """Its long form, such as `--retry-delay`; made from the name in Python if not given."""
    metavar: str = ""
    """What the help writes for its value; empty for a switch."""
    values: tuple[str, ...] = ()
    """Words that stand for themselves, offered by Tab."""
    is_text: bool = False
    """Whether a value without quotes and brackets is a text, not an expression."""
    may_be_variable: bool = False
    """Whether a text that is the name of a variable stands for that."""
    is_repeatable: bool = False
    """Whether every use adds a value."""

    @property
    def forms(self) -> tuple[str, ...]:
        """The ways to write it, the long one last."""
        long = self.long or "--" + self.field.replace("_", "-")
        return (self.short, long) if self.short else (long,)


_WORKERS = Option(field="workers", short="-w", metavar="N", help="how many items run at once")

_ADDRESS = Option(
    field="address", metavar="URL", is_text=True, may_be_variable=True, help="where the Dask or Ray cluster is"
)

JOB_OPTIONS = (
    Option(field="out", short="-o", metavar="NAME", is_text=True, help="also bind the job to NAME, at once"),
    Option(field="name", short="-n", metavar="TEXT", is_text=True, help="what the job is called"),
    Option(field="runner", short="-r", metavar="NAME", is_text=True, values=RUNNERS, help="where items run"),
    _ADDRESS,
    _WORKERS,
    Option(field="retries", metavar="N", help="how often a failing item is tried again"),
    Option(field="retry_delay", metavar="SECONDS", help="time between two attempts"),
    Option(field="timeout", metavar="SECONDS", help="time after which an item fails"),
    Option(field="batch", metavar="N|auto", values=("auto",), help="items for one task run"),
    Option(field="rate", metavar="N", help="items to start per second, at most"),
    Option(field="in_flight", metavar="N", help="items submitted and not yet settled, at most"),
    Option(field="limit", metavar="NAME", is_text=True, is_repeatable=True, help="each item takes a slot; see %limit?"),
    Option(field="tags", long="--tag", metavar="TEXT", is_text=True, is_repeatable=True, help="a tag; can be repeated"),
    Option(field="fail_fast", help="the first failure cancels what has not started"),
    Option(field="dry_run", help="run three items only; say how long all would take, and which runner fits"),
    Option(field="background", help="task workers run the items, see %serve; the job outlives the kernel"),
    Option(field="block", short="-b", help="wait in this cell until the job has ended"),
    Option(field="quiet", short="-q", help="do not show the job; a ; at the end does the same"),
)
"""What every magic that makes a job takes."""

RUNNER_OPTIONS = (
    _WORKERS,
    _ADDRESS,
    Option(field="stop", help="end the warm worker processes and the kernel's own clusters now"),
)
"""What `%runner` takes."""

LIMIT_OPTIONS = (
    Option(field="tag", help="a limit of the task runs with a tag, in place of a global one"),
    Option(field="per_second", metavar="N", help="slots that become free by themselves each second, for rate_limit()"),
    Option(field="delete", help="delete the limit"),
)
"""What `%limit` takes."""

SERVE_OPTIONS = (
    Option(field="name", short="-n", metavar="TEXT", is_text=True, help="name of the deployment, for a flow"),
    Option(field="workers", short="-w", metavar="N", help="how many worker processes; flow runs at once, for a flow"),
    Option(field="limit", metavar="N", help="how many items each worker runs at once; 10 if not given"),
    Option(field="keep", help="go on when the kernel ends"),
    Option(field="stop", help="stop serving: what is named, or all"),
)
"""What `%serve` takes."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A magic's line, read."""

    expression: str
    """What is no option, as it was written."""
    options: dict[str, Any]
    """The options that were given, and their values."""
    has_semicolon: bool
    """Whether the line ended in a semicolon."""


def parse_arguments(line: str, options: Sequence[Option], namespace: dict[str, Any]) -> Arguments:
    """Read a magic's line: options, an expression, and options again.

    Args:
        line: What stands behind the magic's name.
        options: The options that the magic takes.
        namespace: The variables that values may use.

    Raises:
        UsageError: If an option is unknown, has no value, or has one that cannot be evaluated.
    """
    read = scan(line)
    reader = _OptionReader(options, namespace)
    first = reader.take(read.words, 0)
    last = first
    while last < len(read.words) and not looks_like_option(read.words[last].text):
        last += 1
    expression = line[read.words[first].start : read.words[last - 1].end] if last > first else ""
    end = reader.take(read.words, last)
    if end < len(read.words):
        raise UsageError(
            f"{read.words[end].text!r} is not expected behind the options. Put the options at the end, "
            "and a value that holds spaces in parentheses."
        )
    return Arguments(expression, reader.taken, read.has_semicolon)


def option_table(options: Sequence[Option], indent: str = "    ") -> str:
    """Return the help of some options, one line for each."""
    rows = [
        (("" if option.short else "    ") + ", ".join(option.forms) + f" {option.metavar}".rstrip(), option.help)
        for option in options
    ]
    width = max(len(forms) for forms, _ in rows)
    return "\n".join(f"{indent}{forms:<{width}}  {told}" for forms, told in rows)


class _OptionReader:
    """Takes options from words and evaluates their values.

    Args:
        options: The options that there are.
        namespace: The variables that values may use.
    """

    def __init__(self, options: Sequence[Option], namespace: dict[str, Any]) -> None:
        self.taken: dict[str, Any] = {}
        self._namespace = namespace
        self._known = {form: option for option in options for form in option.forms}

    def take(self, words: Sequence[Word], at: int) -> int:
        """Take options from the word `at` on, and return the index of the first word that belongs to none."""
        while at < len(words) and looks_like_option(words[at].text):
            form, has_value, text = words[at].text.partition("=")
            option = self._find(form)
            at += 1
            if option.metavar and not has_value and at < len(words) and not looks_like_option(words[at].text):
                text = words[at].text
                at += 1
            if not text and (option.metavar or has_value):
                raise UsageError(f"{form} needs a value: {form} {option.metavar or 'True'}.")
            self._keep(option, self._value(option, form, text) if text else True)
        return at

    def _find(self, form: str) -> Option:
        if form in self._known:
            return self._known[form]
        # Compared without dashes, which would make all long forms alike; "-workers" and "--Retry_Delay" are slips too.
        names = {known.strip("-"): known for known in self._known}
        close = difflib.get_close_matches(form.strip("-").lower().replace("_", "-"), names, n=1)
        if close:
            raise UsageError(f"There is no option {form}; did you mean {names[close[0]]}?")
        known = ", ".join(dict.fromkeys(option.forms[-1] for option in self._known.values()))
        hint = "" if form.startswith("--") else " To subtract, put a space behind the dash."
        raise UsageError(f"There is no option {form}.{hint} Options are: {known}.")

    def _value(self, option: Option, form: str, text: str) -> Any:
        is_word = re.search(r"""['"()\[\]{}]""", text) is None
        is_text = option.is_text and not (option.may_be_variable and text in self._namespace)
        if (is_word and is_text) or text in option.values:
            return text
        try:
            return evaluate_text(text, self._namespace)
        except Exception as error:
            message = error.msg if isinstance(error, SyntaxError) else str(error)
            raise UsageError(f"{form} {text}: {type(error).__name__}: {message}.") from error

    def _keep(self, option: Option, value: Any) -> None:
        if option.is_repeatable:
            value = (*self.taken.get(option.field, ()), value)
        self.taken[option.field] = value
