"""Keeps the widget of a job up to date, and takes what the browser asks for."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import uuid
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nbfutures.model.events import JobEvent, Reopened
from nbfutures.model.outcome import OutcomeKind
from nbfutures.views.clean import one_line, plain, short_repr
from nbfutures.views.html import first_and_last
from nbfutures.views.phrases import count_parts, pace_phrase
from nbfutures.views.snapshot import describe
from nbfutures.views.timeline import Timeline
from nbfutures.views.timeline_snapshot import describe_timeline
from nbfutures.views.words import count_words, duration_words, number_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nbfutures.model.job_snapshot import JobSnapshot
    from nbfutures.model.job_state import JobState
    from nbfutures.model.outcome import Outcome
    from nbfutures.views.card.card import Card
    from nbfutures.views.failures import Failure
    from nbfutures.views.grouping import FailureGroup
    from nbfutures.views.report import JobReport
    from nbfutures.views.timeline import TimelineSnapshot

__all__ = ["CardActions", "CardSubject", "LiveCard"]

_SHARE = 20_000
"""Outcomes taken at once, while the job's state is held."""


class TimelineReader:
    """Follows a job. For one thread.

    Args:
        state: The job's state.
        seconds: How long one `read` may take.
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(self, state: JobState, *, seconds: float = 0.3, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._seconds = seconds
        self._clock = clock
        self._twice: set[int] = set()
        """Items that were told more than once: read from the start, their last outcome comes up each time."""
        self._is_stale = False
        self._timeline = Timeline()
        self._position = 0
        self._seen: set[int] = set()
        """Of the items that were told twice, and of those that did not complete, which are in it."""
        self._unsubscribe = state.subscribe(self._on_event)

    def read(self) -> TimelineSnapshot:
        """Take in what was told since the last call, as much as there is time for, and return the timeline."""
        if self._is_stale:
            self._is_stale = False
            self._timeline, self._position, self._seen = Timeline(), 0, set()
        deadline = self._clock() + self._seconds
        while True:
            told, self._position = self._state.settled_since(self._position, _SHARE)
            self._timeline.add(self._fresh(told))
            if not told or self._clock() > deadline:
                return self._timeline.snapshot()

    @property
    def is_complete(self) -> bool:
        """Whether everything that was told so far is in it."""
        return not self._is_stale and not self._state.has_settled_since(self._position)

    def close(self) -> None:
        """Follow the job no more."""
        self._unsubscribe()

    def _fresh(self, told: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in told:
            index = outcome.index
            if index in self._seen:
                if index not in self._twice:
                    # It has ended in another way since: what is drawn of it has to go.
                    self._twice.add(index)
                    self._is_stale = True
                continue
            if outcome.kind is not OutcomeKind.COMPLETED or outcome.round or index in self._twice:
                self._seen.add(index)
            yield outcome

    def _on_event(self, event: JobEvent) -> None:
        if isinstance(event, Reopened):
            # What runs again would be there twice.
            self._twice.update(event.indices)
            self._is_stale = True


_IN_PHRASES = frozenset({"note", "rate", "report", "seconds_left", "speed_up", "workers", "words"})
_TEXT_LIMIT = 20_000
"""Characters of a traceback or of what an item printed."""


def job_message(key: str, snapshot: JobSnapshot, actions: Sequence[str]) -> dict[str, Any]:
    """Return a job as the card draws it: about half a kilobyte, whatever the number of items.

    Args:
        key: Tells the job from others.
        snapshot: The job.
        actions: What it offers now, of "pause", "resume", "retry" and "cancel".

    Returns:
        A `JobDescription` with phrases for most of its numbers, with `key` and `actions`.
    """
    job = describe(snapshot)
    described = {name: value for name, value in job.items() if name not in _IN_PHRASES}
    phrases = {"words": {"counts": job["words"]["counts"]}, "parts": dict(count_parts(job)), "pace": pace_phrase(job)}
    note = "\n".join(filter(None, [job["note"], *job["report"]]))
    return {**described, **phrases, "note": note, "key": key, "actions": list(actions)}


def failure_rows(groups: Sequence[FailureGroup], more: int) -> dict[str, Any]:
    """Return failures in groups.

    Args:
        groups: The largest groups.
        more: How many there are besides.
    """
    rows = [
        {
            "key": group.key,
            "count": group.count,
            "error": plain(group.error, 60),
            "message": one_line(group.message),
            "where": (f"at {plain(group.where, 80)}, " if group.where else "") + f"first at item {group.first:,}",
            "first": group.first,
        }
        for group in groups
    ]
    return {"groups": rows, "more": more}


def failure_answer(failure: Failure) -> dict[str, Any]:
    """Return one failure with its input, traceback and what it printed."""
    return {
        "answer": "failure",
        "index": failure.index,
        "headline": f"Item {failure.index:,}: {failure.headline}",
        "blocks": [[title, plain(text, _TEXT_LIMIT)] for title, text in failure.blocks()],
    }


def no_failure_answer(index: int) -> dict[str, Any]:
    """Return the answer for an item that has not failed, or not any more."""
    return {"answer": "failure", "index": index, "headline": "This item has not failed, or not any more.", "blocks": []}


def result_rows(outcomes: Sequence[Outcome]) -> list[list[Any]]:
    """Return values as `[index, text]`."""
    return [[outcome.index, short_repr(outcome.value, 160)] for outcome in outcomes]


def timeline_message(timeline: TimelineSnapshot, settled: int | None = None) -> dict[str, Any]:
    """Return a timeline as lanes of bars, and what it shows in words.

    Args:
        timeline: The timeline.
        settled: How many items have ended, where it does not have all of them yet.
    """
    failed = sum(bar.failed for lane in timeline.lanes for bar in lane.bars)
    words = f"{count_words(timeline.items, 'item')} on {count_words(len(timeline.lanes), 'worker')}"
    if failed:
        words += f", {number_words(failed)} failed"
    if settled is not None:
        words = f"the first {words}; {number_words(settled)} have ended"
    return {**describe_timeline(timeline), "words": words, "span": duration_words(timeline.end - timeline.start)}


_logger = logging.getLogger(__name__)

_GROUPS = 20
_FOLD_SECONDS = {"failures": 1.0, "timeline": 2.0, "results": 1.0}
"""How often the content of an open fold may be sent."""
_SEND_SECONDS = 0.24
"""A little less than the ticker's interval, so that a card sends at most four updates a second."""
_FEW = 4
_MANY_SECONDS = 0.9
"""The same for a list of more than a few jobs."""


