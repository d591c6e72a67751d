"""What a card sends to the browser and takes from it, without a browser."""

from __future__ import annotations

import functools
import gc
import json
import threading
import weakref

import comm
import pytest
from comm.base_comm import BaseComm

from nbfutures.model.events import JobPhase
from nbfutures.views.card.live_card import CardSubject, LiveCard, TimelineReader
from nbfutures.views.failures import Failure
from nbfutures.views.report import JobReport


class Recorder(BaseComm):
    """A comm that keeps what is sent."""

    sent = ()

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        type(self).sent.append((msg_type, data))


class Actions:
    def __init__(self, state, source):
        self.state, self.source = state, source
        self.offered = ["pause", "cancel"]
        self.done = []

    def available(self):
        return list(self.offered)

    def do(self, action):
        self.done.append(action)

    def failure(self, index):
        return Failure.of(self.state.outcome(index), self.source.item(index), lambda: None)


def join_clicks():
    for thread in threading.enumerate():
        if thread.name == "nbfutures click":
            thread.join(120)


class Stage:
    """A card and both of its ends."""

    def __init__(self, state, source):
        self.time = 100.0
        self.state = state
        self.actions = Actions(state, source)
        self.requested = 0
        self.card = LiveCard(
            [CardSubject("parse #1", state, self.actions)], JobReport(state, source), lambda: self.time
        )
        self.card.on_request = self.note
        self.card.bundle()

    def note(self):
        self.requested += 1

    def say(self, **content):
        self.card._card._handle_custom_msg({"view": "v1", **content}, None)
        join_clicks()

    def refresh(self, seconds=0.25):
        """Refresh after some seconds and return what was sent."""
        self.time += seconds
        before = len(Recorder.sent)
        self.told = self.card.refresh()
        return [data for _, data in Recorder.sent[before:]]

    def updates(self, seconds=0.25):
        return [one["state"] for one in self.refresh(seconds) if one["method"] == "update"]

    def answers(self, seconds=0.25):
        return [one["content"] for one in self.refresh(seconds) if one["method"] == "custom"]


@pytest.fixture
def recorded(monkeypatch):
    Recorder.sent = []
    monkeypatch.setattr(comm, "create_comm", Recorder)
    return Recorder


@pytest.fixture
def make(recorded, jobs):
    made = []

    def make_stage(state, source=None):
        made.append(Stage(state, source or jobs.source()))
        return made[-1]

    yield make_stage
    for one in made:
        one.card.close()


def test_a_refresh_is_one_message(make, jobs):
    state = jobs.state(4)
    stage = make(state)
    state.settle([jobs.completed(0)])
    (update,) = stage.updates()
    assert set(update) == {"jobs"}
    assert update["jobs"][0]["counts"]["completed"] == 1
    assert update["jobs"][0]["actions"] == ["pause", "cancel"]


def test_no_more_than_four_updates_a_second_however_often_it_is_refreshed(make, jobs):
    state = jobs.state(1000)
    stage = make(state)
    sent = 0
    for index in range(100):
        state.settle([jobs.completed(index)])
        sent += len(stage.updates(0.02))
    assert 4 <= sent <= 2 * 4 + 1


def test_the_end_is_told_at_once(make, jobs):
    state = jobs.state(2)
    stage = make(state)
    stage.refresh()
    state.settle([jobs.completed(0), jobs.completed(1)])
    (update,) = stage.updates(0.0)
    assert update["jobs"][0]["is_done"]


