"""Keeps the widget of a job up to date, and takes what the browser asks for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nbfutures.model.events import JobEvent, Reopened
from nbfutures.views.card.messages import failure_answer, failure_rows, job_message, result_rows, timeline_message
from nbfutures.views.html import first_and_last
from nbfutures.views.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nbfutures.model.job_state import JobState
    from nbfutures.views.card.card import Card
    from nbfutures.views.failures import Failure
    from nbfutures.views.report import JobReport

__all__ = ["CardActions", "CardSubject", "LiveCard"]

_logger = logging.getLogger(__name__)

_GROUPS = 20
_FOLDS = frozenset({"failures", "timeline", "results"})
_FOLD_SECONDS = {"failures": 1.0, "timeline": 2.0, "results": 1.0}
"""How often the content of an open fold may be sent."""
_SEND_SECONDS = 0.24
"""A little less than the ticker's interval, so that a card sends at most four updates a second."""
_FEW = 4
_MANY_SECONDS = 0.9
"""The same for a list of more than a few jobs."""
_SHARE = 50_000
"""Outcomes that one refresh takes into the timeline, so that a click need not wait for a million of them."""


class CardActions(Protocol):
    """What the buttons do. Each is called in the ticker's thread and must not block."""

    def available(self) -> Sequence[str]:
        """Return what can be done now, of "pause", "resume", "retry" and "cancel"."""
        ...

    def do(self, action: str) -> None:
        """Do one of these."""
        ...

    def failure(self, index: int) -> Failure:
        """Return one failure."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CardSubject:
    """One job on a card."""

    key: str
    """Tells the job from others."""
    state: JobState
    actions: CardActions
    """What its buttons do."""


class LiveCard:
    """The card of one job, or of a list of them.

    All that is sent goes through `refresh`, so that one thread writes at a time and nothing older overwrites what is
    newer. What the browser asks for is put on a queue, since it may arrive on the thread that runs the cells.

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
        self._report = report
        self._clock = clock
        self._card: Card | None = None
        self._lock = threading.Lock()
        self._requests: deque[dict[str, Any]] = deque()
        self._views: set[str] = set()
        """Where the browser shows the card now."""
        self._was_seen = False
        self._folds: dict[str, float] = {}
        """Open folds, with the time at which their content was sent last."""
        self._last_sent = 0.0
        self._timeline: _TimelineReader | None = None

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the widget as data and metadata by MIME type; it is made by the first call."""
        with self._lock:
            if self._card is None:
                from nbfutures.views.card.card import Card

                self._card = Card(jobs=self._jobs(), is_list=self._report is None)
                self._card.on_msg(self._on_message)
            made = self._card._repr_mimebundle_()
        return made if isinstance(made, tuple) else (made or {}, {})

    def refresh(self) -> bool:
        """Bring the browser up to date and answer what it asked for.

        Returns:
            Whether all is told: not while something is held back to keep to the pace.
        """
        with self._lock:
            if self._card is None:
                return True
            is_final = all(subject.state.is_done for subject in self._subjects.values())
            answers = self._take_requests()
            now = self._clock()
            is_told = True
            if is_final or now - self._last_sent >= (_SEND_SECONDS if len(self._subjects) <= _FEW else _MANY_SECONDS):
                self._send(self._card, now, is_final=is_final)
                is_told = "timeline" not in self._folds or self._timeline is None or self._timeline.is_complete
            else:
                is_told = False
            for answer in answers:
                self._card.send(answer)
        return is_told

    @property
    def views(self) -> int | None:
        """How many places the browser shows the card in; `None` if it never has."""
        return len(self._views) if self._was_seen else None

    def close(self) -> None:
        """Let go of the widget; the next `bundle` makes another."""
        with self._lock:
            card, self._card = self._card, None
            self._views.clear()
            self._was_seen = False
            self._folds.clear()
        if card is not None:
            card.on_msg(self._on_message, remove=True)
            card.close()

    # --- from the browser, on whichever thread the kernel takes it in -------------------------------------------------

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if isinstance(content, dict):
            self._requests.append(content)
            self.on_request()

    # --- with the lock held ------------------------------------------------------------------------------------------

    def _take_requests(self) -> list[dict[str, Any]]:
        answers = []
        while self._requests:
            request = self._requests.popleft()
            try:
                answer = self._take(request)
            except Exception:
                _logger.exception("A request of the card could not be met: %r", request.get("do"))
                continue
            if answer is not None:
                answers.append(answer)
        return answers

    def _take(self, request: dict[str, Any]) -> dict[str, Any] | None:
        what, view = request.get("do"), str(request.get("view", ""))[:80]
        match what:
            case "hello":
                self._views.add(view)
                self._was_seen = True
            case "bye":
                self._views.discard(view)
            case "open" if self._report is not None and request.get("fold") in _FOLDS:
                self._folds[str(request["fold"])] = 0.0
            case "close":
                self._folds.pop(str(request.get("fold")), None)
            case "failure" if isinstance(index := request.get("index"), int):
                return failure_answer(self._only.actions.failure(index))
            case str():
                subject = self._subjects.get(str(request.get("job")))
                # What was offered when the button was drawn may be over by now.
                if subject is not None and what in subject.actions.available():
                    subject.actions.do(what)
        return None

    @property
    def _only(self) -> CardSubject:
        return next(iter(self._subjects.values()))

    def _jobs(self) -> list[dict[str, Any]]:
        return [
            dict(job_message(subject.key, subject.state.snapshot(), subject.actions.available()))
            for subject in self._subjects.values()
        ]

    def _send(self, card: Card, now: float, *, is_final: bool) -> None:
        changes: dict[str, Any] = {"jobs": self._jobs()}
        for fold, sent in self._folds.items():
            if is_final or now - sent >= _FOLD_SECONDS[fold]:
                changes[fold] = self._content(fold)
                self._folds[fold] = now
        # One message for all of it.
        with card.hold_sync():
            for name, value in changes.items():
                setattr(card, name, value)
        self._last_sent = now

    def _content(self, fold: str) -> Any:
        if fold == "failures" and self._report is not None:
            return failure_rows(*self._report.failures(_GROUPS))
        if fold == "results":
            return result_rows(first_and_last(self._only.state))
        if self._timeline is None:
            self._timeline = _TimelineReader(self._only.state)
        return self._timeline.message()


class _TimelineReader:
    """Takes a job's outcomes into a timeline, a share at each call."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._timeline = Timeline()
        self._position = 0
        self._again: set[int] = set()
        self._is_stale = False
        state.subscribe(self._on_event)

    @property
    def is_complete(self) -> bool:
        """Whether everything that was told so far is in it."""
        return not self._is_stale and not self._state.has_settled_since(self._position)

    def message(self) -> dict[str, Any]:
        """Return the timeline as the card draws it."""
        if self._is_stale:
            # What runs again would be there twice.
            self._is_stale = False
            self._timeline, self._position, self._again = Timeline(), 0, set()
        told, self._position = self._state.settled_since(self._position, _SHARE)
        self._timeline.add(outcome for outcome in told if not outcome.round or self._is_first(outcome.index))
        return timeline_message(self._timeline.snapshot())

    def _is_first(self, index: int) -> bool:
        # What ran again was told again: read from the start, its last outcome comes up each time.
        if index in self._again:
            return False
        self._again.add(index)
        return True

    def _on_event(self, event: JobEvent) -> None:
        if isinstance(event, Reopened):
            self._is_stale = True
