"""Nothing in a document acts: hostile files, a model that repeats them, and a trap server that must not hear of it.

The walls are three: what the server sends (ui/links.py), the page's policy (ui/safety.py), and public/relay.js.
"""

from __future__ import annotations

import random
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from driving import ROOT, Server, finished, relay_up, send
from hostile import Trap, documents, payloads, trap
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from ui.links import safe

Watched = Callable[..., Page]


@pytest.fixture(scope="module")
def trapped() -> Iterator[Trap]:
    with trap() as found:
        with urllib.request.urlopen(f"{found.url}/is-it-open", timeout=5):
            assert found.reached == ["GET /is-it-open"], "the trap hears who reaches it"
        yield found


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory, prepared_models: Path, trapped: Trap) -> Iterator[Server]:
    """A model that says what it was given: passages, and the question; and one that says every payload."""
    folder = tmp_path_factory.mktemp("echo")
    said = "\n\n".join(payloads(trapped.url)) + "\n\nIt is serviced every 300 hours. [1]"
    rules = [{"when": "everything", "say": said, "token_s": 0.01}, {"when": ".", "say": "{text}\n\nEvery 300 hours. [1]", "token_s": 0.002}]
    (folder / "script.yaml").write_text(yaml.safe_dump({"replies": rules}), encoding="utf-8")
    with relay_up(folder / "home", prepared_models, RELAY_FAKE=str(folder / "script.yaml"), RELAY_LINKS="localhost") as server:
        yield server


