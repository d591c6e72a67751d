"""The line of `%limit`, read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError

from nbfutures.magics.arguments import LIMIT_OPTIONS, parse_arguments
from nbfutures.magics.expressions import evaluate_text
from nbfutures.magics.scan import scan

__all__ = ["LimitLine", "read_limit_line"]


@dataclass(frozen=True, slots=True)
class LimitLine:
    """What one use of `%limit` asks for."""

    name: str
    """The limit, or the tag; empty for all limits."""
    slots: Any
    """How many it is to have; `None` if that is not said."""
    options: dict[str, Any]
    """`tag` and `per_second`, those that are given."""
    is_deletion: bool
    """Whether to delete it."""
    is_quiet: bool
    """Whether to show nothing."""


def read_limit_line(line: str, namespace: dict[str, Any]) -> LimitLine:
    """Read what stands behind `%limit`.

    Args:
        line: The text.
        namespace: The variables that the number of slots may use.

    Raises:
        UsageError: If it is not as it has to be.
    """
    given = parse_arguments(line, LIMIT_OPTIONS, namespace)
    options = dict(given.options)
    is_deletion = bool(options.pop("delete", False))
    words = scan(given.expression).words
    name = words[0].text if words else ""
    if name[:1] in {"'", '"'}:
        name = name.strip(name[0])
    slots = None
    if len(words) > 1:
        text = given.expression[words[1].start :]
        try:
            slots = evaluate_text(text, namespace)
        except Exception as error:
            raise UsageError(f"{text!r} is no number of slots. Write it as in: %limit {name} 4.") from error
    if not name and (options or is_deletion):
        raise UsageError("The name of the limit is missing. Write it as in: %limit db 4, or %limit --tag db 4.")
    if is_deletion and (slots is not None or "per_second" in options):
        tag = "--tag " if options.get("tag") else ""
        raise UsageError(f"To delete a limit takes no number. Write: %limit {tag}{name} --delete.")
    return LimitLine(name, slots, options, is_deletion, given.has_semicolon)
