"""Prefect's interface in a real JupyterLab: it is logged in, and the secret is nowhere to be read."""

from __future__ import annotations

import json

import nbformat
import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Lab, write_kernel
from tests.browser.jupyter_server import JupyterServer
from tests.browser.notebook import Card, picture

JOB = "nbf.options(name='squares').map(lambda x: x * x, range(5))"


@pytest.fixture
def secret(server):
    """The password of the local server, without the name before it."""
    # A test before may have closed the session.
    server.wait_until_ready()
    return server.lease.address.auth.partition(":")[2]


def frame_in(cell):
    return cell.frame_locator(".nbf-dashboard iframe")


def expect_no_secret(secret, notebook, page):
    saved = json.dumps(
        [notebook.output(index) for index in range(notebook.page.locator(".jp-Notebook .jp-Cell").count())]
    )
    assert secret not in saved
    assert secret not in page.content()
    assert not any(secret in frame.url for frame in page.frames)


def test_prefect_is_shown_below_the_cell_logged_in(notebook, secret):
    cell = notebook.run("%dashboard")
    shown = frame_in(cell)
    expect(shown.get_by_text("Dashboard").first).to_be_visible(timeout=120_000)
    expect(shown.get_by_placeholder("admin:pass")).to_have_count(0)
    expect(cell.get_by_role("link", name="Open Prefect in a tab")).to_be_visible()
    picture(cell, "dashboard")
    notebook.save()
    expect_no_secret(secret, notebook, notebook.page)


def test_it_is_logged_in_where_the_notebook_moves_the_output(notebook, secret):
    cell = notebook.run("%dashboard")
    expect(frame_in(cell).get_by_text("Dashboard").first).to_be_visible(timeout=120_000)
    frame = cell.locator(".nbf-dashboard iframe")
    frame.element_handle().content_frame().evaluate("localStorage.clear()")
    # As a notebook does with cells that are scrolled out of sight, and in again.
    frame.evaluate("(frame) => { const place = frame.parentNode; frame.remove(); place.append(frame); }")
    expect(frame_in(cell).get_by_text("Dashboard").first).to_be_visible(timeout=120_000)
    expect(frame_in(cell).get_by_placeholder("admin:pass")).to_have_count(0)


def test_the_page_of_a_jobs_run_is_shown_with_its_summary(notebook, secret):
    notebook.run(f"job = {JOB}\njob.wait(); job._run.thread.join(120)")
    cell = notebook.run("nbf.dashboard(job)")
    shown = frame_in(cell)
    expect(shown.get_by_text("squares").first).to_be_visible(timeout=120_000)
    expect(shown.get_by_text("Completed").first).to_be_visible()
    picture(cell, "dashboard-run")
    expect_no_secret(secret, notebook, notebook.page)


def test_the_link_on_the_card_opens_the_run_logged_in(notebook, secret):
    card = Card(notebook.run(f"job = {JOB}\njob.wait()\njob").locator(".nbf-card"))
    run = notebook.ask("str(job._run.flow_run_id)")
    with notebook.page.expect_popup() as opened:
        card.root.get_by_role("link", name="Prefect run").click()
    page = opened.value
    page.wait_for_url(f"**/runs/flow-run/{run}**", timeout=120_000)
    expect(page.get_by_text("squares").first).to_be_visible(timeout=120_000)
    assert secret not in page.url
    expect_no_secret(secret, notebook, notebook.page)
    page.close()


def test_pages_that_the_notebook_did_not_open_get_no_password(notebook):
    notebook.run("%dashboard")
    asked = notebook.page.evaluate(
        """async () => {
            const frame = document.body.appendChild(document.createElement('iframe'));
            const told = new Promise((resolve) => {
                frame.contentWindow.addEventListener('message', ({data}) => resolve(data));
                setTimeout(() => resolve('nothing'), 2000);
            });
            frame.contentWindow.eval("parent.postMessage({nbfutures: 'login'}, '*')");
            const heard = await told;
            frame.remove();
            return heard;
        }"""
    )
    assert asked == "nothing"


# --- on a hub -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(kernel_environment, tmp_path, open_page):
    """JupyterLab as on JupyterHub and Binder: below a path, where a browser reaches nothing but Jupyter's server."""
    environment = {
        **kernel_environment,
        "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/",
        "NBFUTURES_HOME": str(tmp_path / "home"),
        "NBFUTURES_SERVER_GRACE": "1",
    }
    jupyter = JupyterServer(tmp_path / "jupyter", environment, base_url="/user/ada/")
    write_kernel(jupyter.kernels, "newest")
    try:
        jupyter.wait_until_ready()
        yield jupyter, Lab(jupyter, open_page)
    finally:
        jupyter.close()


def test_on_a_hub_prefect_comes_through_jupyters_server(hub):
    jupyter, lab = hub
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {"name": "newest", "display_name": "newest", "language": "python"}
    nbformat.write(book, jupyter.notebooks / "hub.ipynb")
    notebook = lab.open("hub.ipynb")
    notebook.set_up()
    cell = notebook.run("%dashboard")
    shown = frame_in(cell)
    expect(shown.get_by_text("Dashboard").first).to_be_visible(timeout=120_000)
    expect(shown.get_by_placeholder("admin:pass")).to_have_count(0)
    picture(cell, "dashboard-hub")
    card = Card(notebook.run(f"job = {JOB}\njob.wait()\njob").locator(".nbf-card"))
    url = notebook.ask("job.url")
    assert url.startswith("/user/ada/proxy/absolute/")
    with lab.page.expect_popup() as opened:
        card.root.get_by_role("link", name="Prefect run").click()
    page = opened.value
    page.wait_for_url(f"{jupyter.url.removesuffix('/user/ada/')}{url}**", timeout=120_000)
    expect(page.get_by_text("squares").first).to_be_visible(timeout=120_000)
    secret = notebook.ask(
        "__import__('nbfutures.prefect.session').prefect.session.get_session().lease.address.auth.partition(':')[2]"
    )
    notebook.save()
    expect_no_secret(secret, notebook, lab.page)
    page.close()
    lab.close("hub.ipynb")
