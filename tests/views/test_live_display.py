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


@pytest.fixture
def live(work, ticker):
    return LiveDisplay(work.bundle, lambda: work.is_final, ticker)


@pytest.fixture
def sent(monkeypatch):
    cell.set("first")
    """What was sent to a notebook: (text, display id, whether it is an update)."""
    messages = []
    monkeypatch.setattr(display, "_shell", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(
        display,
        "_send",
        lambda bundle, display_id, *, is_update=False: messages.append((bundle["text/plain"], display_id, is_update)),
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

    live = LiveDisplay(bundle, lambda: work.is_final, ticker)
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
    LiveDisplay(work.bundle, lambda: work.is_final, ticker).show()
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


# --- the real thing ------------------------------------------------------------------------------------------------

SCRIPT = """
    from nbfutures.views.display import LiveDisplay
    final = []
    live = LiveDisplay(
        lambda: {"text/plain": "final" if final else "first", "text/html": "<b>html</b>"}, lambda: bool(final)
    )
    live.show()
    final.append(True)
    live.poke()
"""


def printed(code):
    code = textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
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
    [shown] = [one["content"] for one in found if one["msg_type"] == "display_data"]
    assert shown["data"] == {"text/plain": "first", "text/html": "<b>html</b>"}
    kernel.execute("final.append(True)\nlive.poke()")
    update = messages_until(kernel, lambda one: one["msg_type"] == "update_display_data")[-1]
    assert update["content"]["data"]["text/plain"] == "final"
    assert update["content"]["transient"] == shown["transient"]


def test_the_cell_in_which_the_end_came_sends_it_too_for_those_who_listen_to_that_cell_only(kernel):
    run(kernel, SCRIPT.partition("final.append")[0])
    found, request = run(kernel, "final.append(True)\nlive.poke()")
    told = [one for one in found if one["msg_type"] == "update_display_data"]
    assert [one["content"]["data"]["text/plain"] for one in told if one["parent_header"]["msg_id"] == request] == [
        "final"
    ]
