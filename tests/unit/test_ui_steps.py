"""The page's words: names that tell the result at a glance, bodies that hide nothing, links that touch no code."""

from __future__ import annotations

import pytest

from agents.events import Escalated, FellBack, Grounded, IntentFound, RouteChosen, StepDone, Totals, Waiting
from rag.cite import Citation
from rag.retrieve import Passage
from router.choose import Candidate, Route
from router.intents import Intent
from ui import citations, steps

FOUND = IntentFound(Intent("code", 0.95, "general", "rules", ("refactor | this",)), 1.6)
CHOSEN = RouteChosen(
    Route(
        "code",
        (Candidate("small", "in process", "declares code, priority 1"), Candidate("next", "in process", "declares general, priority 2")),
        (Candidate("wanted", "foundry", "not on this machine"),),
    ),
    1.1,
)
DONE = StepDone("draft", "draft", "small", "in process", 0.0, 420.0, 1_200.0, 312, 84, 41.7, 0.0000123, "provider")
FELL = FellBack("draft", "first", "small", "It refused the connection.")
PASSAGE = Passage("p1", "Leave", "d1", "Leave › Sick leave", 3, None, "Sick leave is earned.", 100, 121, 0.9, 0.62, 4.2)


@pytest.mark.parametrize(
    ("ms", "words"), [(0.42, "0.4 ms"), (3, "3 ms"), (999.4, "999 ms"), (1_234, "1.2 s"), (59_000, "59.0 s"), (125_000, "2 min 5 s")]
)
def test_times_are_short(ms: float, words: str) -> None:
    assert steps.span(ms) == words


@pytest.mark.parametrize(("dollars", "words"), [(0, "$0"), (0.0000123, "$0.000012"), (0.0031, "$0.0031"), (1.2, "$1.20")])
def test_small_money_stays_visible(dollars: float, words: str) -> None:
    assert steps.money(dollars) == words


def test_names_tell_the_result() -> None:
    assert steps.route_name(FOUND, CHOSEN) == "Route · code · small · 3 ms"
    assert steps.done_name(DONE) == "Draft · small · 1.2 s · 84 tok"
    assert steps.done_name(DONE, [FELL]) == "Draft · first ⇄ small · 1.2 s · 84 tok"
    assert steps.retrieve_name(Grounded((PASSAGE,), 0, 0.62, 0.35, 14.2)) == "Retrieve · 1 passage · confidence 0.62 · 14 ms"
    assert steps.retrieve_name(Grounded((), 0, 0.21, 0.35, 9.0)) == "Retrieve · nothing close · confidence 0.21 · 9 ms"


def test_the_route_names_every_model_with_its_reason() -> None:
    body = steps.route_body(FOUND, CHOSEN)
    for words in ("95%", "general", "small: declares code, priority 1", "next", "wanted", "not on this machine"):
        assert words in body
    assert "refactor \\| this" in body, "a user's words do not break the table"


def test_sideways_and_upward_read_differently() -> None:
    why = Escalated("refine", "small", "large", ("the draft is long (700 characters, from 600)",))
    body = steps.done_body(DONE, [FELL], why, "The draft's words.")
    assert "**Fell back:** first did not answer, small takes over. It refused the connection." in body
    assert "**Escalated:** small drafted, large refines: the draft is long" in body
    assert body.endswith("The draft's words.")


def test_the_wait_says_what_for() -> None:
    assert steps.waiting_text(Waiting("draft", "queued", 2), "small") == "2 messages ahead in the queue"
    assert steps.waiting_text(Waiting("draft", "loading"), "small") == "Loading small"
    assert steps.waiting_text(Waiting("draft", "reading"), "small") == "small reads the question"


def test_the_footer_tells_what_the_answer_took() -> None:
    totals = Totals(2, 624, 216, 0.0000321, 5_300.0, 420.0, ("small", "large"))
    assert steps.footer(totals, [DONE]) == [
        "small → large",
        "first token 420 ms",
        "624 tok in, 216 out",
        "41.7 tok/s",
        "$0.000032",
        "5.3 s",
    ]
    assert steps.footer(Totals(ms=12.0), []) == ["no model was asked", "12 ms"]


def test_only_known_marks_outside_code_become_links() -> None:
    cited = Citation(1, "p1", "Leave", "Leave › Sick leave", 3, None, "Sick leave", "model")
    text = "Yes [1], no [2].\n```\nrows[1]\n```\nand `x[1]`."
    assert citations.linked(text, (cited,), "t") == "Yes [\\[1\\]](#relay-cite-t-1), no [2].\n```\nrows[1]\n```\nand `x[1]`."


def test_a_number_has_one_chip_that_says_where() -> None:
    twice = tuple(Citation(1, "p1", "Leave", "Leave › Sick leave", 3, None, quote, "relay") for quote in ("a", "b"))
    assert citations.chips(twice) == [{"n": 1, "document": "Leave", "where": "Sick leave, page 3", "found": True}]


def test_the_neighbours_do_not_repeat_the_passage() -> None:
    before = Passage("p0", "Leave", "d1", "", None, None, "x" * 50, 60, 110)
    after = Passage("p2", "Leave", "d1", "", None, None, "y" * 50, 115, 165)
    assert citations.around(PASSAGE, (before, PASSAGE, after)) == ("x" * 40, "y" * 44)
