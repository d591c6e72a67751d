from __future__ import annotations

import itertools
import re
import statistics
import subprocess
import sys
import warnings

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from nbclient import NotebookClient

from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.plots import JobPlots
from nbfutures.views.plots.concurrency import in_slices, running_items

PLOTS = ["timeline", "durations", "concurrency", "throughput"]


@pytest.fixture(autouse=True)
def backend():
    with mpl.rc_context():
        mpl.use("Agg")
        yield
        plt.close("all")


@pytest.fixture(params=PLOTS)
def plot(request):
    """One of the plots, by name."""
    return lambda state, ax=None: getattr(JobPlots(state), request.param)(ax)


@pytest.fixture
def mixed(jobs):
    """A job of 12 items on 3 workers; each third failed, one was tried three times; as (index, kind, start, end)."""
    state = jobs.state(14, workers=3)
    now = jobs.clock.time
    rows = [(index, index % 3 == 1, 1 + 2 * (index // 3), 2.5 + 2 * (index // 3) + index / 100) for index in range(12)]
    for index, is_failed, start, end in rows:
        make = jobs.failed if is_failed else jobs.completed
        times = {"queued": now, "started": now + start, "ended": now + end}
        attempts = 3 if index == 5 else 1
        state.settle([make(index, worker=f"thread {index % 3 + 9}", attempts=attempts, **times)])
    state.settle([jobs.cancelled(12), jobs.skipped(13)])
    return state, rows


def many(jobs, count, workers=8):
    state = jobs.state(count, workers=workers)
    now = jobs.clock.time
    make = {True: jobs.failed, False: jobs.completed}
    error = ValueError("bad")
    state.settle([
        make[index % 100 == 7](
            index,
            error if index % 100 == 7 else None,
            worker=f"thread {index % workers + 1}",
            started=now + (index // workers) * 0.01,
            ended=now + (index // workers) * 0.01 + 0.004 + 0.005 * (index % 17) / 17,
        )
        for index in range(count)
    ])  # fmt: skip
    return state


def boxes(ax, label):
    """The rectangles of a label as (left, right, top, bottom), from left to right."""
    found = []
    for made in ax.collections:
        if isinstance(made, PolyCollection) and made.get_label() in (label, f"_thin {label}"):
            for path in made.get_paths():
                (left, top), (right, bottom) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                found.append((left, right, top, bottom))
    return sorted(found)


def line(ax, word):
    (found,) = [one for one in ax.lines if word in one.get_label()]
    return found


def words(ax):
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


# --- timeline ------------------------------------------------------------------------------------------------------


def test_each_item_that_ran_is_one_bar_on_the_lane_of_its_worker(mixed):
    state, rows = mixed
    ax = JobPlots(state).timeline()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["thread 9", "thread 10", "thread 11"]
    assert ax.yaxis_inverted()
    drawn = boxes(ax, "running") + boxes(ax, "failed")
    want = sorted((start, end, index % 3) for index, _, start, end in rows)
    got = sorted((left, right, round((top + bottom) / 2)) for left, right, top, bottom in drawn)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_each_failure_is_hatched_and_has_a_cross_above(mixed):
    state, rows = mixed
    ax = JobPlots(state).timeline()
    failed = [row for row in rows if row[1]]
    assert len(boxes(ax, "failed")) == len(failed) == 4
    assert all(one.get_hatch() for one in ax.collections if one.get_label() == "failed")
    assert not any(one.get_hatch() for one in ax.collections if one.get_label() == "running")
    crosses = line(ax, "failed")
    assert crosses.get_marker() == "x"
    np.testing.assert_allclose(crosses.get_xdata(), [(start + end) / 2 for _, _, start, end in failed], atol=1e-5)
    # Of the lane in the middle, and above its bars; the axis points downwards.
    assert all(0.5 < y < 0.75 for y in crosses.get_ydata())


def test_an_item_that_was_tried_three_times_is_one_bar_that_says_so(mixed):
    state, _ = mixed
    ax = JobPlots(state).timeline()
    (mark,) = [text for text in ax.texts if text.get_text() == "\N{MULTIPLICATION SIGN}3"]
    assert mark.get_position()[0] == pytest.approx((3 + 4.55) / 2, abs=1e-5)
    assert any("tried n times" in text for text in words(ax))


def test_waiting_is_a_line_up_to_the_bar_and_running_is_not(mixed):
    state, rows = mixed
    ax = JobPlots(state).timeline()
    (lines,) = [one for one in ax.collections if isinstance(one, LineCollection)]
    drawn = sorted((round(row), left, right) for (left, row), (right, _) in lines.get_segments())
    want, ends = [], {}
    for index, _, start, end in rows:
        lane = index % 3
        want.append((lane, ends.get(lane, 0), start))
        ends[lane] = end
    np.testing.assert_allclose(drawn, sorted(want), atol=1e-5)
    assert "waiting" in words(ax)


def test_items_that_overlap_on_one_worker_are_drawn_in_rows(jobs):
    state = jobs.state(3, workers=1)
    now = jobs.clock.time
    state.settle([jobs.completed(i, worker="thread 1", started=now + i, ended=now + 5) for i in range(3)])
    ax = JobPlots(state).timeline()
    assert len({round(top, 3) for _, _, top, _ in boxes(ax, "running")}) == 3
    assert [label.get_text() for label in ax.get_yticklabels()] == ["thread 1"]


def test_what_is_drawn_of_100_000_items_is_bounded_and_holds_every_failure(jobs):
    state = many(jobs, 100_000)
    ax = JobPlots(state).timeline()
    bars = boxes(ax, "running")
    assert 1_000 < len(bars) + len(boxes(ax, "failed")) <= 8_000
    assert len(ax.get_children()) < 30
    crosses = line(ax, "failed")
    assert len(crosses.get_xdata()) == len(boxes(ax, "failed"))
    # Every failure lies within a bar that is marked.
    marked = {}
    for left, right, top, _ in boxes(ax, "failed"):
        marked.setdefault(round(top + 0.25), []).append((left - 1e-6, right + 1e-6))
    for outcome in state.outcomes():
        if outcome.kind is OutcomeKind.FAILED:
            lane = int(outcome.worker.split()[1]) - 1
            at = outcome.started - state.created
            # The first start is the origin, an ulp or so from the job's.
            assert any(left <= at + 1e-4 and at - 1e-4 <= right for left, right in marked[lane])


def test_names_of_many_workers_do_not_overlap(jobs):
    state = many(jobs, 600, workers=200)
    figure, ax = plt.subplots(figsize=(6, 4))
    JobPlots(state).timeline(ax)
    figure.canvas.draw()
    extents = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert len(extents) > 5
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(extents))


# --- durations -----------------------------------------------------------------------------------------------------


def test_median_and_p95_are_those_of_the_completed_items(mixed):
    state, rows = mixed
    ax = JobPlots(state).durations()
    seconds = [end - start for _, is_failed, start, end in rows if not is_failed]
    assert line(ax, "median").get_xdata() == pytest.approx([statistics.median(seconds)] * 2, abs=1e-5)
    assert line(ax, "p95").get_xdata() == pytest.approx([np.quantile(seconds, 0.95)] * 2, abs=1e-5)
    assert {"median 1.6 s", "p95 1.6 s", "8 completed", "4 failed"} == set(words(ax))


@pytest.mark.parametrize("is_wide", [False, True])
def test_the_histogram_holds_every_item_failures_apart_and_hatched(jobs, is_wide):
    state = jobs.state(60)
    now = jobs.clock.time
    seconds = [10 ** (index / 10 - 3) if is_wide else 1 + index / 100 for index in range(60)]
    for index, took in enumerate(seconds):
        make = jobs.failed if index % 4 == 0 else jobs.completed
        state.settle([make(index, started=now, ended=now + took)])
    ax = JobPlots(state).durations()
    base, top = ax.containers
    assert sum(bar.get_height() for bar in base) == 45
    assert sum(bar.get_height() for bar in top) == 15
    assert all(bar.get_hatch() for bar in top)
    assert not any(bar.get_hatch() for bar in base)
    assert [bar.get_y() for bar in top] == [bar.get_height() for bar in base]
    assert ax.get_xscale() == ("log" if is_wide else "linear")


# --- concurrency ---------------------------------------------------------------------------------------------------


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), min_size=1, max_size=60)


@given(spans)
def test_the_step_line_is_the_number_of_items_that_overlap(spans):
    started = np.array([float(start) for start, _ in spans])
    ended = np.array([float(start + seconds) for start, seconds in spans])
    times, running = running_items(started, ended)
    for time, number in zip(times, running, strict=True):
        assert number == sum(start <= time < start + seconds for start, seconds in spans)
    assert running[-1] == 0


@given(spans, st.integers(1, 30))
def test_slices_keep_the_peak_and_the_item_seconds(spans, slices):
    started = np.array([float(start) for start, _ in spans])
    ended = np.array([start + seconds for start, seconds in spans]) + 0.5
    times, running = running_items(started, ended)
    edges, most, mean = in_slices(times, running, slices)
    assert len(edges) == len(most) == len(mean) == slices + 1
    assert most.max() == running.max()
    assert (most >= mean - 1e-9).all()
    assert (mean[:-1] * np.diff(edges)).sum() == pytest.approx((ended - started).sum())


def test_the_running_items_are_drawn_against_the_workers_with_their_mean(mixed):
    state, rows = mixed
    ax = JobPlots(state).concurrency()
    assert max(line(ax, "running").get_ydata()) == 3
    assert set(line(ax, "worker").get_ydata()) == {3}
    mean = sum(end - start for _, _, start, end in rows) / (max(row[3] for row in rows) - min(row[2] for row in rows))
    assert set(words(ax)) == {f"running, mean {mean:.1f}", "3 workers"}


def test_the_step_line_of_100_000_items_is_short_and_keeps_the_peak(jobs):
    step = line(JobPlots(many(jobs, 100_000)).concurrency(), "running")
    assert len(step.get_xdata()) <= 2_000
    assert max(step.get_ydata()) == 8


# --- throughput ----------------------------------------------------------------------------------------------------


def test_the_area_of_the_throughput_is_the_number_of_items_that_ran(mixed):
    state, _ = mixed
    ax = JobPlots(state).throughput()
    completed, failed = [patch.get_data() for patch in ax.patches]
    widths = np.diff(completed.edges)
    assert (completed.values * widths).sum() == pytest.approx(8)
    assert ((failed.values - failed.baseline) * widths).sum() == pytest.approx(4)
    np.testing.assert_array_equal(failed.baseline, completed.values)
    assert ax.patches[1].get_hatch()
    (rate, _) = line(ax, "mean").get_ydata()
    assert rate == pytest.approx(12 / (8.61 - 1), abs=1e-3)
    assert "mean 1.6/s" in words(ax)


def test_an_item_counts_when_it_ends(jobs):
    state = jobs.state(10)
    now = jobs.clock.time
    state.settle([jobs.completed(i, started=now, ended=now + 10 + i / 100) for i in range(10)])
    (completed,) = [patch.get_data() for patch in JobPlots(state).throughput().patches]
    assert completed.values[0] == 0
    assert completed.values[-1] == pytest.approx(10 / np.diff(completed.edges)[-1])


def test_a_slow_job_is_told_by_the_hour(jobs):
    state = jobs.state(20)
    now = jobs.clock.time
    state.settle([jobs.completed(i, started=now + 900 * i, ended=now + 900 * i + 890) for i in range(20)])
    ax = JobPlots(state).throughput()
    assert ax.get_ylabel() == "items per hour"
    assert ax.get_xlabel() == "time since the start (h)"
    ax.figure.canvas.draw()
    ticks = [float(label.get_text()) for label in ax.get_xticklabels()]
    np.testing.assert_allclose(ax.get_xticks(), [3_600 * tick for tick in ticks])
    assert all((2 * tick).is_integer() for tick in ticks)


# --- all of them ---------------------------------------------------------------------------------------------------


def test_all_plots_are_drawn_on_one_figure(mixed):
    state, _ = mixed
    axes = JobPlots(state)()
    assert axes._fields == tuple(PLOTS)
    assert len({ax.figure for ax in axes}) == 1
    assert axes.timeline.figure.get_suptitle() == "parse"
    assert boxes(axes.timeline, "running")
    assert line(axes.durations, "median")
    assert line(axes.concurrency, "running")
    assert axes.throughput.patches


def test_the_legends_of_all_plots_stay_beside_each_other(jobs):
    axes = JobPlots(many(jobs, 100_000))()
    axes.timeline.figure.canvas.draw()
    for left, right in ((axes.timeline, axes.durations), (axes.concurrency, axes.throughput)):
        first, second = (ax.get_legend().get_window_extent() for ax in (left, right))
        assert first.x1 <= second.x0
        assert second.x1 <= axes.timeline.figure.bbox.x1


def test_a_figure_passed_in_is_the_one_that_is_drawn_on(mixed):
    state, _ = mixed
    figure = Figure(figsize=(12, 6))
    left, _ = figure.subfigures(1, 2)
    assert all(ax.figure is left for ax in JobPlots(state)(left))
    assert plt.get_fignums() == []


def test_the_axes_passed_in_come_back_and_no_other_figure_is_made(mixed, plot):
    state, _ = mixed
    ax = Figure().subplots()
    assert plot(state, ax) is ax
    assert ax.has_data()
    assert plt.get_fignums() == []


def test_without_axes_a_single_figure_of_pyplot_is_made(mixed, plot):
    state, _ = mixed
    ax = plot(state)
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.get_title(loc="left") == "parse"
    assert "(" in ax.get_xlabel()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_text_and_outlines_take_the_colours_of_the_axes(mixed, plot, style):
    state, _ = mixed
    with plt.style.context(style):
        ax = plot(state)
        ax.figure.canvas.draw()
        colour = mpl.rcParams["text.color"]
    texts = [*ax.texts, *ax.get_legend().get_texts(), ax.title, *ax.get_xticklabels()]
    assert all(mpl.colors.same_color(text.get_color(), colour) for text in texts)
    lines = [one for one in ax.lines if re.match(r"median|p95|mean|\d+ worker", one.get_label())]
    assert all(mpl.colors.same_color(one.get_color(), colour) for one in lines)


def test_the_hatching_can_be_seen_on_a_transparent_background(mixed):
    state, _ = mixed
    figure = Figure(facecolor="none")
    ax = figure.subplots()
    ax.set_facecolor("none")
    JobPlots(state).timeline(ax)
    (failed,) = [one for one in ax.collections if one.get_label() == "failed"]
    assert failed.get_edgecolor()[0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["$x^2$", "a $ b", "\\alpha_{", "<b>&amp;", "$\\notacommand{$", "#%_~^"])
def test_a_name_is_drawn_as_it_is(jobs, plot, name):
    state = jobs.state(1, name=name)
    state.settle([jobs.completed(0, worker=name)])
    plot(state).figure.canvas.draw()
    with mpl.rc_context({"text.usetex": True}):
        ax = plot(state)
    assert ax.get_title(loc="left") == name
    shown = [text for text in (ax._left_title, *ax.get_yticklabels()) if text.get_text() == name]
    assert not any(text.get_parse_math() or text.get_usetex() for text in shown)


def test_a_nasty_name_is_cut_and_cleaned(jobs, plot, nasty_text):
    state = jobs.state(1, name=nasty_text)
    state.settle([jobs.completed(0, worker=nasty_text)])
    ax = plot(state)
    ax.figure.canvas.draw()
    title = ax.get_title(loc="left")
    assert len(title) <= 80
    assert title.isprintable()


def test_a_long_title_and_the_legend_stay_above_the_data_and_within_the_figure(jobs, plot):
    state = many(jobs, 2_000)
    state.name = "parse_the_catalogue_of_each_library " * 5
    ax = plot(state)
    ax.figure.canvas.draw()
    title, legend = ax._left_title.get_window_extent(), ax.get_legend().get_window_extent()
    width, height = ax.figure.canvas.get_width_height()
    assert title.x1 <= width
    assert title.y1 <= height
    assert legend.x1 <= width
    assert ax.get_window_extent().y1 <= legend.y0 + 1
    assert legend.y1 <= title.y0 + 2


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda jobs: jobs.state(0), "The job has no items"),
        (lambda jobs: jobs.state(3), "No item has ended yet"),
        (lambda jobs: jobs.ended(cancelled=2, skipped=1), "No item ran: 2 cancelled, 1 skipped"),
    ],
)
def test_where_nothing_has_run_a_note_says_why(jobs, plot, make, note):
    ax = plot(make(jobs))
    ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.texts] == [note]
    assert list(ax.get_xticks()) == list(ax.get_yticks()) == []


