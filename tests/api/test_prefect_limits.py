"""Limits of Prefect's: made, listed and deleted, and their slots for the items of a job."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from httpx import HTTPStatusError
from prefect import get_client, task
from prefect.concurrency.asyncio import concurrency as async_concurrency
from prefect.concurrency.asyncio import rate_limit as async_rate_limit
from prefect.concurrency.sync import concurrency, rate_limit
from tests.support import eventually, holds_for, taken

import nbfutures as nbf
from nbfutures.errors import InvalidOptionError, LimitError, ServerUnreachableError, UnknownLimitError

pytestmark = pytest.mark.usefixtures("no_limits")


def in_use(name):
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(name).active_slots


# --- making, listing, deleting ---------------------------------------------------------------------------------------


def test_a_limit_is_made_changed_listed_and_deleted():
    assert repr(nbf.limit("db", 4)) == "db: 4 slots, none in use"
    assert repr(nbf.limit("db", 2)) == "db: 2 slots, none in use"
    nbf.limit("gpu", 1, tag=True)
    nbf.limit("api", 10, per_second=5)
    table = nbf.limits()
    assert list(table["limit"]) == ["api", "db", "gpu"]
    assert list(table["kind"]) == ["rate", "global", "tag"]
    assert list(table["slots"]) == [10, 2, 1]
    nbf.delete_limit("gpu", tag=True)
    nbf.delete_limit("db")
    assert list(nbf.limits()["limit"]) == ["api"]


def test_a_limit_for_a_rate_keeps_it_when_its_slots_change():
    nbf.limit("api", 10, per_second=5)
    assert repr(nbf.limit("api", 20)) == "api: 20 slots, 5 free again each second, none in use"
    assert repr(nbf.limit("api", per_second=0)) == "api: 20 slots, none in use"


@pytest.mark.parametrize("tag", [False, True])
def test_a_limit_that_does_not_exist_is_told_with_how_to_make_it(tag):
    flag = "--tag " if tag else ""
    for call in (nbf.limit, nbf.delete_limit):
        with pytest.raises(UnknownLimitError, match=f"%limit {flag}nothing 4"):
            call("nothing", tag=tag)


@pytest.mark.parametrize(
    ("args", "more", "message"),
    [
        (("db", -1), {}, "whole number of slots, 0 or more, got -1"),
        (("db", 0), {"tag": True}, "A tag limit takes 1 slot or more"),
        (("db", 1.5), {}, "whole number of slots"),
        (("", 1), {}, "must be a text that is not empty"),
        (("tag:db", 1), {}, "tag=True"),
        (("db", 1), {"per_second": -1}, "per_second must be"),
        (("db", 1), {"per_second": 1, "tag": True}, "for global limits"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(args, more, message):
    with pytest.raises(InvalidOptionError, match=message):
        nbf.limit(*args, **more)


def test_a_name_that_prefect_refuses_is_told_in_its_words():
    with pytest.raises(LimitError, match="Prefect refuses that"):
        nbf.limit("a/b", 1)


def test_where_prefect_does_not_answer_the_waiting_has_an_end(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr("nbfutures.prefect.limits.prefect_limits.read_all", lambda *_: never.wait(120))
    monkeypatch.setattr("nbfutures.prefect.limits.admin.ANSWER_SECONDS", 0.3)
    with pytest.raises(ServerUnreachableError, match="did not answer"):
        nbf.limits()
    never.set()


def test_the_list_says_who_has_the_slots(gate):
    nbf.limit("db", 4)
    job = nbf.options(limit="db", workers=2, name="query").map(gate, range(4))
    gate.wait_for(2)
    with taken("db", 1):
        eventually(lambda: list(nbf.limits()["held_by"]) == ["query (2), others (1)"])
        assert repr(nbf.limit("db")) == "db: 4 slots, 3 in use: query (2), others (1)"
    gate.open()
    assert job.wait(120)


# --- a job's items ---------------------------------------------------------------------------------------------------


def test_no_more_items_run_at_once_than_the_limit_has_slots(kind, gate):
    nbf.limit("db", 2)
    job = nbf.options(workers=5, limit="db").map(kind.gated(gate), range(8))
    gate.wait_for(2)
    assert holds_for(lambda: gate.inside == 2, 0.3)
    assert in_use("db") == 2
    gate.open()
    assert job.result(120) == list(range(8))
    assert gate.most == 2
    eventually(lambda: in_use("db") == 0)


def test_two_jobs_share_a_limit_and_both_come_to_their_end(gate):
    nbf.limit("db", 3)
    limited = nbf.options(workers=4, limit="db")

    def work(x):
        time.sleep(0.02)
        return gate(x)

    jobs = [limited.map(work, range(30)) for _ in range(2)]
    gate.wait_for(3)
    assert holds_for(lambda: gate.inside == 3, 0.2)
    gate.open()
    assert [job.result(240) for job in jobs] == [list(range(30))] * 2
    assert gate.most == 3


def test_an_item_takes_a_slot_of_each_of_several_limits(gate):
    nbf.limit("db", 3)
    nbf.limit("disk", 1)
    job = nbf.options(workers=3, limit=["db", "disk"]).map(gate, range(3))
    gate.wait_for(1)
    assert holds_for(lambda: gate.inside == 1, 0.3)
    assert (in_use("db"), in_use("disk")) == (1, 1)
    gate.open()
    assert job.result(120) == list(range(3))
    assert gate.most == 1


def test_inline_items_take_a_slot(gate):
    nbf.limit("db", 1)
    seen = []
    job = nbf.options(runner="inline", limit="db").map(lambda x: seen.append(in_use("db")) or x, range(2))
    assert job.result(120) == [0, 1]
    assert seen == [1, 1]
    eventually(lambda: in_use("db") == 0)


def hold(args):
    """Note in a directory that the item runs, until a file is there that lets it end."""
    directory, x = args
    (directory / f"in {x}").touch()
    while not (directory / "open").exists():
        time.sleep(0.01)
    (directory / f"in {x}").unlink()
    return x


async def hold_async(args):
    directory, x = args
    (directory / f"in {x}").touch()
    while not (directory / "open").exists():  # noqa: ASYNC110 - opened from another process
        await asyncio.sleep(0.01)
    (directory / f"in {x}").unlink()
    return x


def test_coroutines_in_processes_take_a_slot_each(tmp_path):
    nbf.limit("db", 3)
    job = nbf.options(runner="processes", workers=2, limit="db").map(hold_async, [(tmp_path, x) for x in range(9)])
    eventually(lambda: len(list(tmp_path.glob("in *"))) == 3, 60)
    assert holds_for(lambda: len(list(tmp_path.glob("in *"))) == 3, 0.5)
    assert in_use("db") == 3
    (tmp_path / "open").touch()
    assert job.result(120) == list(range(9))
    eventually(lambda: in_use("db") == 0)


def test_a_job_is_not_slower_than_its_slots_allow():
    nbf.limit("db", 2)

    def work(x):
        time.sleep(0.05)
        return x

    job = nbf.options(workers=4, limit="db").map(work, range(60))
    assert job.result(120) == list(range(60))
    started = min(one.started for one in job.outcomes())
    took = max(one.ended for one in job.outcomes()) - started
    # 1.5 s of work for each of two slots; Prefect's own `concurrency` takes 10 s and more for that.
    assert took < 4


def test_short_items_do_not_ask_prefect_each(requests_to_prefect):
    nbf.limit("db", 2)
    requests_to_prefect.clear()
    job = nbf.options(workers=2, limit="db").map(abs, range(2_000))
    assert job.result(120) == list(range(2_000))
    assert 1 <= sum("/increment-with-lease" in one for one in requests_to_prefect) <= 6


def test_a_job_that_holds_all_slots_lets_one_of_the_same_kernel_go_first(monkeypatch):
    # Not for other programs, which take their time.
    monkeypatch.setattr("nbfutures.prefect.limits.slot_leases.TURN_SECONDS", 3600)
    nbf.limit("db", 1)
    limited = nbf.options(workers=1, limit="db")

    def work(x):
        time.sleep(0.02)
        return x

    long = limited.map(work, range(10_000))
    eventually(lambda: long.counts.completed)
    assert limited.map(work, range(3)).result(120) == [0, 1, 2]
    assert not long.is_done
    settled = long.counts.settled
    eventually(lambda: long.counts.settled > settled)


def test_a_job_that_holds_all_slots_lets_other_programs_go_first(monkeypatch):
    monkeypatch.setattr("nbfutures.prefect.limits.slot_leases.TURN_SECONDS", 0.3)
    nbf.limit("db", 1)
    job = nbf.options(workers=1, limit="db").map(lambda _: time.sleep(0.02), range(10_000))
    eventually(lambda: in_use("db") == 1)
    eventually(lambda: succeeds(taken("db", 1)), interval=0.1)
    assert not job.is_done


def succeeds(context):
    try:
        with context:
            return True
    except HTTPStatusError:
        return False


# --- waiting for a slot ----------------------------------------------------------------------------------------------


def test_while_it_waits_the_job_says_so_and_goes_on_when_a_slot_is_free():
    nbf.limit("db", 2)
    with taken("db", 2):
        job = nbf.options(limit="db").map(abs, range(5))
        eventually(lambda: job.snapshot.note == "waiting for a slot of 'db' (2 of 2 in use)")
        assert job.counts.settled == 0
    assert job.result(120) == list(range(5))
    assert job.snapshot.note == ""


def test_a_cancel_ends_the_waiting_at_once(kind):
    nbf.limit("db", 1)
    with taken("db", 1):
        job = nbf.options(limit="db").map(kind(lambda x: x), range(3))
        eventually(lambda: job.snapshot.note.startswith("waiting for a slot"))
        job.cancel()
        assert job.wait(2)
        assert job.counts.cancelled == 3
        assert in_use("db") == 1


def test_a_limit_that_is_raised_lets_the_job_go_on():
    nbf.limit("db", 0)
    job = nbf.options(limit="db").map(abs, range(3))
    eventually(lambda: job.snapshot.note == "waiting for a slot of 'db' (0 of 0 in use)")
    nbf.limit("db", 1)
    assert job.result(120) == [0, 1, 2]


def test_a_job_that_waits_ends_where_its_limit_is_deleted():
    nbf.limit("db", 0)
    job = nbf.options(limit="db").map(abs, range(3))
    eventually(lambda: job.snapshot.note.startswith("waiting for a slot"))
    nbf.delete_limit("db")
    with pytest.raises(UnknownLimitError, match="%limit db 4"):
        job.result(120)
    assert job.counts.cancelled == 3


def test_a_paused_job_holds_no_slot_and_takes_some_again(gate):
    nbf.limit("db", 2)
    job = nbf.options(workers=2, limit="db").map(gate, range(6))
    gate.wait_for(2)
    job.pause()
    assert in_use("db") == 2
    gate.open()
    eventually(lambda: in_use("db") == 0)
    assert job.counts.settled == 2
    job.resume()
    assert job.result(120) == list(range(6))


def test_an_item_that_was_given_up_on_keeps_its_slot_until_it_ends(gate):
    nbf.limit("db", 1)
    job = nbf.options(workers=2, limit="db", timeout=0.2).map(lambda x: gate(x) if x == 0 else x, range(3))
    eventually(lambda: job.counts.failed == 1)
    assert holds_for(lambda: job.counts.settled == 1, 0.4)
    assert in_use("db") == 1
    gate.open()
    assert job.wait(120)
    assert job.values() == [None, 1, 2]


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_a_job_with_a_limit_that_does_not_exist_runs_nothing_and_says_how_to_make_it(kind):
    ran = []

    def note(x):
        ran.append(x)

    job = nbf.options(limit="nothing").map(kind(note), range(3))
    with pytest.raises(UnknownLimitError, match=r"There is no limit 'nothing'. Create it.*: %limit nothing 4"):
        job.result(120)
    assert ran == []
    assert "%limit nothing 4" in repr(job)
    nbf.limit("nothing", 1)
    assert job.retry().wait(120)
    assert sorted(ran) == [0, 1, 2]


def test_a_limit_for_a_rate_is_refused_with_what_to_use():
    nbf.limit("api", 5, per_second=1)
    with pytest.raises(LimitError, match=r"rate_limit\('api'\)"):
        nbf.options(limit="api").map(abs, range(3)).result(120)


@pytest.mark.parametrize("limit", [4, "", ["db", 3]])
def test_what_is_no_name_of_a_limit_is_refused(limit):
    with pytest.raises(InvalidOptionError, match="takes the name of a limit"):
        nbf.options(limit=limit)


def test_a_flow_takes_no_limit():
    with pytest.raises(InvalidOptionError, match="limit"):
        nbf.options(limit="db").run(lambda: None)


HOLDING = """
import time, nbfutures as nbf
job = nbf.options(limit="db", workers=2).map(time.sleep, [SECONDS] * 2)
while job.counts.running < 2:
    time.sleep(0.05)
