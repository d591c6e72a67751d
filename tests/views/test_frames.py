from __future__ import annotations

import time
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.model.job_state import JobState
from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.views import frames

DTYPES = {
    "input": "string",
    "outcome": "category",
    "value": "object",
    "error": "string",
    "message": "string",
    "queued": "datetime64[ns, UTC]",
    "started": "datetime64[ns, UTC]",
    "ended": "datetime64[ns, UTC]",
    "seconds": "float64",
    "cpu_seconds": "float64",
    "worker": "string",
    "attempts": "int64",
    "task_run_id": "string",
}
ERROR_DTYPES = {
    "count": "int64",
    "error": "string",
    "message": "string",
    "where": "string",
    "first": "int64",
    "example": "string",
}


def assert_dtypes(table, dtypes):
    assert list(table.columns) == list(dtypes)
    for name, dtype in dtypes.items():
        assert table[name].dtype == dtype, name


def assert_frame(table):
    assert_dtypes(table, DTYPES)
    assert list(table["outcome"].cat.categories) == ["completed", "failed", "cancelled", "skipped", "unsettled"]
    assert table.index.name == "index"
    assert table.index.dtype == "int64"


@pytest.fixture
def mixed(jobs):
    state = jobs.state(6)
    run = uuid.UUID(int=7)
    state.settle(
        [
            jobs.completed(0, {"rows": 5}, worker="thread-1", cpu_seconds=0.25, task_run_id=run, attempts=2),
            jobs.failed(1, ValueError("bad row 1")),
            jobs.cancelled(2, error=RuntimeError("cancelled by the user"), ended=jobs.clock.time),
            jobs.skipped(3),
            jobs.completed(4, [1, 2]),
        ]
    )
    return state


def test_a_frame_has_one_row_for_each_item(jobs, mixed):
    table = frames.frame(mixed, jobs.source())
    assert_frame(table)
    assert list(table.index) == [0, 1, 2, 3, 4, 5]
    assert list(table["outcome"]) == ["completed", "failed", "cancelled", "skipped", "completed", "unsettled"]
    assert list(table["input"]) == ["0", "1", "2", "3", "4", "5"]
    assert list(table["value"]) == [{"rows": 5}, None, None, None, [1, 2], None]
    assert list(table["error"].fillna("-")) == ["-", "ValueError", "RuntimeError", "-", "-", "-"]
    assert list(table["message"].fillna("-")) == ["-", "bad row 1", "cancelled by the user", "-", "-", "-"]
    assert list(table["seconds"].fillna(-1)) == [1.0, 1.0, -1, -1, 1.0, -1]
    assert list(table["cpu_seconds"].fillna(-1)) == [0.25, -1, -1, -1, -1, -1]
    assert list(table["worker"].fillna("-")) == ["thread-1", "-", "-", "-", "-", "-"]
    assert list(table["attempts"]) == [2, 1, 0, 0, 1, 0]
    assert list(table["task_run_id"].fillna("-")) == [str(uuid.UUID(int=7)), "-", "-", "-", "-", "-"]


def test_times_are_in_utc_and_exact_to_the_microsecond(jobs):
    state = jobs.state(1)
    moment = pd.Timestamp("2026-03-01T12:30:15.123456", tz="UTC")
    state.settle([jobs.completed(0, queued=None, started=moment.timestamp() - 1, ended=moment.timestamp())])
    table = frames.frame(state, jobs.source())
    assert table["ended"][0] == moment
    assert (table["ended"] - table["started"])[0] == pd.Timedelta("1s")
    assert pd.isna(table["queued"][0])


@pytest.mark.parametrize("total", [0, 1, 3])
def test_columns_and_dtypes_are_the_same_before_during_and_after_the_job(jobs, total):
    state, source = jobs.state(total), jobs.source()
    for settled in range(total + 1):
        for table in (frames.frame, frames.succeeded, frames.failed):
            assert_frame(table(state, source))
        assert_dtypes(frames.errors(state, source), ERROR_DTYPES)
        assert_dtypes(frames.summary(state), dict(zip(frames.summary(state), ["int64", *["float64"] * 5], strict=True)))
        if settled < total:
            state.settle([jobs.failed(settled) if settled % 2 else jobs.completed(settled, "text")])


def test_tables_of_two_moments_can_be_joined_without_a_change_of_dtype(jobs, mixed):
    both = pd.concat([frames.succeeded(mixed, jobs.source()), frames.failed(mixed, jobs.source())])
    assert_frame(both)


def test_succeeded_and_failed_are_rows_of_the_frame(jobs, mixed):
    table = frames.frame(mixed, jobs.source())
    for part, kind in ((frames.succeeded, "completed"), (frames.failed, "failed")):
        pd.testing.assert_frame_equal(part(mixed, jobs.source()), table[table["outcome"] == kind])


@pytest.mark.parametrize(
    "values",
    [
        [np.zeros(3), np.ones(3)],
        [[1, 2], [3, 4]],
        [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})],
        [(1, 2), (3, 4)],
        ["a", "b"],
        [1, 2],
        [pd.NA, float("nan")],
        [{"a": 1}, {"b": 2}],
    ],
)
def test_values_of_any_kind_are_kept_as_the_objects_they_are(jobs, values):
    state = jobs.state(2)
    state.settle([jobs.completed(index, value) for index, value in enumerate(values)])
    table = frames.frame(state, jobs.source())
    assert_frame(table)
    assert all(kept is value for kept, value in zip(table["value"], values, strict=True))


