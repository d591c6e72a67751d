from __future__ import annotations

import contextvars
import queue
import subprocess
import sys
import textwrap
import time
import types
import weakref

import pytest
from jupyter_client.manager import start_new_kernel

from nbfutures.views import display
from nbfutures.views.display import LiveDisplay

cell = contextvars.ContextVar("cell", default="none")


class ByHand:
    """A ticker that refreshes when the test says so."""

    def __init__(self):
        self.refreshes = []
        self.poked = []
        self.cells = []

    def add(self, refresh, context=None):
        self.cells.append(context[cell])
        if refresh not in self.refreshes:
            self.refreshes.append(refresh)

    def poke(self, refresh):
        assert refresh in self.refreshes
        self.poked.append(refresh)

    def tick(self):
        self.refreshes = [refresh for refresh in self.refreshes if not refresh()]


class Work:
    """Something to show."""

    def __init__(self):
        self.text = "0 of 2"
        self.is_final = False

    def bundle(self):
        return {"text/plain": self.text, "text/html": f"<b>{self.text}</b>"}

    def end(self):
        self.text, self.is_final = "2 of 2", True


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def ticker():
    return ByHand()


class Widget:
    """A widget that no browser draws, until the test says so."""

    def __init__(self):
        self.views = None
        self.on_request = None
        self.refreshed = 0
        self.closed = 0
        self.is_told = True

    def bundle(self):
        return {"application/widget": f"widget {self.closed}", "text/plain": "never seen"}, {"meta": 1}

    def refresh(self):
        self.refreshed += 1
        return self.is_told

    def close(self):
        self.closed += 1


