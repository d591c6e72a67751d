"""Names as Prefect takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nbfutures.model.attributes import type_has

if TYPE_CHECKING:
    from nbfutures.engine.calls.mapping import CallTable

__all__ = ["argument_words", "flow_name", "run_name", "template_of"]

_WORDS = 400  # characters
_SAFE_BITS = 128
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, range)


def flow_name(name: str) -> str:
    """Return a name for a flow: without the characters that Prefect refuses there."""
    return re.sub(r"[/%&<>]", "-", run_name(name))


def run_name(name: str) -> str:
    """Return a name for a run: without control characters and halves of others, which no database takes."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", " ", name).strip() or "unnamed"


def template_of(name: str) -> str:
    """Return a template for the name of a run that gives just this name: Prefect fills in what is in braces."""
    return run_name(name).replace("{", "{{").replace("}", "}}")


def argument_words(table: CallTable | None) -> str:
    """Return what a job's calls are given, in short: of what kind and how large it is, but no texts and no data.

    Args:
        table: The calls; `None` if they are not known.
    """
    if table is None:
        return ""
    parts = [
        f"{name}: {len(values):,} values" if table.stream is None else f"{name}: from an iterator"
        for name, values in table.columns.items()
    ]
    parts += [f"{name}: {_kind_words(value)}" for name, value in table.statics.items()]
    return run_name("; ".join(parts))[:_WORDS] if parts else ""


def _kind_words(value: Any) -> str:
    if value is None or type(value) in {bool, float} or (type(value) is int and value.bit_length() < _SAFE_BITS):
        return repr(value)
    kind = type(value).__name__
    try:
        shape = value.shape if type_has(type(value), "shape") else None
        if isinstance(shape, tuple) and shape:
            return f"{kind} {' x '.join(f'{size:,}' for size in shape)}"
        # The length of another class's object may be the answer of a database.
        return f"{kind} of {len(value):,}" if issubclass(type(value), _SIZED) else kind
    except Exception:
        return kind
