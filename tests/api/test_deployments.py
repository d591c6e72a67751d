"""Flow runs of deployments as items: each test plays the worker itself, by the states that it sets in Prefect."""

from __future__ import annotations

import time
import uuid

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.states import Cancelled, Completed, Crashed, Failed, Paused, Running
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures.errors import (
    DeploymentNotFoundError,
    InvalidOptionError,
    ItemCancelledError,
    MapArgumentsError,
    NbfuturesError,
)
from nbfutures.prefect.deployments import watcher


class Deployment:
    """A deployment without a worker, whose flow runs are brought into states by hand."""

    def __init__(self, client, **settings):
        self._client = client
        flow_name, name = f"flow-{uuid.uuid4().hex[:8]}", "by-hand"
        flow_id = client.create_flow_from_name(flow_name)
        self.id = client.create_deployment(flow_id, name, **settings)
        self.name = f"{flow_name}/{name}"

    def map(self, *args, **kwargs):
        return nbf.options(deployment=self.name).map(*args, **kwargs)

    def runs(self):
        """The flow runs, in the order of the items."""
        found = self._client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[self.id])))
        return sorted(found, key=lambda run: int(run.name.split(" (")[0].rpartition(" ")[2]))

    def wait_for(self, count):
        return eventually(lambda: found if len(found := self.runs()) >= count else None)

    def set(self, run, state):
        self._client.set_flow_run_state(run.id, state, force=True)

    def delete(self, run):
        self._client.delete_flow_run(run.id)

    def state_of(self, run):
        return self._client.read_flow_run(run.id).state


@pytest.fixture
def client():
    with get_client(sync_client=True) as made:
        yield made


@pytest.fixture
def deployment(client):
    return Deployment(client)


def test_each_dict_is_a_flow_run_of_its_own_and_no_subflow(deployment, client, join):
    job = deployment.map([{"x": 1}, {"x": 2, "day": "mon"}])
    runs = deployment.wait_for(2)
    assert [run.parameters for run in runs] == [{"x": 1}, {"x": 2, "day": "mon"}]
    assert {run.parent_task_run_id for run in runs} == {None}
    assert job.frame()["input"].tolist() == ["1", "x=2, day='mon'"]
    for run in runs:
        deployment.set(run, Completed())
    # Nothing was persisted: there is nothing to be had.
    assert job.result(120) == [None, None]
    assert [outcome.output for outcome in job.outcomes()] == [None, None]
    join()
    assert client.read_flow_run(job._run.flow_run_id).state.is_completed()
    assert job.frame()["task_run_id"].tolist() == [str(run.id) for run in runs]


def test_parameters_by_name_are_mapped_as_map_does(deployment):
    job = deployment.map(x=[1, 2, 3], day="today", sizes=nbf.unmapped([1, 2]))
    runs = deployment.wait_for(3)
    assert [run.parameters for run in runs] == [{"x": x, "day": "today", "sizes": [1, 2]} for x in (1, 2, 3)]
    job.cancel()


def test_submit_makes_one_flow_run(deployment):
    job = nbf.options(deployment=deployment.name, name="one", tags="t").submit(x=1)
    (run,) = deployment.wait_for(1)
    assert (run.name, run.parameters, run.tags) == ("one 0", {"x": 1}, ["t"])
    deployment.set(run, Completed())
    assert job.result(120) is None


def test_parameters_can_be_the_results_of_another_job(deployment):
    days = nbf.map(lambda x: x + 1, [1, 2])
    rows = nbf.map(lambda x: {"x": x}, [5, 6])
    by_name, by_row = deployment.map(x=days), deployment.map(rows)
    runs = deployment.wait_for(4)
    assert sorted(run.parameters["x"] for run in runs) == [2, 3, 5, 6]
    by_name.cancel()
    by_row.cancel()


