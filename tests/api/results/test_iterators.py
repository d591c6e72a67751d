"""Items that come from generators and other iterators, while the job runs."""

from __future__ import annotations

import contextvars
import csv
import gc
import itertools
import operator
import queue
import sqlite3
import threading
import weakref

import pytest
from tests.file_gate import FileGate
from tests.support import eventually, holds_for

import nbfutures as nbf
from nbfutures import unmapped
from nbfutures.errors import ItemCancelledError, JobCrashedError, MapArgumentsError

kind_of_caller = contextvars.ContextVar("kind_of_caller", default="nobody")


def negated(x):
    return -x


def size(x):
    return len(x)


class Source:
    """An iterator that gives numbers as it is let, and fails where two threads ask it at once."""

    def __init__(self):
        self._allowed = queue.SimpleQueue()
        self._inside = threading.Lock()
        self._given = 0
        self.waiting = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        assert self._inside.acquire(blocking=False), "asked by two threads at once"
        try:
            if self._allowed.empty():
                self.waiting.set()
            if not self._allowed.get(timeout=120):
                raise StopIteration
            self._given += 1
            return self._given - 1
        finally:
            self._inside.release()

    def let(self, number):
        for _ in range(number):
            self._allowed.put(True)

    def end(self):
        self._allowed.put(False)


@pytest.fixture
def source():
    made = Source()
    yield made
    made.end()


class Endless:
    """Numbers without an end."""

    def __init__(self):
        self.given = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.given += 1
        return self.given - 1


def numbers_then_error(number, error):
    yield from range(number)
    raise error


def test_items_run_as_an_iterator_gives_them_in_every_runner(background, source, kind):
    job = background.map(kind(negated), source)
    assert source.waiting.wait(120)
    assert len(job) == 0
    assert job.snapshot.is_open_ended
    assert job.snapshot.seconds_left is None
    source.let(3)
    eventually(lambda: job.counts.completed == 3)
    assert not job.is_done
    assert job.values() == [0, -1, -2]
    source.let(2)
    source.end()
    assert job.result(120) == [0, -1, -2, -3, -4]
    assert not job.snapshot.is_open_ended
    assert job.frame()["input"].tolist() == ["0", "1", "2", "3", "4"]


def test_an_endless_iterator_is_read_no_faster_than_the_window_needs_until_it_is_cancelled(background):
    endless = Endless()
    job = background.map(negated, endless)
    eventually(lambda: job.counts.completed > 1_000)
    job.pause()
    eventually(lambda: job.counts.running == 0)
    paused_at = endless.given
    assert holds_for(lambda: endless.given <= paused_at + 1, 0.3)
    assert endless.given < job.counts.settled + 50_000
    job.resume()
    eventually(lambda: job.counts.total > paused_at)
    job.cancel()
    assert job.wait(120)
    cancelled_at = endless.given
    assert cancelled_at <= job.counts.total + 1
    with pytest.raises(ItemCancelledError):
        job.result()
    job.retry()
    assert job.result(120) == [-x for x in range(job.counts.total)]
    assert endless.given == cancelled_at


def test_slow_items_are_read_but_some_ahead(background, tmp_path):
    gate, endless = FileGate(tmp_path), Endless()
    job = background.map(gate, endless)
    gate.wait_for(2)
    assert holds_for(lambda: endless.given <= 40, 0.5)
    job.cancel()
    gate.open()
    assert job.wait(120)


def test_what_blocks_in_an_iterator_holds_up_neither_cancel_nor_wait(background, source):
    job = background.map(negated, source)
    source.let(2)
    eventually(lambda: job.counts.completed == 2)
    assert source.waiting.wait(120)
    assert not job.wait(0.01)
    job.cancel()
    assert job.wait(120)
    assert job.values() == [0, -1]
    assert "iterator" in repr(job)
    source.let(1)
    assert holds_for(lambda: len(job) == 2, 0.2)


