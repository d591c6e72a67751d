"""What tasks log and print: in Prefect and in `job.logs()`, and in no cell."""

# ruff: noqa: T201 - items print

from __future__ import annotations

import builtins
import threading

from prefect import flow, get_run_logger, task
from prefect.client.orchestration import SyncPrefectClient

import nbfutures as nbf

COLUMNS = ["time", "level", "task_run", "message", "task_run_id"]


@task(task_run_name="tell {x}")
def tell(x):
    get_run_logger().warning("told %s", x)
    return x


def test_lines_of_task_runs_are_a_table(capsys):
    job = nbf.map(tell, range(3))
    assert job.result(120) == [0, 1, 2]
    table = job.logs()
    assert list(table.columns) == COLUMNS
    told = table[table["level"] == "WARNING"]
    assert sorted(told["message"]) == ["told 0", "told 1", "told 2"]
    assert dict(zip(told["message"], told["task_run"], strict=True))["told 1"] == "tell 1"
    assert set(told["task_run_id"]) == set(job.frame()["task_run_id"])
    assert table["time"].is_monotonic_increasing
    assert str(table["time"].dt.tz) == "UTC"
    assert table["task_run"].isna().any()
    assert "told" not in "".join(capsys.readouterr())


def test_names_of_task_runs_are_waited_for_where_prefect_records_late(monkeypatch):
    job = nbf.map(tell, range(3))
    assert job.result(120) == [0, 1, 2]
    read, asked = SyncPrefectClient.read_task_runs, []

    def late(self, **options):
        asked.append(options)
        return read(self, **options) if len(asked) > 2 else []

    # A server under load; nothing makes a real one slow on demand.
    monkeypatch.setattr(SyncPrefectClient, "read_task_runs", late)
    assert set(job.logs()["task_run"].dropna()) == {"tell 0", "tell 1", "tell 2"}


def test_a_job_without_a_flow_run_has_an_empty_table_with_the_same_columns():
    job = nbf.track([])
    assert job.wait(120)
    table = job.logs()
    assert len(table) == 0
    full = nbf.map(tell, [0])
    assert full.wait(120)
    assert table.dtypes.equals(full.logs().dtypes)


def test_the_newest_lines_are_taken_where_there_are_too_many():
    @task
    def count(n):
        for x in range(n):
            get_run_logger().info("line %d", x)

    job = nbf.submit(count, 450)
    assert job.wait(120)
    table = job.logs()
    lines = table["message"][table["message"].str.startswith("line")]
    assert lines.tolist() == [f"line {x}" for x in range(450)]
    assert job.logs(limit=10)["message"].tolist() == table["message"].tolist()[-10:]
    assert len(job.logs(limit=0)) == 0


def test_lines_of_a_retry_and_of_flows_that_a_flow_calls_belong_to_it():
    @flow
    def inner():
        get_run_logger().info("from within")

    @flow
    def outer():
        tell.submit(1).result()
        inner()

    job = nbf.run(outer)
    assert job.wait(120)
    assert {"told 1", "from within"} <= set(job.logs()["message"])
    again = nbf.map(tell, [5])
    assert again.wait(120)
    again._run.retry([0])
    assert again.wait(120)
    assert again.logs()["message"].tolist().count("told 5") == 2


def test_lines_and_prints_from_processes_are_there_and_in_no_cell(capfd):
    @task(log_prints=True)
    def talk(x):
        print("elsewhere", x)
        return tell.fn(x)

    job = nbf.options(runner="processes", workers=1).map(talk, range(2))
    assert job.result(240) == [0, 1]
    assert {"elsewhere 0", "told 0", "elsewhere 1", "told 1"} <= set(job.logs()["message"])
    shown = "".join(capfd.readouterr())
    assert "told" not in shown
    assert "elsewhere" not in shown


# --- log_prints -----------------------------------------------------------------------------------------------------


def printing(meeting, **options):
    """Return a task that prints before and after all of those that run at once have begun to print."""

    @task(**options)
    def talk(x):
        print("before", x)
        meeting.wait(120)
        print("after", x)
        return x

    return talk


def test_prints_of_tasks_in_threads_are_all_logged_and_none_is_left_behind():
    before = builtins.print
    talk = printing(threading.Barrier(4), log_prints=True)
    job = nbf.options(workers=4).map(talk, range(20))
    assert job.result(120) == list(range(20))
    table = job.logs()
    printed = table[table["level"] == "INFO"]["message"]
    wanted = {f"{word} {x}" for word in ("before", "after") for x in range(20)}
    assert wanted <= set(printed)
    assert printed.isin(wanted).sum() == 40
    assert [one.output for one in job.outcomes()] == [None] * 20
    job._run.thread.join(120)
    assert builtins.print is before


def test_tasks_beside_them_print_into_their_own_output(join):
    meeting = threading.Barrier(2)
    logged = nbf.options(workers=1, name="logged").map(printing(meeting, log_prints=True), [1])
    kept = nbf.options(workers=1, name="kept").map(printing(meeting), [2])
    assert logged.result(120) == [1]
    assert kept.result(120) == [2]
    assert kept.outcomes()[0].output.stdout == "before 2\nafter 2\n"
    assert {"before 1", "after 1"} <= set(logged.logs()["message"])
    assert not any("2" in one for one in kept.logs()["message"] if "before" in one or "after" in one)


def test_prints_of_a_flow_and_its_tasks_are_logged():
    talk = printing(threading.Barrier(3), log_prints=True)

    @flow(log_prints=True)
    def speak():
        print("the flow")
        talk.map(range(3)).wait()
        print("the end")

    before = builtins.print
    job = nbf.run(speak)
    assert job.wait(120)
    wanted = {"the flow", "the end", *(f"{word} {x}" for word in ("before", "after") for x in range(3))}
    assert wanted <= set(job.logs()["message"])
    assert builtins.print is before
