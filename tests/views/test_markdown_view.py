from __future__ import annotations

from html import escape as html_of

import pytest
from markdown_it import MarkdownIt

from nbfutures.views.grouping import FailureGroup
from nbfutures.views.report import JobReport, job_markdown

LIMIT = 30_000


def group(count=1, error="ValueError", message="bad", first=0, where="parse.py:12"):
    return FailureGroup(count, error, message, where, first, "'a'")


def rendered(text):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def test_outcomes_are_a_table(jobs):
    text = job_markdown(jobs.ended(completed=1_970, failed=30).snapshot())
    assert text == (
        "## parse: completed, 30 failed\n\n"
        "2,000 items in 2 s (4 workers, 2,000/s, speed-up 2000.0 with 4 workers)\n\n"
        "| outcome | items | share |\n"
        "| --- | --: | --: |\n"
        "| completed | 1,970 | 98.5% |\n"
        "| failed | 30 | 1.5% |\n"
    )


def test_failures_that_are_alike_are_one_row(jobs):
    state = jobs.ended(completed=1)
    state.grow(3)
    state.settle([jobs.failed(index, ValueError(f"no {index}")) for index in (1, 2)] + [jobs.failed(3, OSError("x"))])
    text = JobReport(state, jobs.source()).markdown()
    html = rendered(text)
    assert html.count("<tr>") == 3 + 3
    assert "<td>ValueError</td>" in html
    assert "<td>no N</td>" in html
    assert "<td>OSError</td>" in html


def test_inputs_and_values_are_not_told(jobs):
    state = jobs.state(2)
    state.settle([jobs.completed(0, value="the value"), jobs.failed(1)])
    text = JobReport(state, jobs.source(lambda index: {"token": "the input"})).markdown()
    assert "ValueError" in text
    assert "the value" not in text
    assert "the input" not in text


def test_a_job_that_crashed_says_why(jobs):
    state = jobs.ended(cancelled=2)
    state.crash(RuntimeError("the *cluster* is gone"))
    assert "**Note:** RuntimeError: the \\*cluster\\* is gone" in job_markdown(state.snapshot())


def test_a_job_without_items_has_no_table(jobs):
    assert "|" not in job_markdown(jobs.ended().snapshot())


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "*a* _b_ `c`",
        "[a](http://b)",
        "![a](b)",
        "<b>a</b>",
        "a\n\n# b",
        "~~a~~",
        "&amp;",
        "a\\",
        "^1",
        "$a$",
        "http://b",
        "www.b.example",
        "a@b.example",
    ],
)
def test_markdown_in_texts_of_the_user_stays_text(jobs, text):
    made = job_markdown(jobs.ended(failed=1, name=text).snapshot(), [group(message=text, error=text, where=text)])
    html = rendered(made)
    shown = html_of(" ".join(text.split()), quote=False)
    assert html.count(f"<td>{shown}</td>") == 3, html
    for tag in ("<em>", "<strong>", "<code>", "<img", "<del>", "<b>", "<h1>", "<a "):
        assert tag not in html
    # What begins like an address becomes a link where Markdown is GitHub's.
    assert not any(start in made for start in ("http://", "www.", "@"))


def test_nothing_from_elsewhere_makes_it_long_or_active(jobs, nasty_text):
    groups = [group(error=nasty_text, message=nasty_text, where=nasty_text)] * 30
    text = job_markdown(jobs.ended(failed=30, name=nasty_text).snapshot(), groups, more=2)
    assert len(text) < LIMIT
    html = rendered(text)
    assert "<img" not in html
    assert "<script" not in html
    assert "\x00" not in text
    text.encode()
    assert "and 12 other kinds of failure" in text
