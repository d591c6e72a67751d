from __future__ import annotations

from nbfutures.views.report import JobReport


def test_text_and_html_tell_of_the_same_moment(jobs):
    state = jobs.ended(completed=8, failed=2)
    bundle = JobReport(state, jobs.source()).bundle()
    assert bundle.keys() == {"text/plain", "text/html"}
    assert "2 of 10 failed" in bundle["text/plain"]
    assert "2 times ValueError: bad" in bundle["text/plain"]
    assert "8 completed" in bundle["text/html"]
    assert "ValueError: bad" in bundle["text/html"]


def test_nothing_new_makes_the_same_bundle(jobs):
    state = jobs.ended(completed=8, failed=2)
    report = JobReport(state, jobs.source())
    assert report.bundle() == report.bundle()


def test_failures_show_while_the_job_runs(jobs):
    state = jobs.state(10)
    report = JobReport(state, jobs.source())
    assert "ValueError" not in report.bundle()["text/html"]
    state.settle([jobs.failed(3)])
    assert "ValueError: bad" in report.bundle()["text/html"]
    state.settle([jobs.failed(1)])
    assert "first at item 1" in report.bundle()["text/html"]


def test_failures_that_run_once_more_are_no_longer_shown(jobs):
    state = jobs.ended(completed=1, failed=2)
    report = JobReport(state, jobs.source())
    assert "2 times" in report.bundle()["text/plain"]
    state.reopen([1, 2])
    assert "ValueError" not in report.bundle()["text/html"]
    state.settle([jobs.completed(1, round=1), jobs.failed(2, round=1)])
    assert "1 time ValueError" in report.bundle()["text/plain"]


def test_a_value_that_came_after_an_error_takes_it_back_at_the_last_refresh(jobs):
    state = jobs.state(3)
    report = JobReport(state, jobs.source())
    state.settle([jobs.failed(0), jobs.failed(1)])
    assert ">2</td>" in report.bundle()["text/html"]
    state.settle([jobs.completed(0), jobs.completed(2)])
    assert "1 time ValueError" in report.bundle()["text/plain"]


def test_each_failure_is_read_once_however_often_it_is_refreshed(jobs, monkeypatch):
    state = jobs.state(1_001)
    report = JobReport(state, jobs.source())
    told = []
    ask = state.settled_since

    def counted(position):
        outcomes, end = ask(position)
        told.extend(outcomes)
        return outcomes, end

    monkeypatch.setattr(state, "settled_since", counted)
    for index in range(0, 1_000, 10):
        state.settle([jobs.failed(one) for one in range(index, index + 10)])
        report.bundle()
    assert len(told) == 1_000


def test_results_show_only_at_the_end(jobs):
    state = jobs.state(2)
    report = JobReport(state, jobs.source())
    state.settle([jobs.completed(0, "early")])
    assert "early" not in report.bundle()["text/html"]
    state.settle([jobs.completed(1, "late")])
    assert "early" in report.bundle()["text/html"]