print("holds", flush=True)
"""


def test_a_kernel_that_ends_gives_its_slots_back(start_kernel):
    nbf.limit("db", 2)
    kernel = start_kernel(HOLDING.replace("SECONDS", "3") + "input()")
    assert kernel.read() == "holds"
    assert in_use("db") == 2
    kernel.say()
    kernel.end()
    assert in_use("db") == 0


def test_the_slots_of_a_kernel_that_died_are_free_when_their_lease_is_over(start_kernel, user):
    nbf.limit("db", 2)
    kernel = start_kernel(HOLDING.replace("SECONDS", "600") + "time.sleep(600)")
    assert kernel.read() == "holds"
    kernel.kill()
    assert in_use("db") == 2
    [folder] = user.rglob("concurrency_leases")
    assert lease_seconds(folder) <= 60
    # A minute has passed: Prefect takes no shorter lease.
    end_leases(folder)
    eventually(lambda: in_use("db") == 0)


def lease_seconds(folder):
    ends = [datetime.fromisoformat(json.loads(file.read_text())["expiration"]) for file in folder.glob("*-*.json")]
    return (max(ends) - datetime.now(UTC)).total_seconds()


def end_leases(folder):
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    for file in folder.glob("*-*.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "expiration": past}))
    index = folder / "expirations.json"
    index.write_text(json.dumps(dict.fromkeys(json.loads(index.read_text()), past)))


# --- Prefect's own ---------------------------------------------------------------------------------------------------


def with_missing(x):
    with concurrency("not-there"):
        return x


async def with_missing_async(x):
    async with async_concurrency("not-there"):
        return x


@pytest.mark.parametrize("function", [with_missing, task(with_missing), with_missing_async])
def test_a_job_whose_items_use_a_limit_that_does_not_exist_says_how_to_create_it(function):
    job = nbf.map(function, range(3))
    assert job.result(120) == [0, 1, 2]
    told = (
        "Prefect has no limit 'not-there' and lets items pass. Create it, for example with 4 slots: %limit not-there 4"
    )
    eventually(lambda: job.snapshot.note == told)
    assert "%limit not-there 4" in repr(job)


def with_concurrency(args):
    with concurrency("own", occupy=1, strict=True):
        return hold(args)


async def with_async_concurrency(args):
    async with async_concurrency("own", occupy=1, strict=True):
        return await hold_async(args)


@pytest.mark.parametrize(
    ("runner", "fn"),
    [("threads", with_concurrency), ("threads", with_async_concurrency), ("processes", with_concurrency)],
    ids=["threads", "async", "processes"],
)
def test_prefects_own_concurrency_works_in_items(runner, fn, tmp_path):
    nbf.limit("own", 1)
    job = nbf.options(runner=runner, workers=2).map(fn, [(tmp_path, x) for x in range(2)])
    eventually(lambda: len(list(tmp_path.glob("in *"))) == 1, 60)
    assert holds_for(lambda: len(list(tmp_path.glob("in *"))) == 1, 0.4)
    (tmp_path / "open").touch()
    assert job.result(120) == [0, 1]


def limited_by_rate(x):
    rate_limit("per second", strict=True)
    return x


async def limited_by_rate_async(x):
    await async_rate_limit("per second", strict=True)
    return x


@pytest.mark.parametrize(
    ("runner", "fn"),
    [("threads", limited_by_rate), ("threads", limited_by_rate_async), ("processes", limited_by_rate)],
    ids=["threads", "async", "processes"],
)
def test_prefects_own_rate_limit_works_in_items(runner, fn):
    nbf.limit("per second", 1, per_second=5)
    job = nbf.options(runner=runner, workers=2).map(fn, range(3))
    assert job.result(120) == [0, 1, 2]


def test_tasks_with_a_tag_obey_its_limit_and_the_list_names_them(gate):
    nbf.limit("heavy", 1, tag=True)

    @task(tags=["heavy"], task_run_name="lift {x}")
    def lift(x):
        return gate(x)

    job = nbf.options(workers=3, name="lifting").map(lift, range(3))
    gate.wait_for(1)
    assert holds_for(lambda: gate.inside == 1, 0.5)
    eventually(lambda: next(iter(nbf.limits()["held_by"])).endswith(" of lifting (1)"))
    gate.open()
    assert job.result(120) == [0, 1, 2]
    assert gate.most == 1


def test_tasks_that_wait_for_a_tag_are_cancelled_at_once_and_do_not_run_later(gate):
    nbf.limit("heavy", 1, tag=True)
    ran = []

    @task(tags=["heavy"])
    def lift(x):
        ran.append(x)
        return x

    with taken("tag:heavy", 1):
        job = nbf.options(workers=2).map(lift, range(4))
        eventually(lambda: job.snapshot.note == "limits in use: %limit shows which")
        assert job.counts.settled == 0
        job.cancel()
        assert job.wait(5)
        assert job.counts.cancelled == 4
    # Prefect gives the slot to those that waited.
    thread = job._run.thread
    thread.join(120)
    assert not thread.is_alive()
    assert ran == []
    assert job.retry().result(120) == [0, 1, 2, 3]


def test_functions_with_a_tag_obey_its_limit(gate):
    nbf.limit("heavy", 1, tag=True)
    job = nbf.options(workers=3, tags="heavy", batch=1).map(gate, range(3))
    gate.wait_for(1)
    assert holds_for(lambda: gate.inside == 1, 0.4)
    gate.open()
    assert job.result(120) == [0, 1, 2]
    assert gate.most == 1
