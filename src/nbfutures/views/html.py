"""A job as a small piece of HTML that needs neither JavaScript nor a style sheet.

Colours are JupyterLab's variables with fallbacks that suit a light and a dark page alike. Where a site takes the styles
away, as GitHub does, headings, words and tables remain. Whatever came from elsewhere passes through `_safe`.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.clean import MESSAGE_LIMIT, one_line, plain, short_repr
from nbfutures.views.phrases import count_parts, pace_phrase
from nbfutures.views.snapshot import JobDescription, describe
from nbfutures.views.words import count_words, number_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nbfutures.model.job_snapshot import JobSnapshot
    from nbfutures.model.job_state import JobState
    from nbfutures.model.outcome import Outcome
    from nbfutures.views.grouping import FailureGroup

__all__ = ["first_and_last", "job_html"]

_GROUPS = 5
_ENDS = 3
"""Values shown from each end of the job."""
_SCAN = 1_000
"""Items looked at from each end to find them."""
_CALM_SECONDS = 0.5
"""A job that ends sooner shows no bar before its end, so that nothing flashes."""

_FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:var(--jp-ui-font-size1,13px)"
_LINE = "padding:2px 0;line-height:1.4"
_ROW = "background:none;border-top:1px solid var(--jp-border-color2,#8886)"
_CELL = "text-align:left;vertical-align:top;padding:3px 16px 3px 0"
_DIGITS = "font-variant-numeric:tabular-nums"
_CODE = "padding:0;background:none"

_SEGMENTS = {
    "completed": "var(--jp-success-color1,#388e3c)",
    # Striped, so that it does not take colours to tell it from the rest.
    "failed": "repeating-linear-gradient(135deg,var(--jp-error-color1,#d32f2f) 0 4px,#fff 4px 5px)",
    "cancelled": "repeating-linear-gradient(90deg,#888 0 2px,transparent 2px 5px)",
    "skipped": "repeating-linear-gradient(90deg,#888 0 1px,transparent 1px 4px)",
    "running": "var(--jp-brand-color1,#1976d2)",
    "waiting": "",
}
"""How each part of the bar is filled, from left to right; what waits is the empty track."""


def job_html(
    snapshot: JobSnapshot,
    groups: Sequence[FailureGroup] = (),
    more: int = 0,
    results: Sequence[Outcome] = (),
) -> str:
    """Return a job as HTML: title, state, bar, counts, failures and a few results; less than 12 kB in all cases.

    Args:
        snapshot: The job.
        groups: Its failures, the largest group first; the first five are shown.
        more: How many kinds of failure there are beyond `groups`.
        results: Completed outcomes to show the values of, in the order of the items; six at most.
    """
    job = describe(snapshot)
    parts = [_heading(job), _bar(job), _counts(job), _pace(job)]
    if job["note"]:
        parts.append(_line(_safe(job["note"], MESSAGE_LIMIT)))
    parts += [_line(_safe(line, MESSAGE_LIMIT)) for line in job["report"]]
    if groups:
        parts.append(_failures(groups, more))
    if results:
        parts.append(_results(results, job["counts"]["total"]))
    return f'<div style="{_FONT};max-width:720px;padding:4px 0;overflow-wrap:anywhere">{"".join(parts)}</div>'


def first_and_last(state: JobState) -> list[Outcome]:
    """Return the completed outcomes at both ends of a job: the first three and the last three, none of them twice."""
    size = len(state)
    chosen: dict[int, Outcome] = {}
    for indices in (range(min(size, _SCAN)), range(size - 1, max(size - 1 - _SCAN, -1), -1)):
        chosen |= _completed(state, indices)
    return [chosen[index] for index in sorted(chosen)]


def _completed(state: JobState, indices: Iterable[int]) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for index in indices:
        outcome = state.outcome(index)
        if outcome is not None and outcome.kind is OutcomeKind.COMPLETED:
            found[index] = outcome
            if len(found) == _ENDS:
                break
    return found


def _safe(text: str, limit: int) -> str:
    """Return text from elsewhere, cleaned, escaped and cut to `limit` characters and half as many bytes more."""
    text = plain(text, limit)
    made = html.escape(text)
    while len(made.encode()) > 1.5 * limit:
        text = text[: len(text) * 9 // 10]
        made = html.escape(text) + "…"
    return made


def _code(text: str, limit: int) -> str:
    return f'<code style="{_CODE}">{_safe(text, limit)}</code>'


def _line(inner: str) -> str:
    return f'<div style="{_LINE}">{inner}</div>'


def _heading(job: JobDescription) -> str:
    return _line(f"<strong>{_safe(job['title'], 80)}</strong> &nbsp;{html.escape(job['state'])}")


def _bar(job: JobDescription) -> str:
    counts = job["counts"]
    total = counts["total"]
    if total == 0:
        return ""
    if not job["is_done"] and job["elapsed"] < _CALM_SECONDS:
        # The place is kept, so that what is below does not move when the bar appears.
        return '<div style="height:8px;margin:4px 0"></div>'
    segments = [
        f'<span style="width:{100 * counts[kind] / total:.2f}%;min-width:2px;background:{fill}"></span>'  # type: ignore[literal-required]
        for kind, fill in _SEGMENTS.items()
        if fill and counts[kind]  # type: ignore[literal-required]
    ]
    return (
        f'<div role="progressbar" aria-label="{_safe(job["title"], 80)}" aria-valuemin="0" aria-valuemax="{total}" '
        f'aria-valuenow="{counts["settled"]}" aria-valuetext="{html.escape(job["words"]["counts"])}" '
        f'style="display:flex;height:8px;margin:4px 0;overflow:hidden;border-radius:2px;'
        f'background:var(--jp-layout-color3,#8884)">{"".join(segments)}</div>'
    )


def _counts(job: JobDescription) -> str:
    words = [f"{_swatch(kind) if kind else ''}{said}" for kind, said in count_parts(job)]
    return _line(f'<span style="{_DIGITS}">{" &nbsp; ".join(words)}</span>') if words else ""


def _swatch(kind: str) -> str:
    fill = _SEGMENTS[kind] or "var(--jp-layout-color3,#8884)"
    return (
        f'<span aria-hidden="true" style="display:inline-block;width:10px;height:10px;margin-right:4px;'
        f'border-radius:2px;background:{fill}"></span>'
    )


def _pace(job: JobDescription) -> str:
    phrase = pace_phrase(job)
    return _line(f'<span style="{_DIGITS}">{phrase}</span>') if phrase else ""


def _table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" style="{_CELL};white-space:nowrap">{name}</th>' for name in names)
    body = "".join(
        f'<tr style="{_ROW}">{"".join(f"""<td style="{_CELL}">{cell}</td>""" for cell in row)}</tr>' for row in rows
    )
    return (
        f'<table aria-label="{caption}" style="margin:8px 0 0;border-collapse:collapse;table-layout:auto;'
        f'font-size:inherit"><thead><tr style="background:none">{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def _failures(groups: Sequence[FailureGroup], more: int) -> str:
    rows = []
    for group in groups[:_GROUPS]:
        message = f": {one_line(group.message)}" if group.message else ""
        said = _code(plain(group.error, 60) + message, MESSAGE_LIMIT)
        where = f"at {_safe(group.where, 80)}, " if group.where else ""
        example = f": {_code(group.example, 80)}" if group.example else ""
        rows.append(
            [
                number_words(group.count),
                f"{said}<br>{where}first at item {group.first}{example}",
            ]
        )
    more += len(groups) - len(rows)
    note = _line(f"and {count_words(more, 'other kind')} of failure") if more else ""
    return _table("Failures", ["Failed", "Error"], rows) + note


def _results(results: Sequence[Outcome], total: int) -> str:
    if total == 1:
        return _line(f"value: {_code(short_repr(results[0].value, 160), 160)}")
    rows: list[list[str]] = []
    before = results[0].index - 1
    for outcome in results[: 2 * _ENDS]:
        if outcome.index != before + 1:
            rows.append(["…", ""])
        rows.append([str(outcome.index), _code(short_repr(outcome.value), 80)])
        before = outcome.index
    return _table("Results", ["Item", "Value"], rows)
