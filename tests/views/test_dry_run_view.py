from __future__ import annotations

import pytest

from nbfutures.model.dry_run import DryRunPlan, DryRunReport, SampledItem, Sending
from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.card.live_card import job_message
from nbfutures.views.html import job_html
from nbfutures.views.snapshot import dry_run_lines
from nbfutures.views.text import job_text

LOCK = "Cannot send the variable 'lock' that parse uses to another process: TypeError: cannot pickle it"


def report(*seconds, total=1_806, share=1.0, failed=0, sending=Sending(), **plan):  # noqa: B008 - immutable
    items = [SampledItem(index, OutcomeKind.FAILED, 0.1, 0.1) for index in range(failed)]
    items += [SampledItem(index, OutcomeKind.COMPLETED, one, share * one) for index, one in enumerate(seconds)]
    known = {"at_once": {"threads": 6, "processes": 2}, "processes": 2, "cpus": 2, **plan}
    return DryRunReport(tuple(items), DryRunPlan(total=total, **known), sending)


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (
            report(0.3, 0.3, 0.3),
            [
                "Use runner='processes': the items compute (100% CPU).",
                "Only 3 of 1,806 items ran: the first, the middle and the last, 0.3 s each.",
                (
                    "Expected for all 1,806 items: processes 4 min 31 s (2 workers), threads 9 min 2 s (6 workers), "
                    "one after the other 9 min 2 s."
                ),
                "All of it can be sent to processes.",
            ],
        ),
        (
            report(0.1, 0.5, 0.3, share=0.0, sending=Sending(obstacle=LOCK)),
            [
                "Use runner='threads': the items mostly wait (0% CPU).",
                "Only 3 of 1,806 items ran: the first, the middle and the last, 0.1 s to 0.5 s each.",
                "Expected for all 1,806 items: threads 1 min 30 s (6 workers), one after the other 9 min 2 s.",
                f"{LOCK}.",
            ],
        ),
        (
            report(1.0, failed=2, total=3, share=0.0),
            [
                "Use runner='threads': the items mostly wait (0% CPU).",
                "All 3 items ran, 1 s each. 2 failed: the times come from the rest.",
                (
                    "Expected for all 3 items: threads 1 s (6 workers), processes 2 s (2 workers), "
                    "one after the other 3 s."
                ),
                "All of it can be sent to processes.",
            ],
        ),
        (
            report(failed=3),
            [
                "No prediction: all 3 items that ran failed.",
                "Only 3 of 1,806 items ran: the first, the middle and the last.",
            ],
        ),
        (
            report(1.0, total=1, share=0.0, is_async=True, at_once={"threads": 100, "processes": 100}),
            [
                "Use runner='threads': the items mostly wait (0% CPU).",
                "The only item ran, 1 s.",
                "Expected: threads 1 s (100 at once), processes 1 s (100 at once), one after the other 1 s.",
                "All of it can be sent to processes.",
            ],
        ),
        (report(total=0), ["There are no items."]),
    ],
)  # fmt: skip
def test_the_report_is_a_few_lines_the_recommendation_first(made, lines):
    assert dry_run_lines(made) == lines


def test_items_that_are_large_are_told_with_their_size():
    assert "are 12 MB an item" in dry_run_lines(report(1.0, sending=Sending(bytes=12_345_678)))[-1]
    large = Sending(bytes=67_000_000, is_whole=False)
    assert "are more than 67 MB an item" in dry_run_lines(report(1.0, sending=large))[-1]


def test_a_first_item_that_paid_for_the_others_is_told():
    assert "each. The first took 10 s longer, counted once." in dry_run_lines(report(11.0, 1.0, 1.0))[1]


def test_text_html_and_card_show_the_same_lines_once_the_job_is_done(jobs):
    made = report(0.3, 0.3, 0.3)
    state = jobs.state(3)
    state.dry_run = made
    assert "Use runner" not in job_text(state.snapshot())
    state.settle([jobs.completed(index) for index in range(3)])
    snapshot = state.snapshot()
    lines = dry_run_lines(made)
    assert job_text(snapshot).splitlines()[1:] == [f"  {line}" for line in lines]
    assert "Only 3 of 1,806 items ran" in job_html(snapshot)
    assert job_message("key", snapshot, [])["note"] == "\n".join(lines)


def test_what_an_error_says_is_escaped_and_cut(jobs, nasty_text):
    state = jobs.ended(3)
    state.dry_run = report(1.0, sending=Sending(obstacle=f"Cannot send it: {nasty_text}"))
    made = job_html(state.snapshot())
    assert "<img" not in made
    assert "<script" not in made
    assert len(made.encode()) < 12_000
    assert all(len(line) <= 300 for line in dry_run_lines(state.dry_run))


def test_a_retry_takes_the_report_away_until_it_ends(jobs):
    state = jobs.ended(failed=3)
    state.dry_run = report(failed=3)
    state.reopen(range(3))
    assert state.dry_run is None
