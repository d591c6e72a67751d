from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbfutures.model.outcome import Outcome, OutcomeKind
from nbfutures.views.timeline import Timeline, describe_timeline

NOW = 1_700_000_000.0


def ran(index, started, ended, worker="thread 1", kind=OutcomeKind.COMPLETED, **more):
    return Outcome(index, kind, started=NOW + started, ended=NOW + ended, worker=worker, **{"attempts": 1, **more})


def reduced(outcomes, limit=2_000):
    timeline = Timeline(limit)
    timeline.add(outcomes)
    return timeline.snapshot()


def bars_of(snapshot):
    return [bar for lane in snapshot.lanes for bar in lane.bars]


def some_outcomes(count, seed):
    # Of a seed, since Hypothesis hardly ever makes a list that is longer than a limit.
    draw = random.Random(seed)
    outcomes = []
    for index in range(count):
        start = round(draw.uniform(0, 100), 3)
        placed = draw.random() < 0.9
        outcomes.append(
            Outcome(
                index,
                draw.choice(list(OutcomeKind)),
                queued=draw.choice([None, NOW, NOW + 50]),
                started=NOW + start if placed else None,
                ended=NOW + start + draw.choice([0, 0.1, 5]),
                worker=f"thread {draw.randint(1, 12)}" if draw.random() < 0.9 else None,
                attempts=draw.choice([1, 1, 1, 1, 2, 3]),
            )
        )
    return outcomes


items = st.builds(some_outcomes, st.integers(0, 300), st.integers(0, 1_000))
limits = st.integers(8, 100)


@given(items, limits)
def test_every_item_is_counted_once_whether_it_has_a_bar_or_not(outcomes, limit):
    snapshot = reduced(outcomes, limit)
    placed = [one for one in outcomes if one.started is not None and one.worker is not None]
    bars = bars_of(snapshot)
    assert snapshot.items == len(placed) == sum(bar.count for bar in bars)
    assert snapshot.without_bar == len(outcomes) - len(placed)
    assert sum(bar.failed for bar in bars) == sum(one.kind is OutcomeKind.FAILED for one in placed)
    assert sum(bar.busy for bar in bars) == pytest.approx(sum(one.seconds for one in placed))
    assert max((bar.attempts for bar in bars), default=0) == max((one.attempts for one in placed), default=0)
    assert snapshot.is_merged == (len(bars) < len(placed))


@given(items, limits)
def test_there_are_never_more_bars_than_the_limit(outcomes, limit):
    timeline = Timeline(limit)
    for outcome in outcomes:
        timeline.add([outcome])
        assert timeline.snapshot().bars <= limit


@given(items, limits)
def test_the_bars_lie_within_the_timeline_and_those_of_a_row_do_not_overlap(outcomes, limit):
    snapshot = reduced(outcomes, limit)
    for lane in snapshot.lanes:
        assert [bar.start for bar in lane.bars] == sorted(bar.start for bar in lane.bars)
        assert {bar.row for bar in lane.bars} == set(range(lane.rows))
        assert lane.rows <= 16
        for bar in lane.bars:
            assert snapshot.start <= bar.start <= bar.end <= snapshot.end
            assert bar.queued <= bar.start
            assert 0 <= bar.busy_share <= 1
        for row in range(lane.rows):
            for bar, after in itertools.pairwise(bar for bar in lane.bars if bar.row == row):
                assert bar.end <= after.start


@given(items, limits, st.integers(1, 50))
def test_the_outcomes_may_come_in_pieces(outcomes, limit, size):
    timeline = Timeline(limit)
    for start in range(0, len(outcomes), size):
        timeline.add(iter(outcomes[start : start + size]))
        timeline.snapshot()
    assert timeline.snapshot() == reduced(outcomes, limit)
    assert len(timeline) == len(outcomes)


@given(items)
def test_workers_are_in_the_order_in_which_people_count(outcomes):
    names = [lane.name for lane in reduced(outcomes).lanes]
    assert names == sorted(names, key=lambda name: int(name.split()[1]))


def test_names_without_numbers_and_with_huge_ones_can_be_sorted():
    names = ["b 2", "b 10", "7", "a", "b", "9" * 10_000, "b 2 c", "B 3"]
    got = [lane.name for lane in reduced(ran(index, 0, 1, name) for index, name in enumerate(names)).lanes]
    assert [name for name in got if len(name) < 10] == ["7", "a", "b", "b 2", "b 2 c", "B 3", "b 10"]


