"""The live card in a real JupyterLab, on a real kernel."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tests.browser.conftest import KERNELS
from tests.browser.notebook import Card, picture
from tests.support import eventually

EIGHT = """
def work(x):
    pass_gate(x)
    return x * 10

job = nbf.options(workers=2, batch=1, in_flight=2, name="work").map(work, range(8))
job
"""
SOME_FAIL = """
def parse(n):
    print("reading", n)
    if n % 3 == 0 and not is_open("mended"):
        raise ValueError(f"bad number {n}")
    return n * n

job = nbf.options(workers=2, name="parse").map(parse, range(9))
job.wait()
job
"""
RUNNING_WITH_FAILURES = """
def parse(n):
    if n >= 6:
        pass_gate(n)
    if n % 3 == 0:
        raise ValueError(f"bad number {n}")
    return n * n

job = nbf.options(workers=2, batch=1, in_flight=2, name="parse").map(parse, range(9))
job
"""
THEMES = ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]
OTHER_CELLS = {
    "idle": None,
    "in a cell that awaits": "await pass_gate_async('cell')\nseen = job.phase.value",
    "while a cell blocks": "pass_gate('cell')\nseen = job.phase.value",
}

on_both_kernels = pytest.mark.parametrize("notebook", KERNELS, indirect=True)


def expect_running(cell):
    expect(cell.locator(".jp-InputPrompt")).to_have_text("[*]:")


# --- it moves, and its buttons work -----------------------------------------------------------------------------------


@on_both_kernels
def test_the_bar_moves_while_another_cell_runs(notebook):
    card = notebook.show(EIGHT)
    card.expect_done(0, 8)
    cell = notebook.run("pass_gate('cell')", wait=False)
    notebook.open_gate(0, 1)
    card.expect_done(2, 8)
    expect(card.root.locator(".nbf-segment.nbf-completed")).to_have_attribute("style", "width: 25%;")
    notebook.open_gate(2)
    card.expect_done(3, 8)
    expect_running(cell)
    card.picture("running")
    notebook.open_gate("cell")


@on_both_kernels
@pytest.mark.parametrize("when", OTHER_CELLS)
def test_a_click_takes_effect_at_once(notebook, when):
    card = notebook.show(EIGHT)
    card.expect_done(0, 8)
    other = OTHER_CELLS[when] and notebook.run(OTHER_CELLS[when], wait=False)
    card.button("Pause").click()
    expect(card.button("Resume")).to_be_visible()
    if other:
        expect_running(other)
        notebook.open_gate("cell")
        assert notebook.ask("seen") == "paused"
    assert notebook.ask("job.phase.value") == "paused"


def test_a_paused_job_starts_nothing_until_it_is_resumed(notebook):
    card = notebook.show(EIGHT)
    expect(card.root.get_by_text("2 running")).to_be_visible()
    card.button("Pause").click()
    expect(card.state).to_have_text("paused")
    card.picture("paused")
    notebook.open_gate("all")
    card.expect_done(2, 8)
    assert notebook.ask("job.counts.waiting") == 6
    card.button("Resume").click()
    card.expect_done(8, 8)
    assert notebook.ask("job.result()") == [0, 10, 20, 30, 40, 50, 60, 70]
    expect(card.buttons).to_have_count(0)


def test_cancel_ends_the_job_and_the_rest_can_be_run_afterwards(notebook):
    card = notebook.show(EIGHT)
    notebook.open_gate(0)
    card.expect_done(1, 8)
    card.button("Cancel").click()
    expect(card.state).to_have_text("cancelling")
    # What runs is let go; what has not started never starts.
    notebook.open_gate(1, 2)
    expect(card.state).to_have_text("cancelled")
    assert notebook.ask("job.is_done")
    assert notebook.ask("job.counts.cancelled") >= 5
    card.picture("cancelled")
    notebook.open_gate("all")
    card.button("Run the rest").click()
    expect(card.state).to_have_text("completed")
    assert notebook.ask("job.result()") == [0, 10, 20, 30, 40, 50, 60, 70]


def test_retry_runs_what_failed_and_the_failures_go(notebook):
    card = notebook.show(SOME_FAIL)
    expect(card.state).to_have_text("completed, 3 failed")
    notebook.open_gate("mended")
    card.button("Retry failed").click()
    expect(card.state).to_have_text("completed")
    expect(card.buttons).to_have_count(0)
    expect(card.fold("Failures")).to_be_hidden()
    assert notebook.ask("job.result()") == [n * n for n in range(9)]
    card.picture("retried")


def test_a_click_on_a_button_in_the_list_of_jobs_is_for_that_job_alone(notebook):
    notebook.run(EIGHT.replace("job", "first").replace('"work"', '"first"'))
    notebook.run(EIGHT.replace("job", "second").replace('"work"', '"second"'))
    jobs = notebook.show("%jobs")
    expect(jobs.root.locator(".nbf-fold")).to_have_count(0)
    name = notebook.page.locator(".nbf-title", has_text="first")
    first = jobs.root.locator(".nbf-job").filter(has=name).locator(".nbf-state")
    expect(first).to_have_text("running", timeout=120_000)
    jobs.button("Pause: second").click()
    expect(jobs.button("Resume: second")).to_be_visible()
    assert notebook.ask("[first.phase.value, second.phase.value]") == ["running", "paused"]
    jobs.button("Cancel: first").click()
    expect(first).to_have_text("cancelling")
    notebook.open_gate("all")
    expect(first).to_have_text("cancelled")
    jobs.picture("jobs")


# --- folds ------------------------------------------------------------------------------------------------------------


def test_a_failure_opens_with_its_input_traceback_and_what_it_printed(notebook):
    card = notebook.show(SOME_FAIL)
    failures = card.open("Failures")
    expect(card.fold("Failures").locator("summary").first).to_have_text("Failures (3)")
    expect(failures.locator("summary")).to_have_count(1)
    expect(failures.locator("summary")).to_contain_text(re.compile("^3 . ValueError: bad number"))
    failures.locator("summary").click()
    expect(failures.locator(".nbf-headline")).to_have_text("Item 0: ValueError: bad number 0")
    expect(failures.get_by_role("group", name="Input of item 0")).to_have_text("n = 0")
    expect(failures.get_by_role("group", name="Traceback of item 0")).to_contain_text("raise ValueError")
    expect(failures.get_by_role("group", name="Printed of item 0")).to_have_text("reading 0")
    card.picture("failure")


def test_an_open_fold_follows_the_job(notebook):
    card = notebook.show(RUNNING_WITH_FAILURES)
    card.expect_done(6, 9)
    failures = card.open("Failures")
    timeline = card.open("Timeline")
    results = card.open("Results")
    expect(failures.locator("summary .nbf-number")).to_have_text("2")
    expect(timeline.get_by_role("img")).to_have_attribute("aria-label", re.compile("^6 items on . workers?, 2 failed$"))
    expect(results.locator("tbody tr")).to_have_text(["11", "24", "…", "416", "525"])
    notebook.open_gate("all")
    card.expect_done(9, 9)
    expect(failures.locator("summary .nbf-number")).to_have_text("3")
    expect(timeline.get_by_role("img")).to_have_attribute("aria-label", re.compile("^9 items on . workers?, 3 failed$"))
    expect(results.locator("tbody tr").last).to_have_text("864")
    card.picture("folds")


# --- quick jobs, many jobs --------------------------------------------------------------------------------------------

WATCH = """
() => {
    window.watched = [];
    const look = () => {
        for (const track of document.querySelectorAll('.nbf-track')) {
            const state = track.closest('.nbf-job').querySelector('.nbf-state').textContent;
            window.watched.push([state, !track.hidden && getComputedStyle(track).visibility === 'visible']);
        }
        if (document.body.textContent.includes('model not found')) window.watched.push(['model not found', true]);
    };
    const everything = {subtree: true, childList: true, attributes: true, characterData: true};
    window.watcher?.disconnect();
    window.watcher = new MutationObserver(look);
    window.watcher.observe(document.body, everything);
}
"""


def test_a_job_that_ends_soon_flashes_no_bar(notebook):
    for _ in range(10):
        notebook.clear()
        notebook.page.evaluate(WATCH)
        card = notebook.show("job = nbf.options(name='nap').map(time.sleep, [0.1, 0.1])\njob")
        expect(card.state).to_have_text("completed")
        if notebook.ask("job.snapshot.elapsed") < 0.5:
            break
    watched = notebook.page.evaluate("() => { window.watcher.disconnect(); return window.watched; }")
    assert {state for state, is_shown in watched if is_shown} == {"completed"}


def test_a_job_that_is_done_already_is_drawn_final_at_once(notebook):
    notebook.page.evaluate(WATCH)
    card = notebook.show("job = nbf.map(str, range(10))\njob.wait()\njob")
    expect(card.state).to_have_text("completed")
    watched = notebook.page.evaluate("() => { window.watcher.disconnect(); return window.watched; }")
    assert {tuple(one) for one in watched} == {("completed", True)}
    card.picture("quick")


def test_two_hundred_cards_leave_nothing_behind_when_their_outputs_are_cleared(notebook):
    def left():
        comms = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel._comms.size"
        mine = "[len(widget_module._instances), len(display_module._open), threading.active_count()]"
        return [*notebook.ask(mine), notebook.page.evaluate(comms)]

    notebook.tell(
        "import ipywidgets.widgets.widget as widget_module\n"
        "import nbfutures.views.display as display_module\n"
        "from nbfutures.api.job import Job\n"
        "display_module._LEAVE_SECONDS = 0.2\n"
        "job = nbf.map(str, range(2))\n"
        "job.wait()"
    )
    eventually(lambda: notebook.ask("len(display_module._open)") == 0)
    before = left()
    for _ in range(8):
        # JupyterLab shows fifty outputs of a cell at most, and a card has two.
        cell = notebook.run("for _ in range(25):\n    display(Job(job._run))")
    expect(cell.locator(".nbf-card")).to_have_count(25)
    assert notebook.ask("len(display_module._open)") == 50
    notebook.clear()
    eventually(lambda: all(now <= then for now, then in zip(left(), before, strict=True)))


# --- for everybody ----------------------------------------------------------------------------------------------------


def test_the_bar_has_a_role_a_name_and_values(notebook):
    card = notebook.show(RUNNING_WITH_FAILURES)
    card.expect_done(6, 9)
    expect(card.bar).to_have_accessible_name("parse")
    expect(card.bar).to_have_attribute("aria-valuemin", "0")
    expect(card.bar).to_have_attribute("aria-valuetext", "6 of 9 done, 2 failed")


def test_a_screen_reader_hears_the_first_failure_each_quarter_and_the_end(notebook):
    card = notebook.show(EIGHT.replace("    return", "    assert x not in (1, 2), 'no'\n    return"))
    card.expect_done(0, 8)
    status = card.root.get_by_role("status")
    expect(status).to_have_attribute("aria-live", "polite")
    status.evaluate(
        """(status) => {
            window.said = [];
            new MutationObserver(() => window.said.push(status.textContent)).observe(status, {childList: true});
        }"""
    )
    for item in range(8):
        notebook.open_gate(item)
        card.expect_done(item + 1, 8)
    expect(card.state).to_have_text("completed, 2 failed")
    # What comes within a moment is said in one go.
    told = (
        "work: first failure. 2 of 8 done, 1 failed. work: 50 percent. work: 75 percent. "
        "work: completed, 2 failed. 8 of 8 done, 2 failed"
    )
    notebook.page.wait_for_function("(told) => window.said.join('. ') === told", arg=told)


def test_the_keyboard_reaches_everything_in_order_and_sees_where_it_is(notebook):
    card = notebook.show(RUNNING_WITH_FAILURES)
    card.expect_done(6, 9)
    expect(card.fold("Failures")).to_be_visible()
    keyboard = notebook.page.keyboard
    card.root.get_by_role("link", name="Prefect run").focus()
    keyboard.press("Tab")
    keyboard.press("Shift+Tab")
    came = []
    for _ in range(6):
        text, width, style = notebook.page.evaluate(
            """() => {
                const style = getComputedStyle(document.activeElement);
                return [document.activeElement.textContent, style.outlineWidth, style.outlineStyle];
            }"""
        )
        came.append(text)
        assert (width, style) == ("2px", "solid"), text
        keyboard.press("Tab")
    assert came == ["Prefect run", "Pause", "Cancel", "Failures (2)", "Timeline", "Results"]


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_presses_buttons_and_stays_where_it_was(notebook, key):
    card = notebook.show(EIGHT)
    card.expect_done(0, 8)
    card.button("Pause").focus()
    notebook.page.keyboard.press(key)
    expect(card.button("Resume")).to_be_focused()
    assert notebook.ask("job.phase.value") == "paused"
    card.button("Resume").press(key)
    expect(card.button("Pause")).to_be_focused()


def test_a_part_of_the_bar_is_told_by_its_words_and_pattern_not_by_colour_alone(notebook):
    card = notebook.show(RUNNING_WITH_FAILURES)
    card.expect_done(6, 9)
    expect(card.root.locator(".nbf-count")).to_have_text(
        ["6 of 9 done", "4 completed", "2 failed", "2 running", "1 waiting"]
    )
    images = card.root.locator(".nbf-segment").evaluate_all(
        "parts => parts.map(one => getComputedStyle(one).backgroundImage)"
    )
    assert len(set(images)) == len(images) == 3


def test_nothing_moves_for_those_who_ask_for_less_motion(notebook):
    card = notebook.show(RUNNING_WITH_FAILURES)
    part = card.root.locator(".nbf-segment").first
    expect(part).to_have_css("transition-duration", "0.2s")
    try:
        notebook.page.emulate_media(reduced_motion="reduce")
        expect(part).to_have_css("transition-duration", "0s")
    finally:
        notebook.page.emulate_media(reduced_motion="no-preference")


@pytest.mark.parametrize("theme", THEMES)
def test_an_audit_finds_no_violation(notebook, lab, theme):
    card = notebook.show(RUNNING_WITH_FAILURES)
    card.expect_done(6, 9)
    card.open("Failures").locator("summary").click()
    expect(card.root.get_by_role("group", name="Traceback of item 0")).to_be_visible()
    expect(card.open("Timeline").get_by_role("img")).to_be_visible()
    expect(card.open("Results").get_by_role("table")).to_be_visible()
    jobs = notebook.show("%jobs")
    expect(jobs.button("Pause: parse")).to_be_visible()
    with lab.theme(theme):
        # JupyterLab's body has no height, so that axe takes the texts for hidden and does not look at their colours.
        lab.page.add_style_tag(content="body { height: 100vh !important }")
        found = Axe().run(lab.page, ".nbf-card", {"resultTypes": ["violations", "passes"]}).response
        card.picture(f"everything, {theme}")
        jobs.picture(f"jobs, {theme}")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    assert {one["id"] for one in found["passes"]} >= {"aria-progressbar-name", "button-name", "color-contrast"}


def test_the_card_follows_the_theme(notebook, lab):
    card = notebook.show(RUNNING_WITH_FAILURES)
    card.expect_done(6, 9)
    light = card.root.evaluate("(card) => getComputedStyle(card).color")
    with lab.theme("JupyterLab Dark"):
        expect(card.root).not_to_have_css("color", light)
        card.picture("dark")


# --- what others wrote ------------------------------------------------------------------------------------------------

UNTRUSTED = r"""
nasty = '<img src=x onerror="window.owned = 1"></script><script>window.owned = 2</script>\u202egpj.exe\x00'