class CardActions(Protocol):
    """What the buttons do. `do` and `failure` are called on a thread of their own: they may run a user's code."""

    def available(self) -> Sequence[str]:
        """Return what can be done now, of "pause", "resume", "retry" and "cancel"."""
        ...

    def do(self, action: str) -> None:
        """Do one of these."""
        ...

    def failure(self, index: int) -> Failure:
        """Return one failure."""
        ...

    def password(self) -> str | None:
        """Return what the login of Prefect's interface asks for, where it is our own server's."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CardSubject:
    """One job on a card."""

    key: str
    """Tells the job from others: a few characters."""
    state: JobState
    actions: CardActions
    """What its buttons do."""


class LiveCard:
    """The card of one job, or of a list of them.

    All that is sent goes through `refresh`, one thread at a time, so that nothing older overwrites what is newer. What
    the browser asks for may arrive on the thread that runs the cells, so that it is only noted there.

    Args:
        subjects: The jobs.
        report: The failures of the one job; `None` for a list of small cards, without folds.
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(
        self,
        subjects: Sequence[CardSubject],
        report: JobReport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_request: Callable[[], None] = lambda: None
        """Called when the browser has asked for something: to have `refresh` called soon."""
        self._subjects = {subject.key: subject for subject in subjects}
        self._pause = _SEND_SECONDS if len(self._subjects) <= _FEW else _MANY_SECONDS
        self._report = report
        self._clock = clock
        self._card: Card | None = None
        self._closes: weakref.finalize[..., Any] | None = None
        # Values are turned into text with it held, by code that may be a user's: that may show the job again.
        self._sending = threading.RLock()
        self._lock = threading.Lock()
        """Held for moments, and never while a user's code runs."""
        self._answers: deque[dict[str, Any]] = deque()
        self._views: set[str] = set()
        """Where the browser shows the card now."""
        self._instance: str | None = None
        """Which page the views are in: a page that is closed says nothing, and the next one takes its place."""
        self._folds: dict[str, set[str]] = {}
        """Open folds, and the views that they are open in."""
        self._fold_sent: dict[str, float] = {}
        self._is_new = False
        """Whether a view has come that may have missed something."""
        self._last_sent = 0.0
        self._timeline: TimelineReader | None = None

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget as data and metadata by MIME type; it is made by the first call."""
        jobs = self._jobs()
        with self._lock:
            if self._card is None:
                from nbfutures.views.card.card import Card

                self._card = Card(jobs=jobs, is_list=self._report is None, uid=uuid.uuid4().hex)
                # Widgets are kept by ipywidgets, for ever: this one is to hold no job, and goes with the last who does.
                self._card.on_msg(_passing_on(weakref.WeakMethod(self._on_message)))
                self._closes = weakref.finalize(self, self._card.close)
                self._closes.atexit = False
            made = self._card._repr_mimebundle_()
        return made if isinstance(made, tuple) else (made or {}, {})

    def refresh(self) -> bool:
        """Bring the browser up to date and answer what it asked for.

        Returns:
            Whether all is told: not while something is held back to keep to the pace.
        """
        with self._sending:
            card = self._card
            if card is None:
                return True
            is_final = all(subject.state.is_done for subject in self._subjects.values())
            now = self._clock()
            is_told = is_final or now - self._last_sent >= self._pause
            if is_told:
                self._send(card, now, is_final=is_final)
                is_told = self._timeline is None or "timeline" not in self._folds or self._timeline.is_complete
            while self._answers:
                card.send(self._answers.popleft())
        return is_told

    @property
    def views(self) -> int | None:
        """How many places the browser shows the card in; `None` if it never has."""
        return len(self._views) if self._instance is not None else None

    def close(self) -> None:
        """Let go of the widget; the next `bundle` makes another."""
        with self._sending, self._lock:
            card, self._card = self._card, None
            self._forget_views()
            self._instance = None
            if self._timeline is not None:
                self._timeline.close()
                self._timeline = None
        if card is not None:
            if self._closes is not None:
                self._closes.detach()
            card.close()

    # --- from the browser, on whichever thread the kernel takes it in -------------------------------------------------

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if not isinstance(content, dict):
            return
        what, view, fold = content.get("do"), str(content.get("view", ""))[:80], content.get("fold")
        with self._lock:
            if what == "hello":
                self._welcome(view, str(content.get("instance", ""))[:80])
            elif what == "bye":
                self._leave(view)
            elif what == "code":
                from nbfutures.views.card.card import SCRIPT, STYLE

                self._answers.append({"answer": "code", "script": SCRIPT, "style": STYLE})
            elif what == "open" and self._report is not None and fold in _FOLD_SECONDS:
                self._folds.setdefault(str(fold), set()).add(view)
                self._fold_sent[str(fold)] = 0.0
            elif what == "close":
                self._close_fold(str(fold), view)
            elif isinstance(what, str):
                # A click may run what a user has put on a future's end, for as long as that likes.
                threading.Thread(
                    target=contextvars.copy_context().run,
                    args=(self._do, what, content),
                    name="nbfutures click",
                    daemon=True,
                ).start()
        self.on_request()

    def _do(self, what: str, content: dict[str, Any]) -> None:
        if what == "failure":
            self._answers.append(self._failure(content.get("index")))
        elif what == "password":
            # As a message, which no notebook holds; never in what the widget is.
            self._answers.append({"answer": "password", "password": self._only.actions.password()})
        else:
            subject = self._subjects.get(str(content.get("job")))
            if subject is None:
                return
            self._answers.append({"answer": "taken", "job": subject.key})
            self.on_request()
            try:
                # What was offered when the button was drawn may be over by now.
                if what in subject.actions.available():
                    subject.actions.do(what)
            except Exception:
                _logger.exception("The card could not %s the job", what)
        self.on_request()

    def _failure(self, index: object) -> dict[str, Any]:
        # An index from the end is nothing that the card has asked for.
        if type(index) is not int or index < 0:
            return no_failure_answer(-1)
        try:
            return failure_answer(self._only.actions.failure(index))
        except Exception:
            return no_failure_answer(index)

    # --- with the lock held ------------------------------------------------------------------------------------------

    def _welcome(self, view: str, instance: str) -> None:
        if instance != self._instance:
            self._forget_views()
            self._instance = instance
        self._views.add(view)
        self._is_new = True

    def _leave(self, view: str) -> None:
        self._views.discard(view)
        for fold in list(self._folds):
            self._close_fold(fold, view)

    def _close_fold(self, fold: str, view: str) -> None:
        views = self._folds.get(fold, set())
        views.discard(view)
        if not views:
            self._folds.pop(fold, None)

    def _forget_views(self) -> None:
        self._views.clear()
        self._folds.clear()

    # --- while sending -----------------------------------------------------------------------------------------------

    @property
    def _only(self) -> CardSubject:
        return next(iter(self._subjects.values()))

    def _jobs(self) -> list[dict[str, Any]]:
        return [
            job_message(subject.key, subject.state.snapshot(), subject.actions.available())
            for subject in self._subjects.values()
        ]

    def _send(self, card: Card, now: float, *, is_final: bool) -> None:
        changes: dict[str, Any] = {"jobs": self._jobs()}
        for fold in list(self._folds):
            if is_final or now - self._fold_sent.get(fold, 0.0) >= _FOLD_SECONDS[fold]:
                changes[fold] = self._content(fold)
                self._fold_sent[fold] = now
        # One message for all of it.
        with card.hold_sync():
            for name, value in changes.items():
                setattr(card, name, value)
        if self._is_new and is_final:
            # It may have been told an older state, on another thread, while this one told the last.
            card.send_state(list(changes))
        self._is_new = False
        self._last_sent = now

    def _content(self, fold: str) -> Any:
        if fold == "failures" and self._report is not None:
            return failure_rows(*self._report.failures(_GROUPS))
        state = self._only.state
        if fold == "results":
            return result_rows(first_and_last(state))
        if self._timeline is None:
            self._timeline = TimelineReader(state)
        timeline = self._timeline.read()
        return timeline_message(timeline, None if self._timeline.is_complete else state.counts.settled)


def _passing_on(method: weakref.WeakMethod[Callable[[object, object, object], None]]) -> Callable[..., None]:
    def on_message(widget: object, content: object, buffers: object) -> None:
        found = method()
        if found is not None:
            found(widget, content, buffers)

    return on_message