class Clock:
    """A second has gone by whenever it is asked."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        self.time += 1.0
        return self.time


@pytest.fixture
def widget():
    return Widget()


@pytest.fixture
def live(work, widget, ticker):
    return LiveDisplay(work.bundle, lambda: work.is_final, widget, ticker, Clock())


class Timed:
    """A display whose time goes by as the test says."""

    def __init__(self, work, widget, ticker):
        self.time = 0.0
        self.live = LiveDisplay(work.bundle, lambda: work.is_final, widget, ticker, lambda: self.time)


@pytest.fixture
def timed(work, widget, ticker):
    return Timed(work, widget, ticker)


@pytest.fixture
def left(timed, work, widget, ticker, sent):
    """A final display that the browser has shown, and has just taken away."""
    work.end()
    timed.live.show()
    widget.views = 0
    widget.on_request()
    ticker.tick()
    return timed


@pytest.fixture
def sent(monkeypatch):
    cell.set("first")
    """What was sent to a notebook: (text, display id, whether it is an update)."""
    messages = []
    monkeypatch.setattr(display, "_shell", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(
        display,
        "_send",
        lambda data, _, display_id, *, is_update=False: (
            messages.append((data["text/plain"], display_id, is_update)) if data["text/plain"] else None
        ),
    )
    return messages


def test_it_is_displayed_once_and_updated_in_place(live, work, ticker, sent):
    live.show()
    work.text = "1 of 2"
    ticker.tick()
    work.end()
    ticker.tick()
    assert [(text, is_update) for text, _, is_update in sent] == [("0 of 2", False), ("1 of 2", True), ("2 of 2", True)]
    assert len({display_id for _, display_id, _ in sent}) == 1


def test_nothing_is_sent_when_nothing_is_new(live, work, ticker, sent):
    live.show()
    ticker.tick()
    ticker.tick()
    assert len(sent) == 1
    work.text = "1 of 2"
    ticker.tick()
    ticker.tick()
    assert len(sent) == 2


def test_what_is_final_is_displayed_once_and_not_followed(live, work, ticker, sent):
    work.end()
    live.show()
    assert [(text, is_update) for text, _, is_update in sent] == [("2 of 2", False)]
    assert ticker.refreshes == []


def test_it_is_followed_no_more_after_the_end(live, work, ticker, sent):
    live.show()
    work.end()
    ticker.tick()
    assert ticker.refreshes == []
    assert sent[-1][0] == "2 of 2"


def test_an_end_that_comes_while_it_is_displayed_is_not_missed(live, work, ticker, sent, monkeypatch):
    send = display._send
    monkeypatch.setattr(display, "_send", lambda *args, **more: (send(*args, **more), work.end()))
    live.show()
    assert len(ticker.poked) == 1
    ticker.tick()
    assert sent[-1][0] == "2 of 2"


def test_an_end_that_comes_while_the_bundle_is_made_is_shown_by_one_more_refresh(work, ticker, sent):
    def bundle():
        made = work.bundle()
        if work.text == "1 of 2":
            work.end()
        return made

    live = LiveDisplay(bundle, lambda: work.is_final, Widget(), ticker, Clock())
    live.show()
    work.text = "1 of 2"
    ticker.tick()
    ticker.tick()
    assert [text for text, _, _ in sent] == ["0 of 2", "1 of 2", "2 of 2"]
    assert ticker.refreshes == []


def test_a_poke_refreshes_at_once_and_takes_up_what_had_ended(live, work, ticker, sent):
    live.poke()
    assert ticker.refreshes == []
    live.show()
    work.end()
    live.poke()
    ticker.tick()
    work.text, work.is_final = "retrying", False
    live.poke()
    ticker.tick()
    assert [text for text, _, _ in sent] == ["0 of 2", "2 of 2", "retrying"]
    assert len(ticker.refreshes) == 1


def test_updates_belong_to_the_cell_that_showed_it_whoever_pokes(live, work, ticker, sent):
    live.show()
    work.end()
    ticker.tick()
    cell.set("another")
    live.poke()
    assert ticker.cells == ["first", "first"]


class Events:
    """The part of IPython that tells when a cell has ended."""

    def __init__(self):
        self.hooks = []

    def register(self, event, hook):
        assert event == "post_run_cell"
        self.hooks.append(hook)

    def unregister(self, event, hook):
        self.hooks.remove(hook)

    def end_cell(self):
        for hook in list(self.hooks):
            hook(None)


@pytest.fixture
def events(monkeypatch):
    made = Events()
    shell = types.SimpleNamespace(kernel=object(), events=made)
    monkeypatch.setattr(display, "_shell", lambda: shell)
    monkeypatch.setattr(display, "_waiting", weakref.WeakSet())
    yield made
    display.forget_shell()
    assert made.hooks == []


def test_the_end_of_a_cell_sends_a_final_state_once(live, work, sent, events):
    live.show()
    events.end_cell()
    assert len(sent) == 1
    work.end()
    events.end_cell()
    events.end_cell()
    assert [text for text, _, _ in sent] == ["0 of 2", "2 of 2"]


def test_the_end_of_a_cell_sends_a_final_state_even_if_the_ticker_has(live, work, ticker, sent, events):
    live.show()
    work.end()
    ticker.tick()
    events.end_cell()
    assert [text for text, _, _ in sent] == ["0 of 2", "2 of 2", "2 of 2"]


def test_however_many_displays_there_are_one_hook_is_put_into_ipython(live, work, ticker, sent, events):
    live.show()
    live.show()
    LiveDisplay(work.bundle, lambda: work.is_final, Widget(), ticker).show()
    assert len(events.hooks) == 1


def test_shown_twice_both_displays_are_kept_up_to_date(live, work, ticker, sent):
    live.show()
    work.text = "1 of 2"
    live.show()
    work.end()
    ticker.tick()
    first, second = sent[0][1], sent[1][1]
    assert sent == [
        ("0 of 2", first, False),
        ("1 of 2", second, False),
        ("2 of 2", first, True),
        ("2 of 2", second, True),
    ]
    assert first != second


def test_a_first_display_catches_up_with_a_second_that_was_newer(live, work, ticker, sent):
    live.show()
    work.text = "1 of 2"
    live.show()
    ticker.tick()
    assert sent[2:] == [("1 of 2", sent[0][1], True)]


def test_in_a_terminal_it_is_printed_once(live, work, ticker, sent, monkeypatch):
    monkeypatch.setattr(display, "_shell", types.SimpleNamespace)
    live.show()
    assert sent == [("0 of 2", None, False)]
    assert ticker.refreshes == []


def test_without_ipython_nothing_happens(live, ticker, sent, monkeypatch):
    monkeypatch.setattr(display, "_shell", lambda: None)
    live.show()
    live.poke()
    assert sent == []
    assert ticker.refreshes == []


# --- with a widget ---------------------------------------------------------------------------------------------------


@pytest.fixture
def messages(monkeypatch):
    """All that was sent: data, metadata, display id."""
    sent = []
    monkeypatch.setattr(display, "_shell", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(display, "_send", lambda *args, **more: sent.append(args))
    return sent


def test_the_widget_stands_in_an_output_of_its_own_below_the_html(live, messages):
    live.show()
    (plain, _, first), (widget, metadata, second) = messages
    assert plain["text/plain"] == "0 of 2"
    assert '<div class="nbf-static"><b>0 of 2</b></div>' in plain["text/html"]
    assert widget == {"application/widget": "widget 0", "text/plain": ""}
    assert metadata == {"meta": 1}
    assert first != second


def test_the_end_is_sent_to_the_html_and_does_not_draw_the_widget_anew(live, work, ticker, messages):
    live.show()
    work.end()
    ticker.tick()
    assert len(messages) == 3
    assert messages[2][2] == messages[0][2]


def test_of_a_widget_that_is_let_go_of_nothing_stays(live, work, messages):
    work.end()
    live.show()
    live.detach()
    assert messages[-1] == ({"text/plain": ""}, {}, messages[1][2])


def test_while_a_browser_draws_the_widget_text_and_html_wait_for_the_end(live, work, widget, ticker, sent):
    live.show()
    widget.views = 1
    work.text = "1 of 2"
    ticker.tick()
    assert (len(sent), widget.refreshed) == (1, 1)
    work.end()
    ticker.tick()
    assert [text for text, _, _ in sent] == ["0 of 2", "2 of 2"]


def test_where_no_browser_draws_it_text_and_html_come_no_more_than_once_a_second(timed, work, widget, ticker, sent):
    timed.live.show()
    for step in range(20):
        work.text = f"{step} of 20"
        timed.time += 0.25
        ticker.tick()
    assert len(sent) == 1 + 5


def test_a_widget_that_holds_something_back_is_refreshed_again_after_the_end(live, work, widget, ticker, sent):
    live.show()
    widget.is_told = False
    work.end()
    ticker.tick()
    assert len(ticker.refreshes) == 1
    widget.is_told = True
    ticker.tick()
    assert ticker.refreshes == []


def test_what_the_browser_asks_for_is_answered_after_the_end_too(live, work, widget, ticker, sent):
    work.end()
    live.show()
    widget.on_request()
    assert ticker.poked
    ticker.tick()
    assert widget.refreshed == 1
    assert len(sent) == 1


def test_a_widget_that_the_browser_shows_no_more_is_let_go_of_and_leaves_its_html(left, widget, ticker, sent):
    left.time += display._LEAVE_SECONDS - 0.1
    ticker.tick()
    assert widget.closed == 0
    left.time += 0.2
    ticker.tick()
    assert widget.closed == 1
    assert ticker.refreshes == []
    assert len(sent) == 1


def test_a_widget_that_is_only_drawn_anew_stays(left, widget, ticker, sent):
    widget.views = 1
    left.time += 2 * display._LEAVE_SECONDS
    ticker.tick()
    assert (widget.closed, ticker.refreshes) == (0, [])


def test_a_display_without_its_widget_goes_on_as_text_and_html(live, work, widget, ticker, sent):
    work.end()
    live.show()
    live.detach()
    work.text, work.is_final = "0 of 2 again", False
    live.poke()
    ticker.tick()
    work.end()
    ticker.tick()
    assert [text for text, _, _ in sent] == ["2 of 2", "0 of 2 again", "2 of 2"]
    assert (widget.closed, widget.refreshed) == (1, 0)


def test_what_is_shown_again_while_its_widget_leaves_stays(left, widget, ticker, sent):
    left.time += display._LEAVE_SECONDS - 0.1
    left.live.show()
    left.time += 0.2
    ticker.tick()
    assert widget.closed == 0


def test_what_runs_again_meanwhile_keeps_its_widget(live, work, widget, ticker, sent):
    work.end()
    live.show()
    work.is_final = False
    live.detach()
    assert widget.closed == 0


def test_a_click_that_has_the_job_run_again_is_followed(live, work, widget, ticker, sent):
    work.end()
    live.show()

    def retry():
        work.text, work.is_final = "1 of 2", False
        return True

    widget.refresh = retry
    widget.on_request()
    ticker.tick()
    assert len(ticker.refreshes) == 1


def test_a_notebook_that_is_saved_in_mid_run_is_ten_seconds_old_at_most(timed, work, widget, ticker, sent):
    timed.live.show()
    widget.views = 1
    for second in range(130):
        work.text = f"{second} of 130"
        timed.time += 1
        ticker.tick()
    assert len(sent) == 1 + 13


def test_no_more_than_fifty_widgets_stay_open_and_those_of_running_jobs_stay(ticker, sent, monkeypatch):
    monkeypatch.setattr(display, "_open", {})
    works = [Work() for _ in range(60)]
    widgets = [Widget() for _ in works]
    for widget in widgets:
        widget.views = 1
    lives = [
        LiveDisplay(one.bundle, lambda one=one: one.is_final, widget, ticker)
        for one, widget in zip(works, widgets, strict=True)
    ]
    for number, (one, live) in enumerate(zip(works, lives, strict=True)):
        if number:
            one.end()
        live.show()
    assert [widget.closed for widget in widgets] == [0] + [1] * 10 + [0] * 49


# --- the real thing ------------------------------------------------------------------------------------------------

SCRIPT = """
    from types import SimpleNamespace
    from nbfutures.views.display import LiveDisplay
    final = []
    widget = SimpleNamespace(bundle=lambda: ({}, {}), refresh=lambda: True, close=lambda: None, views=None)
    live = LiveDisplay(
        lambda: {"text/plain": "final" if final else "first", "text/html": "<b>html</b>"}, lambda: bool(final), widget
    )
    live.show()
    final.append(True)
    live.poke()
