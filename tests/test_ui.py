"""Dagster's pages in a browser: what a person looks for is there, and a click runs something.

Debian's Chromium is driven; where it is missing the file is skipped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from reverse_etl.sandbox.server import Sandbox
from tests.dagster_pages import served
from tests.small_graph import SmallGraph, failures, small_graph

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="Chromium is not installed here (Debian: apt-get install chromium)"
    ),
]
PATIENCE_MS = 60_000
SYNC = "assets/syncs/hubspot"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallGraph]:
    """After a baseline, and a day on which a test failed."""
    folder = tmp_path_factory.mktemp("ui")
    with (
        Sandbox(folder / "sandbox.db") as sandbox,
        small_graph(folder / "project", sandbox) as made,
    ):
        first = made.run()
        assert first.success, failures(first)
        made.know(p11=805)
        assert not made.run().success
        yield made


@pytest.fixture(scope="module")
def page(graph: SmallGraph) -> Iterator[Any]:
    """A browser's page, with the site's address as its base."""
    with served(graph.root, graph.root / "instance") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(base_url=address, viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(PATIENCE_MS)
        elsewhere: list[str] = []
        opened.on("request", lambda request: elsewhere.append(request.url))
        yield opened
        browser.close()
        outside = [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))]
        assert outside == [], "the pages need nothing from elsewhere"


def shows(page: Page, text: str) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)


def test_the_graph_shows_the_whole_path(page: Page) -> None:
    page.goto("/asset-groups")
    for group in ("raw", "staging", "marts", "segments", "triggers", "syncs"):
        shows(page, group)


def test_a_sync_tells_what_it_sent(page: Page) -> None:
    page.goto(f"/{SYNC}/contact_profiles")
    for words in ("delivered", "calls a second, at most", "sample of changes", "upstream"):
        shows(page, words)
    shows(page, "owners@vendor.example")


def test_a_failed_check_says_what_is_not_in_order(page: Page) -> None:
    page.goto(f"/{SYNC}/seg_second?view=checks&checkDetail=upstream_checks_passed")
    page.get_by_text("upstream_checks_passed").first.click()
    shows(page, "Failed")
    shows(page, "second_is_in_order failed")


def test_a_picture_is_an_image_that_the_browser_draws(page: Page) -> None:
    page.goto("/assets/pictures/health_distribution")
    page.get_by_text("[Show Markdown]").first.click()
    image = page.locator("img[src^='data:image/svg+xml']").first
    expect(image).to_be_visible(timeout=PATIENCE_MS)
    assert image.evaluate("image => image.naturalWidth") > 100


def test_a_run_is_launched_by_a_click_and_succeeds(page: Page, graph: SmallGraph) -> None:
    known = graph.instance.get_runs_count()
    page.goto(f"/{SYNC}/seg_first")
    page.locator("button", has_text="Materialize").first.click()
    _until(lambda: graph.instance.get_runs_count() > known)
    [newest] = graph.instance.get_run_ids(limit=1)
    page.goto(f"/runs/{newest}")
    _until(lambda: (run := graph.instance.get_run_by_id(newest)) is not None and run.is_finished)
    run = graph.instance.get_run_by_id(newest)
    assert run is not None
    assert run.is_success
    page.goto(f"/runs/{newest}")
    shows(page, "Success")
    assert {key.path[-1] for key in run.asset_selection or []} == {"seg_first"}


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not happened():
        assert time.monotonic() < deadline, "nothing was launched"
        time.sleep(0.5)
