"""Recipes with send() alone: no model, no clock."""

from __future__ import annotations

import pytest

from agents.events import Message
from agents.recipes import Ask, Brief, Kept, Outcome, Recipe, Reply, direct, draft_refine
from base.errors import Unreachable
from router.choose import Candidate, Route

SMALL = Route("general", (Candidate("small", "here", "declares general"),))
LARGE = Route("general", (Candidate("large", "here", "declares refine"),))


def brief(weighty: tuple[str, ...] = (), large: Route | None = LARGE) -> Brief:
    return Brief(SMALL, large, "" if large else "No larger model is ready.", (Message("user", "Why?"),), weighty, 600)


def started(recipe: Recipe) -> Ask:
    asked = next(recipe)
    assert isinstance(asked, Ask)
    return asked


def ended(recipe: Recipe, reply: Reply) -> Outcome:
    with pytest.raises(StopIteration) as end:
        recipe.send(reply)
    outcome = end.value.value
    assert isinstance(outcome, Outcome)
    return outcome


def test_direct_is_one_final_ask() -> None:
    recipe = direct(brief())
    asked = started(recipe)
    assert asked.final and asked.route is SMALL
    assert ended(recipe, Reply("answer", "Because.", "small")).reply.text == "Because."


def test_a_short_draft_on_a_light_message_is_promoted() -> None:
    recipe = draft_refine(brief())
    assert not started(recipe).final
    outcome = ended(recipe, Reply("draft", "x" * 599, "small"))
    assert outcome.promoted and not outcome.kept


@pytest.mark.parametrize(
    ("weighty", "text", "reason"), [((), "x" * 600, "long (600"), (("about security",), "ok", "about security"), ((), "  ", "empty")]
)
def test_long_weighty_or_empty_drafts_go_up_with_the_reason(weighty: tuple[str, ...], text: str, reason: str) -> None:
    recipe = draft_refine(brief(weighty))
    started(recipe)
    asked = recipe.send(Reply("draft", text, "small"))
    assert isinstance(asked, Ask)
    assert asked.final and asked.route is LARGE and asked.after == "small"
    assert reason in " ".join(asked.why) and text in asked.messages[-1].content
    assert ended(recipe, Reply("refine", "Better.", "large")) == Outcome(Reply("refine", "Better.", "large"))


@pytest.mark.parametrize(
    ("thrown", "why"), [(Unreachable("large cannot be reached.", "Is it on?"), "large cannot be reached"), (Kept(), "You kept the draft")]
)
def test_the_draft_stands_when_the_refinement_fails_or_is_not_wanted(thrown: Exception, why: str) -> None:
    recipe = draft_refine(brief(("flagged",)))
    started(recipe)
    recipe.send(Reply("draft", "Draft.", "small"))
    with pytest.raises(StopIteration) as end:
        recipe.throw(thrown)
    assert end.value.value.promoted and end.value.value.reply.text == "Draft." and why in end.value.value.kept


def test_without_a_larger_model_the_draft_stands_and_says_why() -> None:
    recipe = draft_refine(brief(("flagged",), large=None))
    started(recipe)
    outcome = ended(recipe, Reply("draft", "Draft.", "small"))
    assert outcome.promoted and outcome.kept == "No larger model is ready."