def test_what_an_iterator_raises_ends_the_job_and_what_came_before_is_kept(runner):
    job = runner.map(negated, numbers_then_error(3, OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone") as told:
        job.result(120)
    assert job.wait(120)
    assert "iterator for 'x' raised this after 3 items" in told.value.__notes__[0]
    assert job.values() == [0, -1, -2]
    assert "The iterator for 'x' raised OSError: the disk is gone after 3 items" in repr(job)
    job.retry()
    with pytest.raises(OSError, match="the disk is gone"):
        job.result(120)


def test_an_iterator_that_exits_or_interrupts_ends_its_job_only():
    for error in (SystemExit(0), KeyboardInterrupt(), GeneratorExit()):
        job = nbf.map(negated, numbers_then_error(2, error))
        assert job.wait(120)
        assert job.values() == [0, -1]
        with pytest.raises(JobCrashedError, match=f"iterator for 'x' raised {type(error).__name__}"):
            job.result()


def test_iterators_side_by_side_give_pairs():
    job = nbf.map(operator.sub, (x for x in range(5)), [10, 20, 30, 40, 50])
    assert job.result(120) == [-10, -19, -28, -37, -46]
    assert nbf.map(pow, iter([2, 3]), iter([1, 2]), unmapped(None)).result(120) == [2, 9]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ([1, 2, 3], itertools.count(1)), "base has 3, exp goes on after 3"),
        (lambda: (iter([1, 2, 3]), [1, 2, 3, 4]), "base ended after 3, exp has 4"),
        (lambda: (iter([1, 2, 3, 4]), iter([1, 2, 3])), "base goes on after 3, exp ended after 3"),
    ],
)
def test_lengths_that_differ_are_told_and_what_came_before_is_kept(make, told):
    job = nbf.map(pow, *make())
    with pytest.raises(MapArgumentsError, match=told):
        job.result(120)
    assert job.wait(120)
    assert len(job.values()) == 3
    assert None not in job.values()


def test_one_iterator_for_two_parameters_is_refused(jobs):
    both = iter([1, 2, 3, 4])
    with pytest.raises(MapArgumentsError, match="x and y are one iterator"):
        nbf.map(lambda x, y: x + y, both, both)
    assert jobs == []


def test_iterators_of_all_sorts_are_read_in_the_context_of_the_call():
    def told():
        yield kind_of_caller.get()

    async def later():
        for x in range(3):
            yield x

    class Own:
        def __iter__(self):
            return iter("ab")

    token = kind_of_caller.set("the cell")
    made = nbf.map(str, told())
    kind_of_caller.reset(token)
    assert made.result(120) == ["the cell"]
    sources = [csv.reader(["a,b", "c,d"]), enumerate("abc"), zip("ab", "cd", strict=True), map(str, [1, 2])]
    jobs = [nbf.map(size, one) for one in sources]
    assert [one.result(120) for one in jobs] == [[2, 2], [2, 2, 2], [2, 2], [1, 1]]
    assert nbf.map(negated, later()).result(120) == [0, -1, -2]
    assert nbf.map(str.upper, Own()).result(120) == ["A", "B"]
    assert nbf.map(negated, iter(())).result(120) == []


def test_what_has_a_length_is_known_at_once(gate):
    for sized in ([1, 2], (1, 2), {1, 2}, range(2), {1: 1, 2: 2}.values(), {1: 1, 2: 2}.keys()):
        job = nbf.options(workers=2).map(gate, sized)
        assert len(job) == 2
        assert not job.snapshot.is_open_ended
    gate.open()


def test_what_is_bound_to_its_thread_is_read_inline_and_the_error_says_what_to_give_elsewhere():
    rows = sqlite3.connect(":memory:")
    rows.execute("create table t (x)")
    rows.executemany("insert into t values (?)", [(1,), (2,)])
    inline = nbf.options(runner="inline").map(size, rows.execute("select x from t"))
    assert inline.result() == [1, 1]
    with pytest.raises(sqlite3.ProgrammingError) as told:
        nbf.map(size, rows.execute("select x from t")).result(120)
    assert "give list(...) of it" in told.value.__notes__[0]


def test_a_chain_over_a_job_whose_items_still_come_takes_each_as_it_comes(background, source):
    first = background.map(negated, source)
    second = nbf.map(negated, first)
    third = nbf.map(size, (str(outcome.value) for outcome in first.as_completed()))
    source.let(2)
    eventually(lambda: second.values() == [0, 1] and third.counts.completed == 2)
    assert not first.is_done
    source.let(1)
    source.end()
    assert second.result(120) == [0, 1, 2]
    assert sorted(third.result(120)) == [1, 2, 2]


