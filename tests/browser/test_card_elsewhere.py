"""The card in Notebook 7 and in Voila, and what is left of it in a saved notebook."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from nbconvert import HTMLExporter
from playwright.sync_api import expect
from tests.browser.conftest import wait_for_app
from tests.browser.notebook import SETUP, Card, Notebook, picture
from tests.browser.test_card_in_lab import EIGHT, SOME_FAIL


@pytest.fixture
def notebook_7(jupyter, open_page, write_notebook):
    path = write_notebook("seven.ipynb")
    page = open_page(jupyter.address(f"notebooks/{path}"))
    wait_for_app(page)
    book = Notebook(page, path, jupyter.gates)
    book.wait_until_ready()
    book.set_up()
    book.begin()
    yield book
    book.end()
    assert page.errors == []


def test_in_notebook_7_the_card_moves_and_its_buttons_work(notebook_7):
    card = notebook_7.show(EIGHT)
    notebook_7.open_gate(0, 1)
    card.expect_done(2, 8)
    card.button("Pause").click()
    expect(card.button("Resume")).to_be_visible()
    assert notebook_7.ask("job.phase.value") == "paused"
    picture(notebook_7.page, "notebook 7")


def test_in_voila_the_card_moves_and_its_buttons_work(jupyter, open_page, write_notebook):
    gates = jupyter.gates / "voila"
    gates.mkdir()
    path = write_notebook("page.ipynb", cells=[SETUP, f"GATES = pathlib.Path({str(gates)!r})", EIGHT])
    page = open_page(jupyter.address(f"voila/render/{path}"))
    card = Card(page.locator(".nbf-card"))
    card.expect_done(0, 8)
    (gates / "0").touch()
    card.expect_done(1, 8)
    card.button("Cancel").click()
    expect(card.state).to_have_text("cancelling")
    # What runs is let go; what has not started never starts.
    for running in ("1", "2"):
        (gates / running).touch()
    expect(card.state).to_have_text("cancelled")
    (gates / "all").touch()
    card.button("Run the rest").click()
    expect(card.state).to_have_text("completed")
    picture(page, "voila")
    assert page.errors == []


@pytest.fixture
def saved(lab, write_notebook):
    """The path of a notebook that was run and saved in JupyterLab, and its kernel ended."""
    book = lab.open(write_notebook("saved.ipynb"))
    book.set_up()
    book.begin()
    card = book.show(SOME_FAIL)
    expect(card.state).to_have_text("completed, 3 failed")
    book.save()
    lab.close(book.path)
    lab.reload()
    yield book.path
    lab.close(book.path)


def expect_the_end(cell):
    """The HTML is to be seen, and nothing else."""
    expect(cell.locator(".nbf-static")).to_be_visible()
    expect(cell.locator(".nbf-static")).to_contain_text("completed, 3 failed")
    expect(cell.locator(".nbf-static")).to_contain_text("ValueError: bad number")
    expect(cell.locator(".jp-OutputArea-output:visible")).to_have_count(1)


def test_a_saved_notebook_shows_the_end_without_a_kernel(saved, lab):
    cell = lab.open(saved, starts=False).cell(-1)
    expect_the_end(cell)
    picture(cell, "saved")


def test_a_saved_notebook_shows_the_end_with_a_new_kernel(saved, lab):
    expect_the_end(lab.open(saved).cell(-1))


def test_the_exported_page_shows_the_end_and_an_audit_finds_no_violation(saved, jupyter, browser, tmp_path):
    exported = tmp_path / "exported.html"
    exported.write_text(HTMLExporter().from_filename(jupyter.notebooks / saved)[0], encoding="utf-8")
    # As on a page that has no network.
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(exported.as_uri())
    output = page.locator(".nbf-static")
    expect(output).to_be_visible()
    bar = output.get_by_role("progressbar", name="parse")
    expect(bar).to_have_attribute("aria-valuetext", "9 of 9 done, 3 failed")
    found = Axe().run(page, ".nbf-static", {"resultTypes": ["violations", "passes"]}).response
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    assert {one["id"] for one in found["passes"]} >= {"aria-progressbar-name", "color-contrast"}
    picture(page, "exported")
    context.close()
