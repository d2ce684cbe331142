"""The knowledge page, a PDF's own page beside its passage, and both by keyboard alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from driving import ARTEFACTS, ROOT, Server, finished, relay_up, send
from hostile import pdf
from playwright.sync_api import Page, expect

NewPage = Callable[..., Page]
SENTENCE = "Employees may travel in first class when the journey by train takes more than four hours."
POLICY = [
    "Travel policy",
    "",
    "Employees may travel in first class when the journey by train takes",
    "more than four hours.",
    "",
    "Be early.",
]
LONG = "A name that goes on and on as if nobody ever had to read it on a small screen 2026-08-03 final final (2).md"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, prepared_models: Path) -> Iterator[tuple[Server, Path]]:
    """A server with a library: a PDF, a scan, an empty file, a long name, and more notes than one page of the list holds."""
    folder = tmp_path_factory.mktemp("shelf")
    docs, home = folder / "docs", folder / "home"
    docs.mkdir()
    (docs / "policy.pdf").write_bytes(pdf([["Contents"], POLICY]))
    (docs / "scan.pdf").write_bytes(pdf([[]]))
    (docs / "empty.md").write_text("")
    (docs / LONG).write_text("# Minutes\n\nThe committee agreed on the budget for the new canteen.\n")
    for number in range(60):
        (docs / f"note-{number:02d}.md").write_text(f"# Note {number}\n\nThe locker number {number} is in corridor {number % 7}.\n")
    env = {**os.environ, "RELAY_HOME": str(home), "RELAY_MODELS_DIR": str(prepared_models), "RELAY_OFFLINE": "1"}
    subprocess.run([sys.executable, "-m", "cli.main", "ingest", str(docs)], cwd=ROOT, env=env, capture_output=True, check=False)
    rules = [{"when": ".", "say": f"{SENTENCE} [1]"}]
    (folder / "script.yaml").write_text(yaml.safe_dump({"replies": rules}), encoding="utf-8")
    with relay_up(home, prepared_models, RELAY_FAKE=str(folder / "script.yaml"), RELAY_GRACE_S="1") as server:
        yield server, docs


def opened(page: Page) -> None:
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    page.locator('#header button:has(a[href="#knowledge"])').click()
    expect(page.locator(".relay-k-row[data-state]").first).to_be_visible(timeout=30_000)


def rows(page: Page) -> list[str]:
    return page.locator(".relay-k-row[data-state] .relay-k-name").all_inner_texts()


def focused(page: Page) -> str:
    found: str = page.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.className || document.activeElement.id"
    )
    return found


def ask(page: Page, payload: dict[str, object]) -> dict[str, object]:
    """What the server answers to this page's session, whatever a page may send."""
    got: dict[str, object] = page.evaluate(
        """async (payload) => {
            const body = JSON.stringify({ sessionId: window.relaySession, action: { name: 'relay_knowledge', payload } });
            const answer = await fetch('/project/action', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } });
            return (await answer.json()).response;
        }""",
        payload,
    )
    return got


def test_the_list_pages_filters_and_tells_what_is_wrong(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    page = new_page(shelf[0].url)
    opened(page)
    expect(page.locator(".relay-k-sum")).to_contain_text("documents")
    expect(page.locator(".relay-k-sum")).to_contain_text("The index is in order.")
    page.get_by_role("button", name="Shared documents").click()
    expect(page.locator(".relay-k-paging")).to_contain_text("1–50 of 64")
    assert len(rows(page)) == 50
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".relay-k-paging")).to_contain_text("51–64 of 64")
    page.get_by_label("Find documents by name").fill("note-0")
    expect(page.locator(".relay-k-row[data-state]")).to_have_count(10)
    page.get_by_label("Find documents by name").fill("")
    page.get_by_role("button", name="Problems").click()
    expect(page.locator(".relay-k-row[data-state]")).to_have_count(2)
    expect(page.locator(".relay-k-row[data-state]").first).to_contain_text("Not read. empty.md is empty.")
    expect(page.locator(".relay-k-row[data-state]").last).to_contain_text("No text. scan.pdf holds no text that Relay can read")