def test_a_failure_skips_its_item_of_a_chain_only(source):
    first = nbf.map(lambda x: 1 // x, source)
    second = nbf.map(negated, first)
    source.let(3)
    source.end()
    assert second.wait(120)
    assert (second.counts.completed, second.counts.skipped) == (2, 1)
    broken = nbf.map(negated, nbf.map(negated, numbers_then_error(2, OSError("gone"))))
    assert broken.wait(120)
    assert broken.values() == [0, 1]
    with pytest.raises(JobCrashedError, match="ended early: gone"):
        broken.result()


def test_a_generator_of_futures_is_a_column_of_them(gate):
    first = nbf.options(workers=4).map(gate, [1, 2, 3])
    second = nbf.map(negated, (future for future in first))
    assert holds_for(lambda: second.counts.settled == 0, 0.2)
    gate.open()
    assert second.result(120) == [-1, -2, -3]


def test_the_first_failure_stops_the_reading_where_it_is_to():
    endless = Endless()
    job = nbf.options(fail_fast=True, workers=1).map(lambda x: 1 // (20 - x), endless)
    assert job.wait(120)
    with pytest.raises(ZeroDivisionError):
        job.result()
    assert endless.given < 20_000
    assert job.counts.total == len(job) < 20_000


def test_a_rate_holds_for_what_comes_from_an_iterator():
    endless = Endless()
    job = nbf.options(rate=50, workers=2).map(negated, endless)
    eventually(lambda: job.counts.completed >= 5)
    job.cancel()
    assert job.wait(120)
    assert endless.given < 100 + 60 * job.snapshot.elapsed


class Page:
    """Something large, with a weak reference to it."""

    alive = weakref.WeakSet()

    def __init__(self, number):
        self.number = number
        self.text = "x" * 1000
        self.alive.add(self)


def test_arguments_are_held_as_long_as_their_items_are_open_or_failed():
    most = 0

    def pages():
        nonlocal most
        for number in range(3_000):
            most = max(most, len(Page.alive))
            yield Page(number)

    def read(page):
        if page.number % 1000 == 0:
            raise ValueError(page.number)
        return page.number

    job = nbf.options(workers=2).map(read, pages())
    assert job.wait(120)

    def is_gone():
        gc.collect()
        return len(Page.alive) == 3

    eventually(is_gone)
    assert most < 2_800
    assert job.failure(1000).input["page"].number == 1000
    assert job.frame()["input"][1] == "<Page>"
    job.retry(lambda page: page.number)
    assert job.result(120) == list(range(3_000))


def test_small_arguments_stay_in_the_tables_and_large_ones_are_told_by_kind():
    rows = [{"a": 1, "b": "two"}, ("x", 2), bytes(1_000_000), list(range(10_000))]
    job = nbf.map(size, iter(rows))
    assert job.result(120) == [2, 2, 1_000_000, 10_000]
    assert job.frame()["input"].tolist() == [
        "{'a': 1, 'b': 'two'}",
        "('x', 2)",
        "<bytes of 1,000,000>",
        "<list of 10,000>",
    ]


def test_large_arguments_are_read_no_further_than_fits(gate):
    given = []

    def blocks():
        # Quick ones first, so that many are read ahead.
        for _ in range(20_000):
            yield b""
        for number in range(600):
            given.append(number)
            yield bytes(1_000_000)

    job = nbf.options(workers=2).map(lambda block: gate(len(block)) if block else 0, blocks())
    gate.wait_for(2)
    assert holds_for(lambda: len(given) < 300, 0.5)
    gate.open()
    assert sum(job.result(120)) == 600_000_000


def test_a_dry_run_takes_the_first_items_only():
    endless = Endless()
    job = nbf.options(dry_run=True).map(negated, endless)
    assert job.wait(120)
    assert job.result() == [0, -1, -2]
    assert endless.given == 3
    assert "Only the first 3 items ran" in repr(job)


def test_an_iterator_is_not_much_slower_than_a_list():
    def seconds(make):
        taken = []
        for _ in range(2):
            job = nbf.options(workers=2).map(negated, make())
            assert job.wait(240)
            taken.append(job.snapshot.elapsed)
        return min(taken)

    assert seconds(lambda: (x for x in range(50_000))) < 10 * seconds(lambda: list(range(50_000))) + 1
