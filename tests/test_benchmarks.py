"""The benchmarks run, and tell a figure for everything that they measure; how good it is, is not tested."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest
from benchmarks.campaign import Table, measure_tables
from benchmarks.columns import RATE
from benchmarks.counting_proxy import ClientCounter
from benchmarks.fresh_process import ContenderError, run_contender
from benchmarks.measure import Contender
from benchmarks.sections import Section, Target

ROOT = Path(__file__).resolve().parent.parent
TITLES = [
    "No-op items, two threads",
    "No-op items, two processes",
    "processes that are yet to start",
    "1 ms",
    "one item in a task run",
    "50 ms of pure Python",
    "of a second job, processes",
    "1 in 50 of 500 ms, two threads",
    "1 in 50 of 500 ms, two processes",
    "on Dask",
    "background tasks, two workers",
    "first item, threads",
    "%load_ext",
    "until nbf.map returns",
    "arguments that hold",
    "few no-op items to many",
    "memory of a job",
    "sent to Prefect",
    "the live card",
]
pytestmark = pytest.mark.timeout(900)  # The smoke is one run of 90 s on two busy CPUs.
LEFT_OUT = "ray"  # It takes up to 25 s to start.


def benchmarks(*arguments, environment=None):
    """Run `python -m benchmarks` to its end."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=880, check=False)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, kernel_environment):
    """What a run of next to nothing prints, and writes as JSON; it finds the server of all tests."""
    for library in ("joblib", "tqdm", "distributed"):
        pytest.importorskip(library, reason="the benchmarks compare with it: pip install nbfutures[bench]")
    file = tmp_path_factory.mktemp("benchmarks") / "result.json"
    arguments = ["all", "--smoke", "--leave-out", LEFT_OUT, "--home", kernel_environment["NBFUTURES_HOME"]]
    done = benchmarks(*arguments, "--json", str(file), environment=kernel_environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("title", TITLES)
def test_each_table_is_printed_and_written(smoke, title):
    printed, written = smoke
    assert title.lower() in printed.lower()
    assert any(title.lower() in section["title"].lower() for section in written["sections"])


def test_every_contender_that_is_there_has_a_row_and_positive_figures(smoke):
    printed, written = smoke
    contenders = [contender for section in written["sections"] for contender in section["contenders"]]
    assert len(contenders) >= 45
    for contender in contenders:
        assert contender["label"] in printed
        assert contender["rounds"]
        if "InvalidOptionError" in contender["error"]:
            continue  # a runner that does not exist yet
        assert contender["error"] == "", contender
        # An item of a few may cost no memory that can be seen; and a short job asks for no health.
        if contender["workload"] not in {"resident", "traced", "threads"} and "once" not in contender["workload"]:
            assert all(figure["low"] > 0 for figure in contender["figures"].values()), contender


def test_every_target_is_printed_as_met_or_not(smoke):
    printed, written = smoke
    targets = [target for section in written["sections"] for target in section["targets"]]
    assert len(targets) >= 20
    assert printed.count("  met ") + printed.count("  NOT met ") == len(targets)


def test_what_prefect_is_sent_is_counted(smoke):
    """A task run has three events: pending, running, completed."""
    _, written = smoke
    [section] = [section for section in written["sections"] if section["title"].startswith("Sent to Prefect")]
    [contender] = section["contenders"]
    [figures] = contender["rounds"]
    assert figures["messages"] >= 3 * contender["items"]
    assert figures["kinds"]["HTTP POST /api/flow_runs/"] == 1


def test_the_cost_of_the_card_is_told(smoke):
    _, written = smoke
    sections = [section for section in written["sections"] if section["benchmark"] == "display"]
    assert [section["title"] for section in sections] == ["The live card in a kernel", "The same with all folds open"]
    for section in sections:
        for contender in section["contenders"]:
            assert contender["figures"]["largest update"]["low"] > 100
            assert contender["figures"]["CPU"]["low"] > 0


def test_the_picture_has_the_contenders_as_text(smoke, tmp_path):
    _, written = smoke
    file, picture = tmp_path / "result.json", tmp_path / "result.svg"
    file.write_text(json.dumps(written), encoding="utf-8")
    done = benchmarks("picture", "--json", str(file), "--svg", str(picture))
    assert done.returncode == 0, done.stderr
    drawn = picture.read_text(encoding="utf-8")
    assert drawn.count(">nbfutures<") >= 6
    for text in ("ThreadPoolExecutor", "joblib loky", written["conditions"]["Python"]):
        assert text in drawn
    assert len(drawn) < 60_000


def test_a_contender_that_takes_too_long_is_ended_with_its_workers():
    before = set(psutil.pids())
    with pytest.raises(ContenderError, match="longer than 1 s"):
        run_contender("multiprocessing_pool", "busy", 10_000, limit=1.0)
    left = [process for process in psutil.process_iter(["cmdline"]) if process.pid not in before]
    assert [process for process in left if "multiprocessing_pool" in (process.info["cmdline"] or [])] == []


def test_a_contender_that_fails_is_a_row_with_its_reason_and_is_not_tried_again():
    told = []
    section = Section(
        "Two",
        (Contender("missing", "no_such_file", "noop", 5), Contender("there", "thread_pool", "noop", 5)),
        (RATE,),
        (Target("missing", RATE.title, 1.0, versus="there"),),
        repeats=2,
    )
    table = Table(section, "test")
    assert list(measure_tables([table], in_one_process=True, seconds=None, tell=told.append)) == [table, table]
    assert [one.contender.label for one in table.measured] == ["missing", "there", "there"]
    assert "no end   missing: ModuleNotFoundError" in table.as_text()
    assert "NOT met  missing: items/s >= 1.00x of there; was not measured" in table.as_text()


def test_rounds_that_do_not_fit_into_the_time_are_left_out_but_the_first():
    clock = itertools.count().__next__

    def measured_table(title):
        return Table(Section(title, (Contender("there", "thread_pool", "noop", 5),), (RATE,), (), repeats=3), "test")

    tables = [measured_table("one"), measured_table("two")]
    # Each look at the clock takes a second: a round takes 1 s, as the clock tells.
    rounds = measure_tables(tables, in_one_process=True, seconds=7.5, tell=str, now=clock)
    order = [table.section.title for table in rounds]
    assert order[:2] == ["one", "two"]
    assert 2 < len(order) < 6


def test_requests_and_websocket_messages_are_counted_however_they_are_cut():
    request = b"POST /api/task_runs/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{ \r\n"
    read = b"GET /api/flow_runs/0d5b4c8a-7a0e-4b0c-9f0e-1f1f1f1f1f1f?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    upgrade = b"GET /api/events/in HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    mask = b"mask"
    frames = b"\x81\x83" + mask + b"abc" + b"\x81\xfe\x01\x00" + mask + bytes(256) + b"\x89\x80" + mask  # a ping
    said = request * 2 + read + upgrade + frames
    for step in (1, 7, len(said)):
        counts = Counter()
        counter = ClientCounter(counts)
        for start in range(0, len(said), step):
            counter.feed(said[start : start + step])
        assert counts == {
            "HTTP POST /api/task_runs/": 2,
            "HTTP GET /api/flow_runs/ID": 1,
            "websocket /api/events/in": 2,
        }


def test_a_contender_in_a_fresh_process_prints_its_figures_as_json():
    done = benchmarks("contender", "thread_pool", "noop", "10")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seconds"] > 0


def test_an_unknown_subcommand_is_a_usage_error():
    done = benchmarks("nonsense")
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