@pytest.fixture
def watched(browser: Browser, trapped: Trap) -> Iterator[Watched]:
    """A page that may reach the trap; what it reached, asked, opened and where it went is checked in the end."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []
    trapped.reached.clear()

    def make(url: str) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(url)
        page.on("framenavigated", lambda frame: frame.url.startswith(url) or wrong.append(f"went to {frame.url}"))
        context.on("page", lambda other: wrong.append(f"opened {other.url}"))
        expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
        return page

    make.wrong = wrong  # type: ignore[attr-defined]
    yield make
    for context in contexts:
        context.close()
    assert wrong == []
    assert trapped.reached == []


def acting(page: Page) -> list[str]:
    """Pictures and links that lead out of the page, wherever they stand in it."""
    script = """() => [...document.querySelectorAll('#root a[href], #root img[src], #root video, #root iframe, #root form[action]')]
        .map((one) => one.href || one.currentSrc || one.src || one.action || one.tagName)
        .filter((to) => !to.startsWith(location.origin) && !to.startsWith('data:') && !to.startsWith('blob:'))"""
    found: list[str] = page.evaluate(script)
    return found


@pytest.mark.parametrize("asked", ["Say everything about the Kestrel engine.", "How often is the Kestrel engine serviced?"])
def test_documents_and_answers_full_of_payloads_reach_nobody(
    echoing: Server, watched: Watched, tmp_path: Path, trapped: Trap, asked: str
) -> None:
    page = watched(echoing.url)
    page.locator("input[type=file]").first.set_input_files(documents(tmp_path, trapped.url))
    page.wait_for_timeout(1_000)  # the uploads arrive
    send(page, asked)
    expect(page.locator("#stop-button")).to_be_visible(timeout=30_000)
    looks = 0
    while page.locator("#stop-button").count():
        assert acting(page) == [], "in the middle of the stream"
        page.wait_for_timeout(50)
        looks += 1
    assert looks > 10
    finished(page)
    for step in page.locator('[data-step-type="tool"] button[id^="step-"]').all():
        step.click()
    page.wait_for_timeout(500)
    assert acting(page) == []
    expect(page.locator("#root")).to_contain_text(f"{trapped.url}/link")
    for chip in page.locator(".relay-chip").all():
        chip.click()
        expect(page.locator(".relay-passage")).to_be_visible()
        page.wait_for_timeout(300)
    page.locator('a[href="#knowledge"]').click()
    page.get_by_label("Search the documents").fill("Kestrel engine service")
    page.keyboard.press("Enter")
    page.locator(".relay-k-hit button").first.click()
    expect(page.locator(".relay-k .relay-text")).to_be_visible()
    page.wait_for_timeout(500)
    assert acting(page) == []


def test_a_forbidden_link_goes_nowhere_even_in_ones_own_message(echoing: Server, watched: Watched, trapped: Trap) -> None:
    page = watched(echoing.url)
    send(page, f"Look: [click me]({trapped.url}/own) ![picture]({trapped.url}/own.png)")
    finished(page)
    link = page.locator('[data-step-type="user_message"] a')
    expect(link).to_have_text("click me")
    assert link.get_attribute("href") is None
    for button in ("left", "middle"):
        link.click(button=button)  # type: ignore[arg-type]
    page.wait_for_timeout(500)


def test_a_pdfs_own_links_lead_nowhere(echoing: Server, watched: Watched, tmp_path: Path, trapped: Trap) -> None:
    page = watched(echoing.url)
    page.locator("input[type=file]").first.set_input_files(documents(tmp_path, trapped.url)[2])
    page.wait_for_timeout(800)
    send(page, "How often is the Kestrel engine serviced?")
    finished(page)
    page.locator(".inline-pdf").click()
    layer = page.locator(".annotationLayer")
    expect(layer).to_be_attached(timeout=20_000)
    page.wait_for_timeout(1_000)
    for spot in layer.locator("section").all():
        spot.click(force=True)
    page.wait_for_timeout(500)
    assert acting(page) == []


def test_an_uploaded_page_is_never_opened_as_one_of_ours(echoing: Server, watched: Watched, tmp_path: Path, trapped: Trap) -> None:
    page = watched(echoing.url)
    page.locator("input[type=file]").first.set_input_files(documents(tmp_path, trapped.url)[1])
    page.wait_for_timeout(800)
    send(page, "How often is the Kestrel engine serviced?")
    finished(page)
    address = page.locator("a.inline-file").get_attribute("href")
    assert address is not None
    served = page.request.get(address)
    assert served.ok and served.headers["content-disposition"] == "attachment"
    assert served.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_an_allowed_host_is_reached_by_a_click_alone(
    tmp_path: Path, prepared_models: Path, browser: Browser, trapped: Trap, echoing: Server
) -> None:
    trapped.reached.clear()
    to = f"http://localhost:{trapped.port}"
    context = browser.new_context()
    page = context.new_page()
    page.goto(echoing.url)
    send(page, f"Repeat [the plan]({to}/plan) and ![picture]({to}/picture.png) and {to}/bare please")
    finished(page)
    page.wait_for_timeout(500)
    assert trapped.reached == [], "nothing is loaded ahead"
    link = page.locator('[data-step-type="assistant_message"] a', has_text="the plan").first
    assert link.get_attribute("rel") == "noopener noreferrer" and link.get_attribute("target") == "_blank"
    with context.expect_page() as opened:
        link.click()
    assert opened.value.evaluate("[window.opener, document.referrer]") == [None, ""]
    assert trapped.reached[0] == "GET /plan" and not any("picture" in path for path in trapped.reached)
    context.close()


JUDGE = """
import { useState } from 'react';
import { Markdown } from '@/components/markdown';
export default function Judge() {
  const [texts, setTexts] = useState([]);
  window.judge = setTexts;
  return <div id="judge">{texts.map((text, at) => <div key={at} data-at={at}><Markdown>{text}</Markdown></div>)}</div>;
}
"""
SEEN = """() => [...new Set([...document.querySelectorAll('#judge a[href], #judge img, #judge video')]
    .filter((one) => !(one.href || '').startsWith('http://localhost/'))
    .map((one) => +one.closest('[data-at]').dataset.at))]"""


def test_the_pages_own_parser_finds_nothing_that_acts(echoing: Server, browser: Browser, trapped: Trap) -> None:
    """ui/links.py is checked with another parser in its unit tests; here with the one that draws the page."""
    context = browser.new_context()
    context.route("**/public/elements/RelayKnowledge.jsx", lambda route: route.fulfill(body=JUDGE, content_type="text/plain"))
    context.route("**/public/relay.js", _without_links)
    page = context.new_page()
    page.goto(echoing.url)
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    page.evaluate("window.postMessage({relay: 'knowledge', click: 1}, location.origin)")
    expect(page.locator("#judge")).to_be_attached(timeout=20_000)

    def judged(texts: list[str]) -> list[int]:
        page.evaluate("(texts) => window.judge(texts)", texts)
        expect(page.locator("#judge > div")).to_have_count(len(texts))
        found: list[int] = page.evaluate(SEEN)
        return found

    lines = payloads("http://trap.example")
    assert len(judged(lines)) > len(lines) / 2, "the judge sees what acts"
    pieces = [*lines, *(line.replace("http://trap.example", "http://localhost") for line in lines)]
    pieces += [
        "`",
        "``",
        "```\n",
        "~~~\n",
        "\n",
        "\n\n",
        "> ",
        "- ",
        "1. ",
        "    ",
        "\\",
        "[",
        "](",
        "!",
        "|",
        "word ",
        "<a ",
        ":::x\n",
        "&",
        "(",
    ]
    pick = random.Random(11)
    mixed = lines + ["".join(pick.choice(pieces) for _ in range(pick.randint(2, 8))) for _ in range(600)]
    hosts = frozenset({"localhost"})
    for at in range(0, len(mixed), 100):
        batch = mixed[at : at + 100]
        assert [batch[one] for one in judged([safe(text, hosts) for text in batch])] == []
    context.close()


def _without_links(route: Route) -> None:
    """The page's script without its own wall: the judge must see what the server would have sent."""
    script = (ROOT / "public" / "relay.js").read_text(encoding="utf-8")
    route.fulfill(body=script.replace("function tame(link) {", "function tame(link) {\n  return;"), content_type="text/javascript")
