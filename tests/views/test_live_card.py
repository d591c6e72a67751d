"""What a card sends to the browser and takes from it, without a browser."""

from __future__ import annotations

import json

import comm
import pytest
from comm.base_comm import BaseComm

from nbfutures.model.events import JobPhase
from nbfutures.views.card.live_card import CardSubject, LiveCard
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
    assert stage.requested == 1
    assert stage.actions.done == [], "on the ticker's thread, not where the click arrives"
    stage.refresh()
    assert stage.actions.done == ["pause"]
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
    state.settle([jobs.completed(1)])
    assert len(stage.updates()) == 1
    assert stage.actions.done == []


def test_views_are_counted(make, jobs):
    stage = make(jobs.state(2))
    assert stage.card.views is None
    stage.say(do="hello")
    stage.say(do="hello", view="v2")
    stage.say(do="bye")
    stage.refresh()
    assert stage.card.views == 1
    stage.say(do="bye", view="v2")
    stage.refresh()
    assert stage.card.views == 0


def test_a_closed_card_is_told_to_the_browser_and_the_next_bundle_makes_another(make, jobs, recorded):
    state = jobs.state(2)
    stage = make(state)
    first = stage.card._card.model_id
    stage.card.close()
    assert [kind for kind, _ in recorded.sent].count("comm_close") == 2, "the widget and its layout"
    stage.card.bundle()
    assert stage.card._card.model_id != first
    state.settle([jobs.completed(0)])
    assert stage.refresh()


def test_a_long_timeline_is_told_in_shares_to_its_end(make, jobs, monkeypatch):
    monkeypatch.setattr("nbfutures.views.card.live_card._SHARE", 10)
    state = jobs.state(25)
    state.settle([jobs.completed(index, worker="thread 1") for index in range(25)])
    stage = make(state)
    stage.say(do="open", fold="timeline")
    seen = []
    for _ in range(4):
        seen += [update["timeline"]["words"] for update in stage.updates(2.5) if "timeline" in update]
        if stage.told:
            break
    assert seen == ["10 items on 1 worker", "20 items on 1 worker", "25 items on 1 worker"]


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


def test_a_list_of_jobs_has_no_folds_and_steers_each(recorded, jobs):
    states = [jobs.state(2, name=name) for name in ("one", "two")]
    actions = [Actions(state, jobs.source()) for state in states]
    subjects = [CardSubject(str(i), *pair) for i, pair in enumerate(zip(states, actions, strict=True))]
    card = LiveCard(subjects, clock=lambda: 100.0)
    card.bundle()
    card._on_message(None, {"do": "cancel", "job": "1"}, None)
    card._on_message(None, {"do": "open", "fold": "failures"}, None)
    card.refresh()
    assert [one.done for one in actions] == [[], ["cancel"]]
    state = recorded.sent[-1][1]["state"]
    assert [job["title"] for job in state["jobs"]] == ["one", "two"]
    assert state["failures"] == {}
    card.close()


def test_a_job_that_is_paused_says_so(make, jobs):
    state = jobs.state(4)
    stage = make(state)
    state.set_phase(JobPhase.PAUSED)
    assert stage.updates()[0]["jobs"][0]["state"] == "paused"