def test_all_plots_of_a_job_that_has_not_run_are_notes(jobs):
    assert all(len(ax.texts) == 1 for ax in JobPlots(jobs.state(0))())


def test_an_unknown_worker_is_said(jobs):
    ax = JobPlots(jobs.ended(completed=2)).timeline()
    assert "not known" in ax.texts[0].get_text()


def test_a_running_job_says_how_much_of_it_is_shown(jobs):
    state = jobs.state(10)
    state.settle([jobs.completed(0, worker="thread 1")])
    for name in ("timeline", "concurrency", "throughput"):
        assert "1 of 10 items so far" in getattr(JobPlots(state), name)().get_xlabel()


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 1.0, 1e7])
@pytest.mark.parametrize("kind", ["completed", "failed"])
def test_a_single_item_of_any_length_is_drawn_without_a_warning(jobs, plot, seconds, kind):
    state = jobs.state(1)
    now = jobs.clock.time
    state.settle([getattr(jobs, kind)(0, worker="thread 1", queued=now, started=now, ended=now + seconds)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plot(state)
        ax.figure.canvas.draw()
    assert not ax.texts


def test_futures_that_are_older_than_the_job_are_drawn(jobs, plot):
    state = jobs.state(1)
    state.settle([jobs.completed(0, worker="thread 1", started=state.created - 50, ended=state.created - 49)])
    left, right = plot(state).get_xlim()
    assert 0 <= left < right < 2


def test_neither_the_backend_nor_a_setting_is_changed():
    code = (
        "import matplotlib\n"
        "matplotlib.use('svg')\n"
        "before = dict(matplotlib.rcParams)\n"
        "from nbfutures.model.job_state import JobState\n"
        "from nbfutures.model.outcome import Outcome, OutcomeKind\n"
        "from nbfutures.views.plots import JobPlots\n"
        "state = JobState('job', 1)\n"
        "state.settle([Outcome(0, OutcomeKind.COMPLETED, started=1.0, ended=2.0, worker='a', attempts=1)])\n"
        "plots = JobPlots(state)\n"
        "plots(); plots.timeline(); plots.durations(); plots.concurrency(); plots.throughput()\n"
        "print(matplotlib.get_backend(), dict(matplotlib.rcParams) == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "svg True\n"


# --- in a notebook -------------------------------------------------------------------------------------------------


CELLS = {
    "load": (
        "import nbfutures as nbf\n"
        "job = nbf.options(name='names').map(str, range(50))\n"
        "job.wait()\n"
        "print(type(job.plot).__name__)"
    ),
    "timeline": "job.plot.timeline()",
    "all": "axes = job.plot()",
    "passed": "from matplotlib.figure import Figure\nax = job.plot.durations(Figure().subplots())",
    "facts": (
        "import matplotlib\n"
        "from matplotlib import pyplot as plt\n"
        "print(matplotlib.get_backend(), plt.get_fignums(), axes.timeline.figure.get_suptitle())"
    ),
}


def test_a_notebook_shows_each_picture_once_and_keeps_no_figure(kernel_environment, tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kept = {name: value for name, value in kernel_environment.items() if name != "MPLBACKEND"}
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute(env=kept)
    cells = dict(zip(CELLS, book.cells, strict=True))
    pictures = {
        name: sum("image/png" in output.get("data", {}) for output in cell.outputs) for name, cell in cells.items()
    }
    assert pictures == {"load": 0, "timeline": 1, "all": 1, "passed": 0, "facts": 0}
    (said,) = [output["text"] for output in cells["facts"].outputs]
    assert re.fullmatch(r"\S*inline\S* \[\] names\n", said)
    assert not [one for cell in book.cells for one in cell.outputs if one.get("name") == "stderr"]
