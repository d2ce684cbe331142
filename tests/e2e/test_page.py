"""The chat page in a real browser, on the real server, with the real starters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import ARTEFACTS, ROOT, Server, finished, pick, send, wait_until
from playwright.sync_api import Page, expect

NewPage = Callable[..., Page]
DRONE = """# Zephyr-9 manual

## Flight

The Zephyr-9 drone has a maximum range of 48 kilometers. The Zephyr-9 drone lands by itself when its battery is low.

## Care

Clean the rotors of the Zephyr-9 drone with a dry cloth after each flight.
"""


@pytest.mark.parametrize(
    ("starter", "intent"),
    [
        ("Refactor code", "code"),
        ("Summarize text", "summarize"),
        ("Classify a ticket", "classification"),
        ("Ask the handbook", "general"),
    ],
)
def test_each_starter_answers_and_shows_its_route(server: Server, new_page: NewPage, outside: list[str], starter: str, intent: str) -> None:
    page = new_page(server.url)
    page.get_by_text(starter, exact=True).click()
    finished(page)
    expect(page.get_by_text(re.compile(rf"Route · {intent} · smollm2-starter · "))).to_be_visible()
    assert page.locator('[data-step-type="assistant_message"]').first.inner_text().strip()
    footer = page.locator(".relay-footer").inner_text()
    assert "smollm2-starter" in footer and "first token" in footer and "tok/s" in footer and "$" in footer
    assert "(starter) answers" in page.locator('.relay-note[data-kind="notice"]').inner_text()
    if starter == "Ask the handbook":
        expect(page.get_by_text(re.compile(r"Retrieve · \d+ passages"))).to_be_visible()
    assert outside == []


def test_a_missing_model_is_passed_over_and_the_step_says_why(server: Server, new_page: NewPage) -> None:
    page = new_page(server.url)
    send(page, "What is the capital of France?")
    finished(page)
    page.get_by_text(re.compile("Route · general")).click()
    expect(page.get_by_role("cell", name="phi-4-mini", exact=True)).to_be_visible()
    expect(page.get_by_role("cell", name="not on this machine", exact=True)).to_be_visible()
    expect(page.locator('[data-step-type="assistant_message"]').first).to_contain_text("Paris")


def test_draft_then_refine_in_one_bubble_with_its_reason(server: Server, new_page: NewPage) -> None:
    page = new_page(server.url)
    pick(page, "effort", "Draft → refine")
    send(page, "What is the capital of France?")
    finished(page)
    expect(page.get_by_text(re.compile(r"Draft · smollm2-starter · .* tok"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"Refine · smollm2-starter-large · .* tok"))).to_be_visible()
    note = page.locator('.relay-note[data-kind="escalation"]')
    expect(note).to_contain_text("Escalated. smollm2-starter drafted, smollm2-starter-large refines: you asked for it.")
    assert "smollm2-starter → smollm2-starter-large" in page.locator(".relay-footer").inner_text()


def test_an_upload_is_read_asked_about_and_cited_and_no_other_chat_sees_it(server: Server, new_page: NewPage, tmp_path: Path) -> None:
    manual = tmp_path / "zephyr.md"
    manual.write_text(DRONE, encoding="utf-8")
    page = new_page(server.url)
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    page.locator("input[type=file]").first.set_input_files(manual)
    send(page, "What is the maximum range of the Zephyr-9 drone?")
    finished(page)
    expect(page.get_by_text(re.compile(r"Read zephyr.md · \d+ passage"))).to_be_visible()
    expect(page.locator('[data-step-type="assistant_message"]').first).to_contain_text("48")
    page.locator(".relay-chip").first.click()
    panel = page.locator(".relay-passage")
    expect(panel.locator("mark")).to_contain_text("maximum range of 48 kilometers")
    expect(page.locator("#side-view-title")).to_contain_text("Zephyr-9 manual")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)

    other = new_page(server.url)
    pick(other, "knowledge", "Docs only")
    send(other, "What is the maximum range of the Zephyr-9 drone?")
    finished(other)
    expect(other.locator('[data-step-type="assistant_message"]').first).to_contain_text("The documents do not say.")


def test_a_document_sent_alone_waits_for_its_question_and_an_unreadable_one_asks_no_model(
    server: Server, new_page: NewPage, tmp_path: Path
) -> None:
    manual, broken = tmp_path / "zephyr.md", tmp_path / "picture.pdf"
    manual.write_text(DRONE, encoding="utf-8")
    broken.write_bytes(b"\x89PNG no pdf at all")
    page = new_page(server.url)
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(500)
    page.locator("input[type=file]").first.set_input_files(manual)
    page.locator("#chat-submit").click()
    expect(page.get_by_text("I have read it. What would you like to know?")).to_be_visible(timeout=30_000)
    send(page, "What is the maximum range of the Zephyr-9 drone?")
    finished(page)
    expect(page.get_by_text(re.compile(r"Retrieve · \d+ passage"))).to_be_visible()
    page.locator("input[type=file]").first.set_input_files(broken)
    send(page, "What is in this picture?")
    expect(page.get_by_text("I could not read it, so no model was asked.", exact=False)).to_be_visible(timeout=30_000)
    finished(page)


def test_a_terminal_beside_the_chat_hands_its_work_over(server: Server, tmp_path: Path, prepared_models: Path) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\nThe office tea is kept in the blue cupboard on the third floor.\n", encoding="utf-8")
    wait_until(lambda: "Relay is ready" in server.log, 30)
    env = {**os.environ, "RELAY_HOME": str(server.home), "RELAY_MODELS_DIR": str(prepared_models)}
    relay = [sys.executable, "-m", "cli.main"]
    taken = subprocess.run([*relay, "ingest", str(tmp_path / "tea.md")], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert taken.returncode == 0 and taken.stdout.startswith("1 added"), taken.stderr
    command = [*relay, "ask", "Where is the office tea kept?", "--knowledge", "docs", "--recipe", "draft", "--json"]
    asked = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in asked.stdout.splitlines()]
    assert next(event for event in events if event["type"] == "Grounded")["passages"][0]["document"] == "Tea"
    assert events[-1]["type"] == "Answered"


def test_docs_only_says_that_the_documents_do_not_tell(server: Server, new_page: NewPage) -> None:
    page = new_page(server.url)
    pick(page, "knowledge", "Docs only")
    send(page, "Who won the chess world championship in 1972?")
    finished(page)
    expect(page.locator('[data-step-type="assistant_message"]').first).to_contain_text("The documents do not say.")
    expect(page.locator(".relay-footer")).to_contain_text("no model was asked")


def test_stop_leaves_what_was_written_and_the_next_message_is_answered_at_once(server: Server, new_page: NewPage) -> None:
    page = new_page(server.url)
    send(page, "Write a very long story about a fox, a crow and a river.")
    expect(page.locator('[data-relay-state="draft"]')).to_be_visible(timeout=20_000)
    page.locator("#stop-button").click()
    began = time.monotonic()
    finished(page, state="stopped")
    assert time.monotonic() - began < 2
    kept = page.locator('[data-step-type="assistant_message"]').first.inner_text()
    send(page, "What is the capital of France?")
    finished(page)
    assert page.locator('[data-step-type="assistant_message"]').first.inner_text() == kept, "nothing is written after a stop"


def test_two_users_at_once_get_their_own_answers(server: Server, new_page: NewPage) -> None:
    one, two = new_page(server.url), new_page(server.url)
    send(one, "What is the capital of France?")
    send(two, "Say: blue is a colour.")
    finished(one)
    finished(two)
    expect(one.locator('[data-step-type="assistant_message"]').first).to_contain_text("Paris")
    expect(two.locator('[data-step-type="assistant_message"]').first).to_contain_text(re.compile("blue", re.IGNORECASE))
    expect(two.locator("body")).not_to_contain_text("Paris")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_page_fits_wide_and_narrow_in_light_and_dark(server: Server, new_page: NewPage, width: int, scheme: str) -> None:
    page = new_page(server.url, width=width, scheme=scheme)
    expect(page.get_by_text("Ask the handbook", exact=True)).to_be_visible(timeout=20_000)
    ARTEFACTS.mkdir(exist_ok=True)
    page.wait_for_timeout(1_000)  # the page fades in
    page.screenshot(path=ARTEFACTS / f"empty-{width}-{scheme}.png")
    pick(page, "effort", "Draft → refine")
    page.get_by_text("Ask the handbook", exact=True).click()
    finished(page)
    page.get_by_text(re.compile("Route · general")).click()
    page.wait_for_timeout(400)
    page.screenshot(path=ARTEFACTS / f"answer-{width}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out sideways"


SLOW = "replies:\n  - {when: short, say: 'A short answer.'}\n  - {when: '.', say: '" + "word " * 100 + "end', token_s: 0.1}"


def test_edit_then_stop(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    server = scripted(SLOW)
    page = new_page(server.url)
    send(page, "A first question")
    expect(page.locator('[data-relay-state="draft"]')).to_be_visible(timeout=20_000)
    message = page.locator('[data-step-type="user_message"]').first
    message.hover()
    message.locator(".edit-message, [data-testid=edit-message], button").first.click()
    page.locator("#edit-chat-input").fill("An edited question")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("An edited question")).to_be_visible()
    expect(page.locator('[data-relay-state="draft"]')).to_be_visible(timeout=20_000)
    page.wait_for_timeout(600)
    page.locator("#stop-button").click()
    finished(page, state="stopped")
    before = page.locator('[data-step-type="assistant_message"]').first.inner_text()
    page.wait_for_timeout(800)
    assert page.locator('[data-step-type="assistant_message"]').first.inner_text() == before, "the stopped answer stays stopped"
    expect(page.get_by_text("A first question")).to_have_count(0)


def test_keep_the_draft(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    server = scripted("replies:\n  - {when: 'Draft:', say: '" + "better " * 80 + "', token_s: 0.1}\n  - {when: '.', say: 'The draft.'}")
    page = new_page(server.url)
    send(page, "Is this a security problem?")
    page.locator(".relay-keep").click(timeout=20_000)
    finished(page)
    answer = page.locator('[data-step-type="assistant_message"]').first
    expect(answer).to_contain_text("The draft.")
    expect(answer).not_to_contain_text("better")
    expect(page.locator('.relay-note[data-kind="kept"]')).to_contain_text("You kept the draft.")


def test_a_failing_backend_falls_back_and_a_failing_world_is_one_sentence(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    server = scripted(
        "replies:\n  - {when: broken, fail: '500'}\n  - {model: phi, fail: refused}\n  - {when: '.', say: 'The starter answers.'}"
    )
    page = new_page(server.url)
    send(page, "Hello")
    finished(page)
    expect(page.locator('[data-step-type="assistant_message"]').first).to_contain_text("The starter answers.")
    expect(page.locator('.relay-note[data-kind="fallback"]')).to_contain_text("phi-4-mini did not answer, smollm2-starter takes over.")
    send(page, "Everything is broken")
    expect(page.get_by_text("failed with status 500")).to_be_visible(timeout=20_000)
    expect(page.locator("#stop-button")).to_have_count(0)
    send(page, "Hello again")
    finished(page, count=2)


def test_a_reload_in_mid_stream_gives_an_empty_chat_and_ends_the_old_answer(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    server = scripted("replies:\n  - {when: '.', say: '" + "word " * 2000 + "', token_s: 0.05}")
    page = new_page(server.url)
    send(page, "Talk for a long time")
    expect(page.locator('[data-relay-state="draft"]')).to_be_visible(timeout=20_000)
    page.reload()
    expect(page.get_by_text("Ask the handbook", exact=True)).to_be_visible(timeout=20_000)
    traces = server.home / "traces"
    wait_until(lambda: any('"finish": "cancelled"' in file.read_text() for file in traces.glob("*.jsonl")), 15)