class Unshowable:
    def __repr__(self):
        raise RuntimeError("no repr")

def work(x):
    print(nasty)
    if isinstance(x, bytes):
        raise ValueError(nasty + "y" * 10_000_000)
    if isinstance(x, Unshowable):
        raise type("Named" + nasty[:4], (Exception,), {"__str__": lambda self: 1 / 0})()
    return x

job = nbf.options(name=nasty, workers=2).map(work, [nasty, "z" * 10_000_000, Unshowable(), nasty.encode()])
job.wait()
job
"""


def test_what_others_wrote_is_text_and_cut_and_never_markup(notebook):
    cell = notebook.run(UNTRUSTED)
    card = Card(cell.locator(".nbf-card"))
    failures = card.open("Failures")
    expect(failures.locator("summary")).to_have_count(2)
    for row in failures.locator("summary").all():
        row.click()
    expect(failures.get_by_role("group", name=re.compile("Printed of item"))).to_have_count(2)
    results = card.open("Results")
    expect(results.locator("tbody tr")).to_have_count(2)
    card.picture("untrusted")
    message = failures.locator("code", has_text="ValueError")
    for part in (card.root.locator(".nbf-title"), message, failures.locator("pre").last, results):
        expect(part).to_contain_text('<img src=x onerror="window.owned = 1"></script>')
    expect(failures).to_contain_text("Unshowable that cannot be shown")
    text = card.root.evaluate("(card) => card.textContent")
    assert len(text) < 10_000
    assert "\\u202egpj.exe\\x00" in text
    assert not set("\u202e\x00") & set(text)
    assert cell.locator(".jp-Cell-outputArea :is(img, script)").count() == 0
    assert notebook.page.evaluate("window.owned") is None
    assert len(str(notebook.output())) < 50_000


# --- the page and the kernel go, and come -----------------------------------------------------------------------------


def test_after_a_reload_of_the_page_the_card_goes_on(notebook, lab):
    card = notebook.show(EIGHT)
    notebook.open_gate(0)
    card.expect_done(1, 8)
    notebook.save()
    lab.reload()
    lab.open(notebook.path)
    card = Card(notebook.cell(-1).locator(".nbf-card"))
    card.expect_done(1, 8)
    notebook.open_gate(1)
    card.expect_done(2, 8)
    card.button("Pause").click()
    expect(card.button("Resume")).to_be_visible()
    assert notebook.ask("job.phase.value") == "paused"


def test_after_a_restart_of_the_kernel_the_end_of_the_job_is_still_there(lab, write_notebook):
    notebook = lab.open(write_notebook("restart.ipynb"))
    notebook.set_up()
    notebook.begin()
    cell = notebook.run(SOME_FAIL)
    expect(cell.locator(".nbf-state")).to_have_text("completed, 3 failed")
    notebook.restart()
    picture(cell, "restarted")
    expect(cell).to_contain_text("completed, 3 failed")
    notebook.save()
    lab.reload()
    lab.open(notebook.path)
    cell = notebook.cell(-1)
    output = cell.locator(".jp-OutputArea")
    expect(output).to_contain_text("completed, 3 failed")
    expect(output).to_contain_text("ValueError: bad number")
    expect(output).not_to_contain_text("not found")
    picture(cell, "restarted and reloaded")
    lab.close(notebook.path)
