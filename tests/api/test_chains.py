"""Jobs over the results of other jobs."""

from __future__ import annotations

import pytest
from prefect import task
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures.errors import ItemSkippedError, JobCrashedError, MapArgumentsError


def invert(x):
    return 1 / x


def double(x):
    return 2 * x


def same(x):
    return x


@pytest.fixture(scope="module")
def values(server):
    """A job with the values 1, 2 and 3."""
    job = nbf.map(same, [1, 2, 3])
    assert job.wait(120)
    return job


@pytest.fixture(scope="module")
def inverted(server):
    """A job with a value, a failure and a value."""
    job = nbf.map(invert, [1, 0, 2])
    assert job.wait(120)
    return job


def kinds_of(job):
    return [one.kind.value for one in job.outcomes()]


@pytest.mark.kinds("function", "async function", "task")
def test_an_item_starts_as_soon_as_the_one_that_it_depends_on_has_ended(kind, gate):
    first = nbf.options(workers=3).map(lambda x: x if x < 2 else gate(x), range(4))
    second = nbf.map(kind(double), first)
    eventually(lambda: second.counts.completed == 2)
    assert second.values() == [0, 2, None, None]
    assert not first.is_done
    assert second.counts.waiting == 2
    gate.open()
    assert second.result(120) == [0, 2, 4, 6]


@pytest.mark.kinds("function", "task")
def test_a_job_its_futures_its_slices_and_plain_values_are_mapped_alike(kind):
    def together(a, b, c, d, e):
        return [a, b, c, d, e]

    values = nbf.map(same, [1, 2, 3])
    job = nbf.map(kind(together), values, list(values), tuple(values), [7, 8, 9], e=values[:3])
    assert job.result(120) == [[1, 1, 1, 7, 1], [2, 2, 2, 8, 2], [3, 3, 3, 9, 3]]


@pytest.mark.kinds("function", "async function", "task")
def test_what_depends_on_a_failure_is_skipped_and_the_rest_runs(kind, inverted):
    second = nbf.map(kind(double), inverted)
    assert second.wait(120)
    assert kinds_of(second) == ["completed", "skipped", "completed"]
    assert second.values() == [2.0, None, 1.0]
    with pytest.raises(ItemSkippedError):
        second.result()
    assert second[1].outcome.attempts == 0
    assert second[1].outcome.started is None


def test_what_was_skipped_runs_after_its_cause_was_mended():
    first = nbf.map(invert, [1, 0])
    second = nbf.map(task(double), first)
    assert second.wait(120)
    first.retry(lambda x: x)
    assert second.retry().result(120) == [2.0, 0]


def test_a_chain_of_three_passes_values_and_skips_on(inverted):
    third = nbf.map(double, nbf.map(double, inverted))
    assert third.wait(120)
    assert kinds_of(third) == ["completed", "skipped", "completed"]
    assert third.values() == [4.0, None, 2.0]


@pytest.mark.kinds("function", "task")
def test_a_failure_that_is_allowed_arrives_as_the_error(kind, inverted):
    def both(x, y):
        return x, y

    one_by_one = [nbf.allow_failure(future) for future in inverted]
    job = nbf.map(kind(both), nbf.allow_failure(list(inverted)), one_by_one)
    first, second, third = job.result(120)
    assert (first, third) == ((1.0, 1.0), (0.5, 0.5))
    assert [type(error) for error in second] == [ZeroDivisionError] * 2


def test_what_was_cancelled_upstream_is_skipped_downstream(gate):
    first = nbf.options(workers=1).map(gate, range(3))
    second = nbf.map(double, first)
    gate.wait_for(1)
    first.cancel()
    gate.open()
    assert second.wait(120)
    assert kinds_of(second) == ["completed", "skipped", "skipped"]


@pytest.mark.kinds("function", "task")
def test_an_unmapped_job_is_its_values_for_every_item_and_a_single_call_its_value(kind, values):
    base = nbf.submit(double, 5)
    job = nbf.map(kind(lambda x, xs, y: (x, xs, y)), [7, 8], nbf.unmapped(values), nbf.unmapped(base))
    assert job.result(120) == [(7, [1, 2, 3], 10), (8, [1, 2, 3], 10)]
    assert nbf.submit(kind(double), base).result(120) == 20


@pytest.mark.kinds("function", "task")
def test_the_value_of_a_single_call_is_mapped_over(kind, gate):
    def numbers_below(x):
        return list(range(gate(x)))

    found = nbf.submit(numbers_below, 3)
    job = nbf.map(kind(double), found)
    assert len(job) == 0
    assert not job.is_done
    gate.open()
    assert job.result(120) == [0, 2, 4]
    assert len(job) == 3


@pytest.mark.kinds("function", "task")
def test_futures_inside_of_containers_are_found(kind, values):
    job = nbf.map(kind(same), [{"a": values[0], "b": [values[1]]}, {"a": (values[1], 5)}, {"all": list(values)}])
    assert job.result(120) == [{"a": 1, "b": [2]}, {"a": (2, 5)}, {"all": [1, 2, 3]}]


def test_a_quoted_future_is_passed_as_it_is(values):
    assert nbf.submit(lambda x: type(x).__name__, nbf.quote(values[0])).result(120) == "ItemFuture"


# --- wait_for -------------------------------------------------------------------------------------------------------


def test_nothing_starts_before_what_it_is_to_wait_for_is_done(gate):
    before = nbf.map(gate, range(2))
    started = []
    after = nbf.options(wait_for=before).map(started.append, range(3))
    gate.wait_for(2)
    eventually(lambda: "waiting" in after.snapshot.note)
    assert holds_for(lambda: not started, 0.15)
    gate.open()
    assert after.wait(120)
    assert started == [0, 1, 2]


@pytest.mark.parametrize("pick", [lambda job: job, lambda job: job[1], list], ids=["job", "future", "list"])
def test_if_what_it_is_to_wait_for_failed_all_is_skipped(pick, inverted):
    started = []
    after = nbf.options(wait_for=pick(inverted)).map(started.append, range(3))
    assert after.wait(120)
    assert kinds_of(after) == ["skipped"] * 3
    assert "wait_for" in str(after[0].exception())
    assert started == []


def test_a_job_that_waits_for_another_can_be_cancelled(gate):
    before = nbf.map(gate, range(1))
    after = nbf.options(wait_for=before).map(same, range(3))
    chained = nbf.map(same, before)
    gate.wait_for(1)
    after.cancel()
    chained.cancel()
    assert after.wait(120)
    assert chained.wait(120)
    assert kinds_of(after) == ["cancelled"] * 3
    assert kinds_of(chained) == ["cancelled"]
    gate.open()


# --- what cannot be mapped over -------------------------------------------------------------------------------------


def test_a_job_over_the_value_of_a_failed_call_says_why_it_has_no_items():
    job = nbf.map(double, nbf.submit(invert, 0))
    assert job.wait(120)
    assert len(job) == 0
    with pytest.raises(JobCrashedError, match="maps over did not complete"):
        job.result()
    assert "did not complete" in job.snapshot.note


def test_a_job_over_a_value_that_cannot_be_mapped_says_so():
    job = nbf.map(double, nbf.submit(double, 2))
    assert job.wait(120)
    with pytest.raises(MapArgumentsError, match="nothing to map over"):
        job.result()
