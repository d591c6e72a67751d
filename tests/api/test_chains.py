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
    assert second.result(60) == [0, 2, 4, 6]


@pytest.mark.kinds("function", "task")
def test_a_job_its_futures_and_its_slices_are_mapped_alike(kind):
    first = nbf.map(same, [1, 2, 3])
    chained = [nbf.map(kind(double), one) for one in (first, list(first), tuple(first), first[:3])]
    assert [job.result(60) for job in chained] == [[2, 4, 6]] * 4


def test_a_job_may_be_mapped_beside_plain_values():
    first = nbf.map(same, [1, 2, 3])
    assert nbf.map(lambda x, y, z: (x, y, z), first, [4, 5, 6], z=first).result(60) == [(1, 4, 1), (2, 5, 2), (3, 6, 3)]


@pytest.mark.kinds("function", "async function", "task")
def test_what_depends_on_a_failure_is_skipped_and_the_rest_runs(kind):
    first = nbf.map(invert, [1, 0, 2])
    second = nbf.map(kind(double), first)
    assert second.wait(60)
    assert kinds_of(second) == ["completed", "skipped", "completed"]
    assert second.values() == [2.0, None, 1.0]
    with pytest.raises(ItemSkippedError):
        second.result()
    assert second[1].outcome.attempts == 0
    assert second[1].outcome.started is None


@pytest.mark.kinds("function", "task")
def test_what_was_skipped_runs_after_its_cause_was_mended(kind):
    first = nbf.map(invert, [1, 0])
    second = nbf.map(kind(double), first)
    assert second.wait(60)
    first.retry(lambda x: x)
    assert second.retry().result(60) == [2.0, 0]


def test_a_chain_of_three_passes_values_and_skips_on():
    first = nbf.map(invert, [1, 0])
    third = nbf.map(double, nbf.map(double, first))
    assert third.wait(60)
    assert kinds_of(third) == ["completed", "skipped"]
    assert third.values() == [4.0, None]


@pytest.mark.kinds("function", "task")
def test_a_failure_that_is_allowed_arrives_as_the_error(kind):
    first = nbf.map(invert, [1, 0])
    second = nbf.map(kind(same), nbf.allow_failure(list(first)))
    one, error = second.result(60)
    assert one == 1.0
    assert isinstance(error, ZeroDivisionError)
    third = nbf.map(kind(same), [nbf.allow_failure(first[1])])
    assert isinstance(third.result(60)[0], ZeroDivisionError)


def test_what_was_cancelled_upstream_is_skipped_downstream(gate):
    first = nbf.options(workers=1).map(gate, range(3))
    second = nbf.map(double, first)
    gate.wait_for(1)
    first.cancel()
    gate.open()
    assert second.wait(60)
    assert kinds_of(second) == ["completed", "skipped", "skipped"]


@pytest.mark.kinds("function", "task")
def test_an_unmapped_job_is_a_list_of_its_values_for_every_item(kind):
    first = nbf.map(same, [1, 2])
    second = nbf.map(kind(lambda x, xs: (x, xs)), [7, 8], nbf.unmapped(first))
    assert second.result(60) == [(7, [1, 2]), (8, [1, 2])]


@pytest.mark.kinds("function", "task")
def test_a_single_call_stands_for_its_value(kind):
    base = nbf.submit(double, 5)
    assert nbf.submit(kind(double), base).result(60) == 20
    assert nbf.map(kind(lambda x, y: x + y), [1, 2], nbf.unmapped(base)).result(60) == [11, 12]


@pytest.mark.kinds("function", "task")
def test_the_value_of_a_single_call_is_mapped_over(kind, gate):
    def numbers_below(x):
        return list(range(gate(x)))

    found = nbf.submit(numbers_below, 3)
    job = nbf.map(kind(double), found)
    assert len(job) == 0
    assert not job.is_done
    gate.open()
    assert job.result(60) == [0, 2, 4]
    assert len(job) == 3


@pytest.mark.kinds("function", "task")
def test_futures_inside_of_containers_are_found(kind):
    first = nbf.map(same, [1, 2])
    job = nbf.map(kind(same), [{"a": first[0], "b": [first[1]]}, {"a": (first[1], 5)}])
    assert job.result(60) == [{"a": 1, "b": [2]}, {"a": (2, 5)}]
    assert nbf.submit(kind(same), {"all": list(first)}).result(60) == {"all": [1, 2]}


def test_a_quoted_future_is_passed_as_it_is():
    first = nbf.submit(double, 1)
    assert nbf.submit(lambda x: type(x).__name__, nbf.quote(first[0])).result(60) == "ItemFuture"


def test_a_task_of_prefect_that_maps_over_a_job_gets_its_values():
    first = nbf.map(same, [1, 2])
    assert nbf.map(task(double), first).result(60) == [2, 4]


# --- wait_for -------------------------------------------------------------------------------------------------------


def test_nothing_starts_before_what_it_is_to_wait_for_is_done(gate):
    before = nbf.map(gate, range(2))
    started = []
    after = nbf.options(wait_for=before).map(started.append, range(3))
    gate.wait_for(2)
    eventually(lambda: "waiting" in after.snapshot.note)
    assert holds_for(lambda: not started, 0.3)
    gate.open()
    assert after.wait(60)
    assert started == [0, 1, 2]


@pytest.mark.parametrize("pick", [lambda job: job, lambda job: job[1], list], ids=["job", "future", "list"])
def test_if_what_it_is_to_wait_for_fails_all_is_skipped(pick):
    before = nbf.map(invert, [1, 0])
    started = []
    after = nbf.options(wait_for=pick(before)).map(started.append, range(3))
    assert after.wait(60)
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
    assert after.wait(60)
    assert chained.wait(60)
    assert kinds_of(after) == ["cancelled"] * 3
    assert kinds_of(chained) == ["cancelled"]
    gate.open()


# --- what cannot be mapped over -------------------------------------------------------------------------------------


def test_a_job_over_the_value_of_a_failed_call_says_why_it_has_no_items():
    job = nbf.map(double, nbf.submit(invert, 0))
    assert job.wait(60)
    assert len(job) == 0
    with pytest.raises(JobCrashedError, match="maps over did not complete"):
        job.result()
    assert "did not complete" in job.snapshot.note


def test_a_job_over_a_value_that_cannot_be_mapped_says_so():
    job = nbf.map(double, nbf.submit(double, 2))
    assert job.wait(60)
    with pytest.raises(MapArgumentsError, match="nothing to map over"):
        job.result()