def test_a_job_that_grew_beyond_its_source_has_a_row_for_each_item(jobs):
    state = jobs.state(1)
    state.grow(2)

    def arguments(index):
        return [{"x": 1}][index]

    assert list(frames.frame(state, jobs.source(arguments))["input"]) == ["1", "", ""]


def test_inputs_are_short_texts(jobs, nasty):
    inputs = [{"x": nasty.HUGE}, {"x": nasty.Repr(), "y": 1}, {"x": list(range(10**5))}, {}]
    state = jobs.state(len(inputs))
    start = time.thread_time()
    column = frames.frame(state, jobs.source(inputs.__getitem__))["input"]
    assert time.thread_time() - start < 0.5
    assert column.str.len().max() <= 80
    assert column[1].startswith("x=<Repr")
    assert column[3] == ""


def test_text_from_elsewhere_is_kept_as_text(jobs, nasty_text):
    state = jobs.state(1)
    state.settle([jobs.failed(0, ValueError(nasty_text), worker=nasty_text)])
    table = frames.frame(state, jobs.source(lambda _: {"x": nasty_text}))
    assert_frame(table)
    assert len(table["message"][0]) <= 2_000
    # JSON, parquet and the front end all want text that can be encoded.
    table.drop(columns="value").to_csv().encode()


def test_errors_that_cannot_be_turned_into_text_have_a_row(jobs, nasty):
    state = jobs.state(2)
    state.settle([jobs.failed(0, nasty.Error()), jobs.failed(1, nasty.Error())])
    assert list(frames.frame(state, jobs.source())["message"]) == ["(the message cannot be shown)"] * 2
    assert list(frames.errors(state, jobs.source())["count"]) == [2]


def test_a_frame_of_a_hundred_thousand_items_takes_about_a_second(jobs):
    total = 100_000
    state = jobs.state(total)
    state.settle(
        [
            jobs.failed(i) if i % 10 == 0 else jobs.completed(i, i, worker="w", task_run_id=uuid.UUID(int=i // 50))
            for i in range(total)
        ]
    )
    start = time.thread_time()
    table = frames.frame(state, jobs.source())
    # Three times what it takes here, for slower machines.
    assert time.thread_time() - start < 3
    assert len(table) == total


# --- summary -------------------------------------------------------------------------------------------------------


def test_a_summary_has_one_row_for_each_outcome(jobs):
    state = jobs.state(10)
    seconds = [1.0, 2.0, 3.0, 10.0]
    now = jobs.clock.time
    state.settle([jobs.completed(index, started=now - s, ended=now) for index, s in enumerate(seconds)])
    state.settle([jobs.failed(4), *(jobs.cancelled(index) for index in range(5, 10))])
    table = frames.summary(state)
    assert list(table.index) == ["completed", "failed", "cancelled", "skipped"]
    assert table.index.name == "outcome"
    assert list(table["count"]) == [4, 1, 5, 0]
    assert list(table["share"]) == [0.4, 0.1, 0.5, 0.0]
    assert list(table["total_seconds"]) == pytest.approx([16.0, 1.0, 0.0, 0.0])
    completed = table.loc["completed"]
    assert completed["mean_seconds"] == pytest.approx(4.0)
    assert completed["median_seconds"] == pytest.approx(2.5)
    assert completed["p95_seconds"] == pytest.approx(np.quantile(seconds, 0.95))
    assert table.loc[["cancelled", "skipped"], "mean_seconds"].isna().all()


def test_unsettled_items_have_a_row_while_there_are_any(jobs):
    state = jobs.state(2)
    state.settle([jobs.completed(0)])
    assert list(frames.summary(state).index)[-1] == "unsettled"
    assert frames.summary(state).loc["unsettled", "count"] == 1
    state.settle([jobs.completed(1)])
    assert "unsettled" not in frames.summary(state).index


kinds = st.lists(st.none() | st.sampled_from(list(OutcomeKind)), max_size=20)


@given(kinds)
def test_the_tables_agree_with_each_other(kinds):
    state = JobState("job", len(kinds))
    outcomes = [Outcome(index, kind, started=1.0, ended=2.0) for index, kind in enumerate(kinds) if kind is not None]
    state.settle(outcomes)

    class Source:
        def item(self, index):
            raise IndexError(index)

    table, summary = frames.frame(state, Source()), frames.summary(state)
    assert summary["count"].sum() == len(table) == len(kinds)
    assert summary["share"].sum() == pytest.approx(1.0 if kinds else 0.0)
    counts = table["outcome"].value_counts()
    assert all(counts[name] == count for name, count in summary["count"].items())
    assert frames.errors(state, Source())["count"].sum() == counts["failed"] == len(frames.failed(state, Source()))


# --- errors --------------------------------------------------------------------------------------------------------


def test_errors_are_the_groups_of_failures_the_largest_first(jobs):
    state = jobs.state(10)
    state.settle([jobs.failed(index, ValueError(f"bad row {index}")) for index in (8, 5, 2)])
    state.settle([jobs.failed(0, KeyError("x"))])
    table = frames.errors(state, jobs.source(lambda index: {"row": index, "strict": True}))
    assert_dtypes(table, ERROR_DTYPES)
    assert table.drop(columns="where").to_dict("list") == {
        "count": [3, 1],
        "error": ["ValueError", "KeyError"],
        "message": ["bad row N", "'x'"],
        "first": [2, 0],
        "example": ["row=2, strict=True", "row=0, strict=True"],
    }
    assert table["where"].str.contains(r"conftest\.py:\d+$").all()
