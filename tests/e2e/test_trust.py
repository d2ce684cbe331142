"""What a reader may trust, on the page: follow-ups made whole, statements that no passage carries, refusals with what came closest."""

from __future__ import annotations

from collections.abc import Callable

from driving import Server, finished, pick, send
from playwright.sync_api import Page, expect

NewPage = Callable[..., Page]
SCRIPT = """
replies:
  - {when: 'cats.*or write: none', say: 'Cats may come to work on Fridays.'}
  - {when: 'or write: none', say: 'You are entitled to 12 weeks of paid time off for the birth, adoption or placement of a new child'}
  - {when: 'Question: How far', say: 'Cats may come to work on Fridays. They wear boots there.'}
  - {when: 'Question: And', say: 'You are entitled to 12 weeks of paid time off for the birth of a new child. Cats may come along.'}
  - {say: 'Employees may take 12 weeks of paid parental leave [1].'}
"""
ASKED = "How many weeks of paid parental leave may an employee take?"


def test_a_follow_up_is_made_whole_and_unsupported_statements_are_marked(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    page = new_page(scripted(SCRIPT).url)
    pick(page, "effort", "Draft")
    send(page, ASKED)
    finished(page)
    expect(page.locator(".relay-carried")).to_have_text("The passages carry this answer.")
    expect(page.locator('a[href="#relay-unsupported"]')).to_have_count(0)
    send(page, "And for adoptions?")
    finished(page, 2)
    query = f"Searched for “{ASKED[:-1]}, and for adoptions?”"
    expect(page.locator('.relay-note[data-kind="whole"]')).to_have_text(query)
    expect(page.locator(".relay-carried").nth(1)).to_have_text("The passages carry 1 of 2 statements; the others are marked.")
    mark = page.locator('a[href="#relay-unsupported"]')
    expect(mark).to_have_count(1)
    assert "Cats may come along." in (page.locator('[data-step-type="assistant_message"]').last.inner_text())
    before = page.url
    mark.click()
    assert page.url == before, "a mark leads nowhere"


def test_where_only_documents_may_answer_a_made_up_answer_is_taken_back(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    page = new_page(scripted(SCRIPT).url, 400, 860, "dark")
    pick(page, "knowledge", "Docs only")
    send(page, "How far ahead must I ask for paid parental leave?")
    finished(page)
    answer = page.locator('[data-step-type="assistant_message"]').last
    expect(answer).to_contain_text("I have no answer that your documents carry. These sentences come closest:")
    assert "boots" not in answer.inner_text()
    expect(page.get_by_text("Check · phi-4-mini")).to_contain_text("· enough")
    expect(page.locator(".relay-nearest")).to_be_visible()
    chip = page.locator(".relay-chip").first
    chip.click()
    expect(page.locator(".relay-passage mark")).to_be_visible()


def test_a_near_miss_is_refused_when_no_quote_stands_in_the_passages(scripted: Callable[[str], Server], new_page: NewPage) -> None:
    page = new_page(scripted(SCRIPT).url)
    pick(page, "knowledge", "Docs only")
    send(page, "How many weeks of paid parental leave may cats take?")
    finished(page)
    expect(page.locator('[data-step-type="assistant_message"]').last).to_contain_text("The documents do not say.")
    expect(page.get_by_text("Check · phi-4-mini")).to_contain_text("not enough")
    expect(page.locator(".relay-chip")).to_have_count(3)
