"""The list of a kernel's jobs, as text and as HTML: one line for each."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from nbfutures.views.snapshot import describe
from nbfutures.views.text import job_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbfutures.model.job_snapshot import JobSnapshot

__all__ = ["SHOWN", "jobs_html", "jobs_text"]

SHOWN = 30
"""Jobs in a list at most, the newest."""
_NONE = "No jobs yet."
_CELL = "text-align:left;padding:2px 12px 2px 0;vertical-align:top"


def jobs_text(snapshots: Sequence[JobSnapshot], older: int = 0) -> str:
    """Return jobs as text, one line for each, in the order given.

    Args:
        snapshots: The jobs; the first thirty are shown.
        older: How many there are besides.
    """
    lines = [job_text(snapshot).splitlines()[0] for snapshot in snapshots[:SHOWN]]
    return "\n".join(lines + _rest(snapshots, older)) or _NONE


def jobs_html(snapshots: Sequence[JobSnapshot], older: int = 0) -> str:
    """Return jobs as an HTML table, one row for each, in the order given; arguments as for `jobs_text`."""
    if not snapshots:
        return f"<div>{_NONE}</div>"
    rows = []
    for snapshot in snapshots[:SHOWN]:
        job = describe(snapshot)
        words = job["words"]
        pace = " · ".join(filter(None, [words["left"], words["rate"]] if not job["is_done"] else [words["rate"]]))
        cells = [job["title"], job["state"], words["counts"], words["elapsed"], pace]
        rows.append("".join(f'<td style="{_CELL}">{html.escape(cell)}</td>' for cell in cells))
    head = "".join(
        f'<th scope="col" style="{_CELL};font-weight:600">{name}</th>'
        for name in ("Job", "State", "Items", "Time", "Pace")
    )
    body = "".join(f'<tr style="background:none">{row}</tr>' for row in rows)
    rest = "".join(f"<div>{line}</div>" for line in _rest(snapshots, older))
    return (
        '<div style="font-family:var(--jp-ui-font-family,system-ui,sans-serif);'
        'font-size:var(--jp-ui-font-size1,13px);font-variant-numeric:tabular-nums">'
        '<table aria-label="Jobs" style="border-collapse:collapse;table-layout:auto;font-size:inherit">'
        f'<thead><tr style="background:none">{head}</tr></thead><tbody>{body}</tbody></table>{rest}</div>'
    )


def _rest(snapshots: Sequence[JobSnapshot], older: int) -> list[str]:
    more = max(len(snapshots) - SHOWN, 0) + older
    return [f"and {more:,} older"] if more > 0 else []