def test_few_items_have_a_bar_each():
    outcomes = [
        ran(0, 1, 2, queued=NOW),
        ran(1, 2, 4, kind=OutcomeKind.FAILED, attempts=3),
        ran(2, 1, 3, "thread 2"),
        ran(3, 3, 4, "thread 2", kind=OutcomeKind.CANCELLED),
    ]
    snapshot = reduced(outcomes)
    assert (snapshot.start, snapshot.end, snapshot.is_merged) == (NOW + 1, NOW + 4, False)
    first, second = snapshot.lanes
    assert [(bar.first, bar.count, bar.failed, bar.attempts) for bar in first.bars] == [(0, 1, 0, 1), (1, 1, 1, 3)]
    assert [(bar.start - NOW, bar.end - NOW, bar.queued - NOW) for bar in first.bars] == [(1, 2, 0), (2, 4, 2)]
    assert (first.name, first.rows, [bar.first for bar in second.bars]) == ("thread 1", 1, [2, 3])


def test_a_merged_bar_of_half_idle_time_says_so():
    outcomes = [ran(index, index, index + 0.5) for index in range(1_000)]
    snapshot = reduced(outcomes, 40)
    (lane,) = snapshot.lanes
    assert lane.rows == 1
    assert 10 < len(lane.bars) <= 40
    assert [bar.first for bar in lane.bars] == list(itertools.accumulate([0, *(bar.count for bar in lane.bars[:-1])]))
    assert all(0.5 <= bar.busy_share < 0.6 for bar in lane.bars)


def test_items_that_overlap_have_rows_and_too_many_at_once_are_merged():
    lane = reduced([ran(index, index * 0.1, 2 + index * 0.1) for index in range(10)]).lanes[0]
    assert lane.rows == len(lane.bars) == 10
    crowd = reduced([ran(index, index * 0.1, 50 + index * 0.1) for index in range(300)]).lanes[0]
    assert crowd.rows <= 16
    assert sum(bar.count for bar in crowd.bars) == 300


def test_more_workers_than_lanes_share_the_last_one():
    snapshot = reduced([ran(index, 0, 1, f"thread {index}") for index in range(1_000)])
    assert snapshot.bars <= 2_000
    assert len(snapshot.lanes) == 257
    assert snapshot.lanes[-1].name == "other workers"
    assert snapshot.items == 1_000


def test_times_that_make_no_sense_do_no_harm():
    back = ran(0, 5, 4)
    odd = [ran(1, float("nan"), 1), ran(2, 0, float("inf")), ran(3, float("-inf"), 1)]
    snapshot = reduced([back, *odd])
    (bar,) = bars_of(snapshot)
    assert (bar.start, bar.end, snapshot.without_bar) == (NOW + 5, NOW + 5, 3)


def test_a_worker_of_any_name_is_one_short_line(nasty_text):
    (lane,) = reduced([ran(0, 0, 1, nasty_text)]).lanes
    assert len(lane.name) <= 40
    assert lane.name.isprintable()


# --- for JSON ------------------------------------------------------------------------------------------------------


def test_the_description_is_short_plain_and_relative_to_the_start():
    outcomes = [
        ran(4, 1, 2.5),
        ran(5, 3, 13, kind=OutcomeKind.FAILED),
        ran(6, 2, 3, "thread 2", attempts=2),
    ]
    made = describe_timeline(reduced(outcomes))
    assert json.loads(json.dumps(made)) == {
        "start": NOW + 1,
        "end": NOW + 13,
        "lanes": [
            {"name": "thread 1", "rows": 1, "bars": [[0.0, 1.5, 1, 0, 4, 1], [2.0, 12.0, 1, 1, 5, 1]]},
            {"name": "thread 2", "rows": 1, "bars": [[1.0, 2.0, 1, 0, 6, 1, 2, 0]]},
        ],
        "bars": 3,
        "merged": False,
    }


def test_a_job_of_milliseconds_is_told_finely_enough():
    made = describe_timeline(reduced([ran(0, 0, 0.0001), ran(1, 0.0002, 0.001)]))
    assert made["lanes"][0]["bars"][1][:2] == pytest.approx([0.0002, 0.001], abs=1e-6)


def test_a_description_of_100_000_items_stays_small():
    outcomes = [ran(index, index // 8, index // 8 + 0.9, f"thread {index % 8}") for index in range(100_000)]
    made = describe_timeline(reduced(outcomes))
    assert made["merged"]
    assert len(json.dumps(made)) < 100_000


def test_nothing_has_run_is_no_lane():
    made = describe_timeline(reduced([Outcome(0, OutcomeKind.CANCELLED), Outcome(1, OutcomeKind.SKIPPED)]))
    assert made == {"start": 0.0, "end": 0.0, "lanes": [], "bars": 0, "merged": False}


@pytest.mark.parametrize("module", ["timeline", "timeline_snapshot", "plots"])
def test_an_import_loads_neither_matplotlib_nor_numpy(module):
    code = f"import nbfutures.views.{module}, sys; print(sys.modules.keys() & {{'pandas', 'numpy', 'matplotlib'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "set()\n"