def test_nothing_is_sent_when_nothing_is_new(make, jobs):
    stage = make(jobs.ended(2))
    stage.refresh()
    assert [stage.refresh() for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize("fold", [None, "failures", "results", "timeline"])
def test_a_message_is_as_large_for_many_items_as_for_a_few(make, jobs, fold):
    sizes = []
    for total in (5_000, 50_000):
        state = jobs.state(total)
        stage = make(state)
        stage.say(do="open", fold=fold)
        state.settle([jobs.failed(0), *(jobs.completed(index, index) for index in range(1, total))])
        stage.refresh()
        (update,) = stage.updates(5.0) or [{"jobs": []}]
        sizes.append(len(json.dumps(update)))
    assert sizes[1] <= 1.2 * sizes[0] + 200


def test_rows_are_sent_only_while_their_fold_is_open(make, jobs):
    state = jobs.state(100)
    stage = make(state)
    state.settle([jobs.failed(0), jobs.completed(1)])
    assert set(stage.updates()[0]) == {"jobs"}
    for fold in ("failures", "timeline", "results"):
        stage.say(do="open", fold=fold)
    assert set(stage.updates()[0]) >= {"failures", "timeline", "results"}
    for fold in ("failures", "timeline", "results"):
        stage.say(do="close", fold=fold)
    state.settle([jobs.failed(2), jobs.completed(3)])
    assert set(stage.updates(5.0)[0]) == {"jobs"}


def test_failures_come_in_groups_the_largest_first(make, jobs):
    state = jobs.state(10)
    stage = make(state)
    state.settle([jobs.failed(0, KeyError("a")), jobs.failed(1, ValueError("x 1")), jobs.failed(2, ValueError("x 2"))])
    stage.say(do="open", fold="failures")
    (update,) = stage.updates()
    rows = update["failures"]["groups"]
    assert [(row["count"], row["error"], row["first"]) for row in rows] == [(2, "ValueError", 1), (1, "KeyError", 0)]


def test_a_failure_that_is_opened_arrives_with_input_traceback_and_output(make, jobs):
    state = jobs.state(4)
    stage = make(state)
    state.settle([jobs.failed(2, ValueError("no number"))])
    stage.say(do="failure", index=2)
    (answer,) = stage.answers()
    assert answer["headline"] == "Item 2: ValueError: no number"
    blocks = dict(answer["blocks"])
    assert blocks["Input"] == "x = 2"
    assert "ValueError: no number" in blocks["Traceback"]


def test_a_button_does_what_it_says_and_only_what_is_offered(make, jobs):
    stage = make(jobs.state(4))
    stage.say(do="pause", job="parse #1")
    assert stage.requested
    assert stage.actions.done == ["pause"]
    assert stage.answers() == [{"answer": "taken", "job": "parse #1"}]
    stage.actions.offered = ["cancel"]
    stage.say(do="pause", job="parse #1")
    stage.say(do="cancel", job="another job")
    stage.refresh()
    assert stage.actions.done == ["pause"]


@pytest.mark.parametrize(
    "content",
    [
        "text",
        None,
        [],
        {},
        {"do": 7},
        {"do": "open", "fold": "nothing"},
        {"do": "failure", "index": "0"},
        {"do": "failure", "index": 10**9},
        {"do": "failure", "index": 0},
        {"do": "__class__", "job": "parse #1"},
    ],
)
def test_nonsense_from_the_browser_changes_nothing_and_harms_nobody(make, jobs, content):
    state = jobs.state(4)
    state.settle([jobs.completed(0)])
    stage = make(state)
    stage.card._on_message(None, content, None)
    join_clicks()
    state.settle([jobs.completed(1)])
    assert len(stage.updates()) == 1
    assert stage.actions.done == []


def test_views_are_counted(make, jobs):
    stage = make(jobs.state(2))
    assert stage.card.views is None
    stage.say(do="hello")
    stage.say(do="hello", view="v2")
    stage.say(do="bye")
    assert stage.card.views == 1
    stage.say(do="bye", view="v2")
    assert stage.card.views == 0


def test_a_page_that_was_reloaded_counts_once(make, jobs):
    state = jobs.state(2)
    stage = make(state)
    stage.say(do="hello", instance="page 1")
    stage.say(do="open", fold="timeline")
    stage.say(do="hello", instance="page 2", view="v2")
    assert stage.card.views == 1
    state.settle([jobs.completed(0)])
    assert set(stage.updates()[0]) == {"jobs"}, "its folds are shut"
    stage.say(do="bye", view="v2")
    assert stage.card.views == 0


def test_a_fold_that_is_open_in_one_of_two_views_goes_on(make, jobs):
    state = jobs.state(9)
    stage = make(state)
    for view in ("v1", "v2"):
        stage.say(do="hello", view=view)
        stage.say(do="open", fold="results", view=view)
    stage.say(do="close", fold="results", view="v2")
    state.settle([jobs.completed(0, "first")])
    assert stage.updates(5.0)[0]["results"] == [[0, "'first'"]]
    stage.say(do="bye", view="v1")
    state.settle([jobs.completed(1, "second")])
    assert set(stage.updates(5.0)[0]) == {"jobs"}


def test_a_view_that_comes_after_the_end_is_told_the_end_again(make, jobs):
    stage = make(jobs.ended(2))
    stage.refresh()
    stage.say(do="hello", view="v2")
    assert [job["is_done"] for update in stage.updates() for job in update["jobs"]] == [True]


def test_a_click_that_runs_for_long_holds_up_nothing(make, jobs):
    state = jobs.state(4)
    stage = make(state)
    inside, over = threading.Event(), threading.Event()
    stage.actions.do = lambda _: (inside.set(), over.wait(120))
    stage.card._on_message(None, {"do": "cancel", "job": "parse #1"}, None)
    assert inside.wait(120)
    state.settle([jobs.completed(0)])
    (update,) = stage.updates()
    assert update["jobs"][0]["counts"]["completed"] == 1
    over.set()
    join_clicks()


def test_a_value_may_show_the_job_while_it_is_turned_into_text(make, jobs):
    state = jobs.state(4)
    stage = make(state)

    class Showing:
        def __repr__(self):
            stage.card.bundle()
            stage.card.refresh()
            return "shown"

    state.settle([jobs.completed(0, Showing())])
    stage.say(do="open", fold="results")
    assert [update["results"] for update in stage.updates() if "results" in update][-1] == [[0, "shown"]]


def test_a_failure_that_is_none_any_more_is_answered(make, jobs):
    state = jobs.state(4)
    state.settle([jobs.completed(0)])
    stage = make(state)
    for index in (0, 1, 99, -1, True, "0"):
        stage.say(do="failure", index=index)
    answers = stage.answers()
    assert [answer["headline"] for answer in answers] == ["This item has not failed, or not any more."] * 6


def test_a_card_that_was_closed_is_gone(make, jobs):
    stage = make(jobs.state(2))
    widget = weakref.ref(stage.card._card)
    stage.card.close()
    gc.collect()
    assert widget() is None


def test_a_closed_card_is_told_to_the_browser_and_the_next_bundle_makes_another(make, jobs, recorded):
    state = jobs.state(2)
    stage = make(state)
    first = stage.card._card.model_id
    stage.card.close()
    kinds = [kind for kind, _ in recorded.sent]
    assert (kinds.count("comm_open"), kinds.count("comm_close")) == (1, 1)
    stage.card.bundle()
    assert stage.card._card.model_id != first
    state.settle([jobs.completed(0)])
    assert stage.refresh()


def test_a_long_timeline_is_told_in_shares_to_its_end(make, jobs, monkeypatch):
    monkeypatch.setattr("nbfutures.views.card.live_card._SHARE", 10)
    monkeypatch.setattr("nbfutures.views.card.live_card.TimelineReader", functools.partial(TimelineReader, seconds=-1))
    state = jobs.state(25)
    state.settle([jobs.completed(index, worker="thread 1") for index in range(25)])
    stage = make(state)
    stage.say(do="open", fold="timeline")
    seen = []
    for _ in range(4):
        seen += [update["timeline"]["words"] for update in stage.updates(2.5) if "timeline" in update]
        if stage.told:
            break
    assert seen == [
        "the first 10 items on 1 worker; 25 have ended",
        "the first 20 items on 1 worker; 25 have ended",
        "25 items on 1 worker",
    ]


def test_what_runs_again_is_in_the_timeline_once(make, jobs):
    state = jobs.state(3)
    state.settle([*(jobs.completed(index, worker="thread 1") for index in range(2)), jobs.failed(2, worker="thread 2")])
    stage = make(state)
    stage.say(do="open", fold="timeline")
    (update,) = stage.updates()
    assert update["timeline"]["words"] == "3 items on 2 workers, 1 failed"
    state.reopen([2])
    state.settle([jobs.completed(2, worker="thread 1", round=1)])
    (update,) = stage.updates(5.0)
    assert update["timeline"]["words"] == "3 items on 1 worker"


def test_what_ended_in_another_way_after_all_is_in_the_timeline_once(make, jobs):
    state = jobs.state(3)
    stage = make(state)
    stage.say(do="open", fold="timeline")
    state.settle([jobs.failed(0, worker="thread 1"), jobs.completed(1, worker="thread 1")])
    stage.refresh()
    state.settle([jobs.completed(0, worker="thread 1"), jobs.completed(2, worker="thread 1")])
    words = [update["timeline"]["words"] for _ in range(3) for update in stage.updates(5.0) if "timeline" in update]
    assert words[-1] == "3 items on 1 worker"


def test_a_list_of_jobs_has_no_folds_and_steers_each(recorded, jobs):
    states = [jobs.state(2, name=name) for name in ("one", "two")]
    actions = [Actions(state, jobs.source()) for state in states]
    subjects = [CardSubject(str(i), *pair) for i, pair in enumerate(zip(states, actions, strict=True))]
    card = LiveCard(subjects, clock=lambda: 100.0)
    card.bundle()
    card._on_message(None, {"do": "cancel", "job": "1"}, None)
    card._on_message(None, {"do": "open", "fold": "failures"}, None)
    join_clicks()
    card.refresh()
    assert [one.done for one in actions] == [[], ["cancel"]]
    (state,) = [data["state"] for _, data in recorded.sent if "jobs" in data.get("state", {})]
    assert [job["title"] for job in state["jobs"]] == ["one", "two"]
    assert state["failures"] == {}
    card.close()


def test_a_job_that_is_paused_says_so(make, jobs):
    state = jobs.state(4)
    stage = make(state)
    state.set_phase(JobPhase.PAUSED)
    assert stage.updates()[0]["jobs"][0]["state"] == "paused"


def test_the_code_that_draws_it_is_sent_to_those_who_ask_and_in_no_other_message(make, jobs, recorded):
    state = jobs.state(4)
    stage = make(state)
    assert all(len(json.dumps(data)) < 8_000 for _, data in recorded.sent)
    stage.say(do="code")
    (answer,) = stage.answers()
    assert "export default" in answer["script"]
    assert ".nbf-card" in answer["style"]