def test_an_item_whose_parameters_failed_is_skipped(deployment):
    job = deployment.map(x=nbf.map(lambda x: 1 // x, [0, 1]))
    (run,) = deployment.wait_for(1)
    assert run.parameters == {"x": 1}
    deployment.set(run, Completed())
    assert job.wait(120)
    assert job.frame()["outcome"].tolist() == ["skipped", "completed"]


def persisted(value):
    """A result as a flow run leaves it, and its file."""
    store = ResultStore(result_storage=LocalFileSystem(basepath=PREFECT_LOCAL_STORAGE_PATH.value()))
    record = store.create_result_record(value, key=uuid.uuid4().hex)
    store.persist_result_record(record)
    return record, PREFECT_LOCAL_STORAGE_PATH.value() / record.metadata.storage_key


def test_a_persisted_result_is_the_value_and_one_that_cannot_be_read_is_told(deployment):
    job = deployment.map(x=[1, 2, 3])
    runs = deployment.wait_for(3)
    (value, _), (lost, file), (error, _) = map(persisted, ([1, 2], "lost", KeyError("gone")))
    file.unlink()
    for run, end in zip(runs, (Completed(data=value), Completed(data=lost), Failed(data=error)), strict=True):
        deployment.set(run, end)
    assert job.wait(120)
    assert job.values() == [[1, 2], None, None]
    # It completed, which is what counts; why there is no value stands with the item.
    assert job.frame()["outcome"].tolist() == ["completed", "completed", "failed"]
    assert "cannot be read here" in job.outcomes()[1].output.stderr
    with pytest.raises(KeyError, match="gone"):
        job[2].result(1)


def test_how_a_flow_run_ends_is_how_the_item_ends(deployment):
    job = deployment.map(x=range(5))
    runs = deployment.wait_for(5)
    ends = [Completed(), Failed(message="it broke"), Crashed(message="out of memory"), Cancelled(message="by hand")]
    for run, end in zip(runs, ends, strict=False):
        deployment.set(run, Running())
        deployment.set(run, end)
    # Whoever deletes a flow run must not leave the job waiting for ever.
    deployment.delete(runs[4])
    assert job.wait(120)
    assert job.frame()["outcome"].tolist() == ["completed", "failed", "failed", "cancelled", "failed"]
    errors = [outcome.error for outcome in job.outcomes()]
    assert "it broke" in str(errors[1])
    assert "out of memory" in str(errors[2])
    assert isinstance(errors[3], ItemCancelledError)
    assert "by hand" in str(errors[3])
    assert "deleted" in str(errors[4])
    assert job.outcomes()[0].seconds is not None
    with pytest.raises(Exception, match=r"it broke|out of memory|deleted"):
        job.result(1)


def test_flow_runs_that_run_are_counted(deployment):
    job = deployment.map(x=[1, 2, 3])
    first, *others = deployment.wait_for(3)
    deployment.set(first, Running())
    eventually(lambda: job.counts.running == 1)
    assert job[0].state.is_running()
    assert job[1].state.is_pending()
    for run in (first, *others):
        deployment.set(run, Completed())
    assert job.wait(120)
    assert "worker" not in repr(job), "nobody knows how many there are"


def test_the_window_bounds_how_many_are_open(deployment):
    job = nbf.options(deployment=deployment.name, in_flight=2).map(x=range(4))
    first, second = deployment.wait_for(2)
    assert holds_for(lambda: len(deployment.runs()) == 2, 0.5)
    deployment.set(second, Completed())
    *_, third = deployment.wait_for(3)
    assert holds_for(lambda: len(deployment.runs()) == 3, 0.5)
    for run in (first, third):
        deployment.set(run, Completed())
    deployment.set(deployment.wait_for(4)[-1], Completed())
    assert job.wait(120)
    assert job.counts.completed == 4


def test_pause_and_resume_hold_back_flow_runs_that_are_not_made(deployment):
    job = nbf.options(deployment=deployment.name, in_flight=1).map(x=range(3))
    (first,) = deployment.wait_for(1)
    job.pause()
    deployment.set(first, Completed())
    eventually(lambda: job.counts.completed == 1)
    assert holds_for(lambda: len(deployment.runs()) == 1, 0.5)
    job.resume()
    for count in (2, 3):
        deployment.set(deployment.wait_for(count)[-1], Completed())
    assert job.wait(120)


def test_cancel_goes_through_prefect(deployment):
    job = nbf.options(deployment=deployment.name, in_flight=3).map(x=range(10))
    running, *scheduled = deployment.wait_for(3)
    deployment.set(running, Running())
    eventually(lambda: job.counts.running == 1)
    job.cancel()
    eventually(lambda: deployment.state_of(running).is_cancelling())
    for run in scheduled:
        eventually(lambda run=run: deployment.state_of(run).is_cancelled())
    assert not job.is_done, "it runs until its worker says otherwise"
    deployment.set(running, Cancelled(message="stopped by its worker"))
    assert job.wait(120)
    assert job.counts.cancelled == 10
    assert len(deployment.runs()) == 3, "no more are made"
    assert "stopped by its worker" in str(job.outcomes()[0].error)


def test_cancel_does_not_wait_for_a_worker_that_is_gone(deployment, monkeypatch):
    monkeypatch.setattr(watcher, "_CANCEL_SECONDS", 0.5)
    job = deployment.map(x=[1])
    (run,) = deployment.wait_for(1)
    deployment.set(run, Running())
    eventually(lambda: job.counts.running == 1)
    job.cancel()
    assert job.wait(120)
    assert "may be gone" in str(job.outcomes()[0].error)
    assert deployment.state_of(run).is_cancelling()


def test_fail_fast_cancels_what_is_open_and_makes_no_more(deployment):
    job = nbf.options(deployment=deployment.name, in_flight=2, fail_fast=True).map(x=range(5))
    first, second = deployment.wait_for(2)
    deployment.set(first, Failed(message="no"))
    assert job.wait(120)
    assert (job.counts.failed, job.counts.cancelled) == (1, 4)
    assert deployment.state_of(second).is_cancelled()
    assert len(deployment.runs()) == 2


def test_a_kernel_that_ends_cancels_its_flow_runs(deployment, start_kernel):
    kernel = start_kernel(
        f"import nbfutures as nbf\njob = nbf.options(deployment={deployment.name!r}).map(x=[1])\ninput()"
    )
    (run,) = eventually(deployment.runs, 90)
    kernel.say()
    assert kernel.end()[0] == 0
    eventually(lambda: deployment.state_of(run).is_cancelled())


def test_a_flow_run_that_completes_in_spite_of_a_cancel_keeps_its_value(deployment):
    job = deployment.map(x=[1])
    (run,) = deployment.wait_for(1)
    deployment.set(run, Running())
    job.cancel()
    eventually(lambda: deployment.state_of(run).is_cancelling())
    deployment.set(run, Completed())
    assert job.wait(120)
    assert job.counts.completed == 1


def test_retry_makes_new_flow_runs_of_what_did_not_complete(deployment):
    job = deployment.map(x=[1, 2])
    first, second = deployment.wait_for(2)
    deployment.set(first, Completed())
    deployment.set(second, Failed(message="no"))
    assert job.wait(120)
    job.retry()
    again = eventually(lambda: next((run for run in deployment.runs() if run.name.endswith("(retry 1)")), None))
    assert again.parameters == {"x": 2}
    assert len(deployment.runs()) == 3
    deployment.set(again, Completed())
    assert job.result(120) == [None, None]


def test_the_card_says_that_no_worker_is_there(deployment, monkeypatch):
    monkeypatch.setattr(watcher, "_PATIENCE_SECONDS", 0.2)
    job = deployment.map(x=[1])
    (run,) = deployment.wait_for(1)
    eventually(lambda: "waiting for a worker" in repr(job))
    assert deployment.name in job.snapshot.note
    assert "nbf.serve" in job.snapshot.note
    deployment.set(run, Running())
    eventually(lambda: job.snapshot.note == "")
    deployment.set(run, Paused())
    eventually(lambda: "paused in Prefect" in repr(job))
    deployment.set(run, Completed())
    assert job.wait(120)


def test_a_deployment_that_does_not_exist_is_answered_with_those_that_do(deployment):
    job = nbf.options(deployment=f"{deployment.name}x").map(x=[1])
    with pytest.raises(DeploymentNotFoundError) as caught:
        job.result(120)
    assert f"did you mean {deployment.name!r}" in str(caught.value)
    assert "no deployment" in repr(job)


def test_parameters_that_no_json_can_hold_fail_their_item_alone(deployment):
    job = deployment.map([{"x": object()}, {"x": 1}])
    (run,) = deployment.wait_for(1)
    deployment.set(run, Completed())
    assert job.wait(120)
    assert job.frame()["outcome"].tolist() == ["failed", "completed"]
    assert isinstance(job.outcomes()[0].error, MapArgumentsError)
    assert "item 0" in str(job.outcomes()[0].error)


def test_parameters_that_the_deployment_refuses_fail_with_its_words(client):
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    strict = Deployment(client, parameter_openapi_schema=schema, enforce_parameter_schema=True)
    job = strict.map([{"x": "many"}])
    assert job.wait(120)
    assert "integer" in str(job.outcomes()[0].error)


def test_a_deployment_can_be_given_by_its_id(deployment):
    job = nbf.options(deployment=str(deployment.id)).map(x=[1])
    (run,) = deployment.wait_for(1)
    deployment.set(run, Completed())
    assert job.result(120) == [None]


@flow
def a_flow(x):
    return x


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda made: made.map(len, ["a"]), "no function"),
        (lambda made: made.map(a_flow, [1]), "no function"),
        (lambda made: made.submit(len), "no function"),
        (lambda made: made.map([1, 2]), "x=\\[1, 2"),
        (lambda made: made.map({"x": [1, 2]}), "one dict"),
        (lambda made: made.map([{1: 2}]), "item 0"),
        (lambda made: made.map(x=1), "nothing to map over"),
        (lambda made: made.map(x=[1, 2], y=[1]), "different lengths"),
        (lambda made: made.map([{"x": 1}], day="today"), "not both"),
        (lambda made: made.submit([1]), "have to be a dict"),
    ],
)
def test_what_makes_no_flow_runs_is_said_at_once(call, words):
    with pytest.raises(MapArgumentsError, match=words):
        call(nbf.options(deployment="a/b"))


