"""Limits as a pandas table and as text."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from nbfutures.model.limits import Holder, LimitRecord

__all__ = ["limit_text", "limits_frame", "limits_html", "limits_text"]

_SHOWN = 6
"""Holders that are named, at most."""
_NONE = "No limits yet. Create one with 4 slots: %limit db 4"
_HEAD = ("Limit", "Kind", "In use", "Held by")
_CELL = "text-align:left;padding:2px 12px 2px 0;vertical-align:top"


def limit_text(limit: LimitRecord) -> str:
    """Return a limit as a line, such as `db: 4 slots, 3 in use: parse (2), others (1)`."""
    tag = "tag " if limit.is_tag else ""
    rate = f", {limit.per_second:g} free again each second" if limit.per_second else ""
    off = "" if limit.is_active else ", switched off"
    held = f": {_held(limit.holders)}" if limit.holders else ""
    used = f"{number_words(limit.in_use)} in use" if limit.in_use else "none in use"
    return f"{tag}{limit.name}: {count_words(limit.slots, 'slot')}{rate}{off}, {used}{held}"


def limits_text(limits: Sequence[LimitRecord]) -> str:
    """Return limits as text, one line for each."""
    return "\n".join(map(limit_text, limits)) or _NONE


def limits_html(limits: Sequence[LimitRecord]) -> str:
    """Return limits as an HTML table, one row for each."""
    if not limits:
        return f"<div>{html.escape(_NONE)}</div>"
    rows = []
    for one in limits:
        cells = (one.name, one.kind, f"{number_words(one.in_use)} of {number_words(one.slots)}", _held(one.holders))
        rows.append("".join(f'<td style="{_CELL}">{html.escape(cell)}</td>' for cell in cells))
    head = "".join(f'<th scope="col" style="{_CELL};font-weight:600">{name}</th>' for name in _HEAD)
    body = "".join(f'<tr style="background:none">{row}</tr>' for row in rows)
    return (
        '<div style="font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:var(--jp-ui-font-size1,13px)">'
        '<table aria-label="Limits" style="border-collapse:collapse;table-layout:auto;font-size:inherit">'
        f'<thead><tr style="background:none">{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def limits_frame(limits: Sequence[LimitRecord]) -> pd.DataFrame:
    """Return limits as a table.

    Returns:
        One row for each, with the columns `limit`, `kind` (global, tag or rate), `slots`, `in_use`, `held_by` (jobs of
        this kernel and task runs with the number of their slots; "others" for those of which Prefect does not tell) and
        `per_second`, of a limit for a rate.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "limit": pd.Series([one.name for one in limits], dtype="string"),
            "kind": pd.Series([one.kind for one in limits], dtype="string"),
            "slots": pd.Series([one.slots for one in limits], dtype="int64"),
            "in_use": pd.Series([one.in_use for one in limits], dtype="int64"),
            "held_by": pd.Series([_held(one.holders, len(one.holders)) for one in limits], dtype="string"),
            "per_second": pd.Series([one.per_second or None for one in limits], dtype="float64"),
        }
    )


def _held(holders: Sequence[Holder], most: int = _SHOWN) -> str:
    named = [f"{one.who} ({number_words(one.slots)})" for one in holders[:most]]
    rest = len(holders) - most
    return ", ".join([*named, f"and {number_words(rest)} more"] if rest > 0 else named)