def test_a_search_says_why_something_is_used_or_not(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    page = new_page(shelf[0].url)
    opened(page)
    assert focused(page) == "Search the documents and see the scores"
    page.keyboard.type("When may an employee travel in first class by train?")
    page.keyboard.press("Enter")
    expect(page.locator(".relay-k-verdict")).to_contain_text("Relay would use th")
    first = page.locator(".relay-k-hit").first
    expect(first).to_contain_text("policy")
    expect(first).to_contain_text("used")
    for name in ("Score", "meaning", "best sentence", "words"):
        expect(first.locator(".relay-k-scores")).to_contain_text(name)
    first.locator("button").click()
    expect(page.locator(".relay-k mark")).to_contain_text("more than four hours")
    expect(page.locator(".relay-k .relay-page img")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Back to the search").click()
    expect(first.locator("button")).to_be_focused()
    page.get_by_label("Search the documents").fill("Who won the chess championship in 1972?")
    page.keyboard.press("Enter")
    expect(page.locator(".relay-k-verdict")).to_contain_text("Relay would say the documents do not tell: confidence 0.")
    expect(page.locator(".relay-k-verdict")).to_contain_text("0.50 is asked for")
    expect(page.locator(".relay-k-used")).to_have_count(0)


def test_files_are_added_read_again_and_deleted_after_one_more_question(
    shelf: tuple[Server, Path], new_page: NewPage, tmp_path: Path
) -> None:
    server, _ = shelf
    page = new_page(server.url)
    opened(page)
    (tmp_path / "parking.md").write_text("# Parking\n\nThe garage closes at eleven in the evening.\n")
    page.get_by_label("Add files").set_input_files(tmp_path / "parking.md")
    expect(page.locator(".relay-k-said")).to_contain_text("1 document added.", timeout=20_000)
    page.get_by_label("Find documents by name").fill("parking")
    row = page.locator(".relay-k-row[data-state]")
    expect(row).to_have_count(1)
    (kept,) = (server.home / "added").iterdir()
    page.get_by_label("Read parking.md again").click()
    expect(page.locator(".relay-k-said")).to_contain_text("Nothing has changed.", timeout=20_000)
    page.get_by_label("Delete parking.md").click()
    expect(page.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Delete parking.md")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("group", name="Delete parking.md?").get_by_role("button", name="Delete").click()
    expect(page.locator(".relay-k-said")).to_contain_text("parking.md was deleted from the library.")
    expect(row).to_have_count(0)
    assert not kept.exists(), "the copy that Relay made goes too"


def test_a_file_that_was_changed_is_read_again(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    server, docs = shelf
    page = new_page(server.url)
    opened(page)
    (docs / "note-58.md").write_text("# Note 58\n\nThe locker was moved to the cellar.\n")
    page.get_by_label("Find documents by name").fill("note-58")
    expect(page.locator(".relay-k-row[data-state]")).to_have_count(1)
    page.get_by_label("Read note-58.md again").click()
    expect(page.locator(".relay-k-said")).to_contain_text("1 document changed.", timeout=20_000)


def test_a_folder_is_read_again(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    server, docs = shelf
    page = new_page(server.url)
    opened(page)
    (docs / "later.md").write_text("# Later\n\nThe roof is green.\n")
    page.get_by_label(f"Read {docs} again").click()
    expect(page.locator(".relay-k-said")).to_contain_text("1 document added", timeout=30_000)
    (docs / "later.md").unlink()
    page.get_by_label(f"Read {docs} again").click()
    expect(page.locator(".relay-k-said")).to_contain_text("1 document deleted", timeout=20_000)


def test_deleting_a_users_file_leaves_the_file_alone(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    server, docs = shelf
    page = new_page(server.url)
    opened(page)
    page.get_by_label("Find documents by name").fill("note-59")
    expect(page.locator(".relay-k-row[data-state]")).to_have_count(1)
    page.get_by_label("Delete note-59.md").click()
    expect(page.locator(".relay-k-ask")).to_contain_text("The file itself stays where it is.")
    page.get_by_role("group", name="Delete note-59.md?").get_by_role("button", name="Delete").click()
    expect(page.locator(".relay-k-row[data-state]")).to_have_count(0)
    assert (docs / "note-59.md").is_file()
    subprocess.run(
        [sys.executable, "-m", "cli.main", "ingest", str(docs / "note-59.md")],
        cwd=ROOT,
        env={**os.environ, "RELAY_HOME": str(server.home)},
        capture_output=True,
        check=True,
    )


def test_another_chats_documents_are_neither_shown_nor_opened_nor_deleted(
    shelf: tuple[Server, Path], new_page: NewPage, tmp_path: Path
) -> None:
    server, _ = shelf
    (tmp_path / "private.md").write_text("# Private\n\nThe zeppelin lands on the roof at nine.\n")
    one, two = new_page(server.url), new_page(server.url)
    for page in (one, two):
        page.on("request", lambda request, page=page: _note_session(request, page))
    expect(one.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    one.locator("input[type=file]").first.set_input_files(tmp_path / "private.md")
    send(one, "When does the zeppelin land?")
    finished(one)
    opened(one)
    one.get_by_role("button", name="This chat").click()
    expect(one.locator(".relay-k-row[data-state]")).to_have_count(1)
    opened(two)
    two.get_by_label("Find documents by name").fill("note-01")
    expect(two.locator(".relay-k-row[data-state]")).to_have_count(1)
    two.evaluate("(id) => { window.relaySession = id }", _sessions[two])
    one.evaluate("(id) => { window.relaySession = id }", _sessions[one])
    mine = ask(one, {"do": "list", "filter": "private"})["documents"]
    hits = ask(one, {"do": "search", "query": "zeppelin roof"})["hits"]
    assert isinstance(mine, list) and isinstance(hits, list) and hits[0]["document"] == "Private"
    for page, stranger in ((two, True), (one, False)):
        scope = f"chat:{_sessions[one]}"
        seen = json.dumps(
            [ask(page, {"do": "list", "filter": "private", "scope": scope}), ask(page, {"do": "search", "query": "zeppelin"})]
        )
        assert ("private.md" not in seen and "Private" not in seen) == stranger
        assert ("error" in ask(page, {"do": "open", "passage": hits[0]["id"], "query": "zeppelin"})) == stranger
        assert "error" in ask(page, {"do": "sync", "path": "/etc"})
        assert "error" in ask(page, {"do": "add", "files": ["../../etc/passwd"]})
        assert ("error" in ask(page, {"do": "remove", "document": mine[0]["id"]})) == stranger


_sessions: dict[Page, str] = {}


def _note_session(request: object, page: Page) -> None:
    """The page's own session, as it names it itself."""
    data = getattr(request, "post_data", None)
    if "/project/action" in str(getattr(request, "url", "")) and data:
        _sessions[page] = json.loads(data)["sessionId"]


def test_a_cited_pdf_shows_its_page_by_keyboard_alone_and_escape_goes_back(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    page = new_page(shelf[0].url)
    send(page, "When may an employee travel in first class?")
    finished(page)
    chip = page.locator(".relay-chip").first
    for key in ("Enter", "Space"):
        chip.focus()
        page.keyboard.press(key)
        passage = page.locator(".relay-passage")
        expect(passage).to_be_focused()
        picture = passage.locator(".relay-page img")
        expect(picture).to_be_visible(timeout=20_000)
        assert "Page 2 of 2" in (picture.get_attribute("alt") or "") and (picture.get_attribute("src") or "").startswith("data:image/webp")
        expect(passage.locator(".relay-page figcaption")).to_have_count(0)
        page.keyboard.press("Tab")
        expect(passage.locator(".relay-page-frame")).to_be_focused()
        page.keyboard.press("Enter")
        expect(passage.locator(".relay-page-frame")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Escape")
        expect(passage).to_have_count(0)
        expect(chip).to_be_focused()
    link = page.locator('a[href^="#relay-cite-"]').first
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".relay-passage")).to_be_focused()
    expect(page.get_by_role("complementary", name="Passage 1: policy")).to_be_visible()
    page.get_by_role("button", name="Close the panel").click()
    expect(link).to_be_focused()


def test_an_uploaded_pdf_shows_its_page_too(shelf: tuple[Server, Path], new_page: NewPage, tmp_path: Path) -> None:
    page = new_page(shelf[0].url)
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    (tmp_path / "mine.pdf").write_bytes(pdf([POLICY]))
    page.locator("input[type=file]").first.set_input_files(tmp_path / "mine.pdf")
    page.wait_for_timeout(500)
    send(page, "When may an employee travel in first class?")
    finished(page)
    page.locator(".relay-chip").first.click()
    expect(page.locator(".relay-passage .relay-page img")).to_be_visible(timeout=20_000)


def test_a_changed_file_is_not_drawn_and_the_panel_says_why(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    server, docs = shelf
    before = (docs / "policy.pdf").read_bytes()
    page = new_page(server.url)
    send(page, "When may an employee travel in first class?")
    finished(page)
    try:
        (docs / "policy.pdf").write_bytes(pdf([["Another document altogether."], ["Nothing."]]))
        page.locator(".relay-chip").first.click()
        expect(page.locator(".relay-page figcaption")).to_contain_text("The file was changed after it was read")
        expect(page.locator(".relay-page img")).to_have_count(0)
        expect(page.locator(".relay-passage mark")).to_be_visible()
        page.keyboard.press("Escape")
        (docs / "policy.pdf").unlink()
        page.locator(".relay-chip").first.click()
        expect(page.locator(".relay-page figcaption")).to_contain_text("The file is no longer where it was read")
    finally:
        (docs / "policy.pdf").write_bytes(before)


def test_the_command_opens_it_with_a_search_and_leaves_no_message(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    page = new_page(shelf[0].url)
    send(page, "/knowledge first class by train")
    expect(page.locator(".relay-k-hit").first).to_contain_text("policy", timeout=20_000)
    expect(page.locator('[data-step-type="user_message"]')).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".relay-k")).to_have_count(0)
    page.locator("#chat-input").fill("/kn")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator(".relay-k-row[data-state]").first).to_be_visible(timeout=20_000)


def test_the_button_in_the_head_works_by_keyboard_and_gets_the_focus_back(shelf: tuple[Server, Path], new_page: NewPage) -> None:
    page = new_page(shelf[0].url)
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    button = page.get_by_role("button", name="Knowledge", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".relay-k-row[data-state]").first).to_be_visible(timeout=20_000)
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.locator(".relay-k")).to_have_count(0)
    expect(button).to_be_focused()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")])
def test_it_fits_wide_and_narrow_in_light_and_dark(shelf: tuple[Server, Path], new_page: NewPage, width: int, scheme: str) -> None:
    page = new_page(shelf[0].url, width=width, scheme=scheme)
    opened(page)
    ARTEFACTS.mkdir(exist_ok=True)
    page.wait_for_timeout(600)
    page.screenshot(path=ARTEFACTS / f"knowledge-{width}-{scheme}.png")
    sticks_out = """() => [...document.querySelectorAll('.relay-k *')]
        .filter((one) => one.getBoundingClientRect().right > document.querySelector('.relay-k').getBoundingClientRect().right + 1).length"""
    assert page.evaluate(sticks_out) == 0
    page.get_by_label("Search the documents").fill("first class by train")
    page.keyboard.press("Enter")
    expect(page.locator(".relay-k-verdict")).to_be_visible()
    page.screenshot(path=ARTEFACTS / f"knowledge-search-{width}-{scheme}.png")
    assert page.evaluate(sticks_out) == 0


def test_an_empty_library_says_what_to_do(tmp_path: Path, prepared_models: Path, new_page: NewPage) -> None:
    with relay_up(tmp_path / "home", prepared_models, RELAY_DEMO="0") as server:
        page = new_page(server.url)
        # It may still be opening: then the page waits with it.
        page.locator('#header button:has(a[href="#knowledge"])').click()
        expect(page.locator(".relay-k-empty")).to_contain_text("The library is empty.", timeout=30_000)
        page.get_by_label("Search the documents").fill("anything")
        page.keyboard.press("Enter")
        expect(page.locator(".relay-k-verdict")).to_contain_text("Nothing was found: there are no documents here yet.")