@pytest.mark.parametrize("option", [{"workers": 2}, {"retries": 1}, {"timeout": 1}, {"runner": "processes"}])
def test_options_that_are_the_deployments_own_are_refused(option):
    with pytest.raises(InvalidOptionError, match=next(iter(option))):
        nbf.options(deployment="a/b", **option).map(x=[1])


@pytest.mark.parametrize("name", ["", "nightly", "a/b/c", "/b", "a/", 5])
def test_a_name_that_is_no_deployments_is_refused(name):
    with pytest.raises(InvalidOptionError, match="flow/name"):
        nbf.options(deployment=name)


def test_what_a_job_of_a_deployment_cannot_do_is_explained(deployment):
    job = deployment.map(x=[1])
    (run,) = deployment.wait_for(1)
    deployment.set(run, Failed(message="no"))
    assert job.wait(120)
    with pytest.raises(NbfuturesError, match="runs elsewhere"):
        job.failure(0).reproduce()
    with pytest.raises(NbfuturesError, match="decides what runs"):
        job.retry(len)


def test_open_flow_runs_are_watched_by_bulk_reads(deployment, requests_to_prefect):
    job = deployment.map(x=range(20))
    runs = deployment.wait_for(20)
    del requests_to_prefect[:]
    began = time.monotonic()
    eventually(lambda: sum("/flow_runs/filter" in one for one in requests_to_prefect) >= 3, interval=0.1)
    counted, seconds = list(requests_to_prefect), time.monotonic() - began
    # One request tells of up to 200: the benchmark `deployments` counts with as many.
    assert not [one for one in counted if any(str(run.id) in one for run in runs)]
    assert len(counted) / max(seconds, 1.0) < 10
    for run in runs:
        deployment.set(run, Completed())
    assert job.wait(120)
    assert job.counts.completed == 20
