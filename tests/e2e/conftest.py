"""A real server and a real Chromium for the page's tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from driving import FLAGS, Server, relay_up
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, prepared_models: Path) -> Iterator[Server]:
    """With the real starters."""
    with relay_up(tmp_path_factory.mktemp("real") / "home", prepared_models) as running:
        yield running


@pytest.fixture
def scripted(tmp_path: Path, prepared_models: Path) -> Iterator[Callable[[str], Server]]:
    """Servers on a script, for failures and for exact timing."""
    with ExitStack() as stack:

        def start(script: str) -> Server:
            path = tmp_path / "script.yaml"
            path.write_text(script, encoding="utf-8")
            return stack.enter_context(relay_up(tmp_path / "home", prepared_models, RELAY_FAKE=str(path), RELAY_GRACE_S="1"))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed with its file: while it is open its event loop runs, and no async test could."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and here the page must be tested")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def outside() -> list[str]:
    """Every address outside the server that a page asked for."""
    return []


@pytest.fixture
def new_page(browser: Browser, outside: list[str]) -> Iterator[Callable[..., Page]]:
    """Fresh profiles; whatever leaves the machine is noted and aborted."""
    contexts: list[BrowserContext] = []

    def make(url: str, width: int = 1280, height: int = 860, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)

        def guard(route: Route) -> None:
            if route.request.url.startswith((url, "data:", "blob:")):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#chat-input")).to_be_visible(timeout=20_000)
        return page

    yield make
    for context in contexts:
        context.close()