"""


def printed(code):
    code = textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def test_a_plain_interpreter_prints_nothing_and_does_not_import_ipython():
    assert printed(SCRIPT + "\n    import sys\n    print('IPython' in sys.modules)") == "False\n"


def test_a_terminal_ipython_prints_the_text_once():
    start = """
    import threading
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    TerminalInteractiveShell.instance()
    """
    assert (
        printed(start + SCRIPT + "\n    print([one.name for one in threading.enumerate() if 'nbf' in one.name])")
        == "first\n[]\n"
    )


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def messages_until(client, is_last, seconds=30):
    """Read what the kernel publishes up to a message."""
    found = []
    deadline = time.monotonic() + seconds
    while not found or not is_last(found[-1]):
        try:
            found.append(client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.01)))
        except queue.Empty:
            raise AssertionError(f"not seen in time; seen: {[one['msg_type'] for one in found]}") from None
    return found


def run(client, code):
    """Run a cell and return what it published, and the id of its request."""
    request = client.execute(textwrap.dedent(code))
    found = messages_until(
        client,
        lambda one: (
            one["msg_type"] == "status"
            and one["content"]["execution_state"] == "idle"
            and one["parent_header"].get("msg_id") == request
        ),
    )
    assert not [one for one in found if one["msg_type"] == "error"], found
    return found, request


def test_in_a_kernel_the_display_of_one_cell_is_updated_while_another_runs(kernel):
    found, _ = run(kernel, SCRIPT.partition("final.append")[0])
    shown, widget = [one["content"] for one in found if one["msg_type"] == "display_data"]
    assert shown["data"]["text/plain"] == "first"
    assert '<div class="nbf-static"><b>html</b></div>' in shown["data"]["text/html"]
    assert widget["data"] == {"text/plain": ""}
    kernel.execute("final.append(True)\nlive.poke()")
    update = messages_until(kernel, lambda one: one["msg_type"] == "update_display_data")[-1]
    assert update["content"]["data"]["text/plain"] == "final"
    assert update["content"]["transient"] == shown["transient"]


def test_the_cell_in_which_the_end_came_sends_it_too_for_those_who_listen_to_that_cell_only(kernel):
    run(kernel, SCRIPT.partition("final.append")[0])
    found, request = run(kernel, "final.append(True)\nlive.poke()")
    told = [one for one in found if one["msg_type"] == "update_display_data"]
    texts = [one["content"]["data"]["text/plain"] for one in told if one["parent_header"]["msg_id"] == request]
    assert set(texts) == {"final"}


def test_what_no_browser_shows_is_held_by_who_holds_the_job_until_one_comes(ticker, sent, monkeypatch):
    monkeypatch.setattr(display, "_open", {})
    work, widget = Work(), Widget()
    live = LiveDisplay(work.bundle, lambda: work.is_final, widget, ticker)
    live.show()
    assert list(display._open) == [live]
    work.end()
    ticker.tick()
    assert not display._open
    widget.views = 1
    widget.on_request()
    ticker.tick()
    assert list(display._open) == [live]
