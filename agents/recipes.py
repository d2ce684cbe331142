"""HOW an answer is made: pure generators that yield Asks and receive Replies. No I/O, no clock, no SDK.

A recipe yields an Ask (or a tuple of Asks, which run in parallel), receives the Reply (or a tuple), and returns an
Outcome. The driver throws a BackendError into it when a call failed along its whole route, and Kept when the user
keeps the draft; so a failed refinement can return the draft.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from agents.events import Message, Role
from base.errors import BackendError
from router.choose import Route


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a model along a route. `final`: its tokens are the answer's for good."""

    step: str
    role: Role
    route: Route
    messages: tuple[Message, ...]
    final: bool = False
    why: tuple[str, ...] = ()
    """Set on an escalation: the reasons, shown as an event."""
    after: str = ""
    """On an escalation: the model whose draft goes up."""
    quiet: bool = False
    """Its tokens are no part of any answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the text, who wrote it, and how it ended (stop, length or repeats)."""

    step: str
    text: str
    model: str
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The recipe's end. `promoted`: `reply` was a draft and is now the answer; `kept` says why, if it was not the plan."""

    reply: Reply
    promoted: bool = False
    kept: str = ""


class Kept(Exception):
    """Thrown into a recipe when the user keeps the draft."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a recipe may know of the turn."""

    small: Route
    large: Route | None
    no_large: str
    """Why there is no larger model; '' when there is one."""
    messages: tuple[Message, ...]
    weighty: tuple[str, ...]
    """Reasons to refine that stand before any draft: a long or flagged message, or the user's wish."""
    long_draft: int
    held: bool = False
    """Nothing is final before it was checked."""


Recipe = Generator[Ask | tuple[Ask, ...], Reply | tuple[Reply, ...], Outcome]

REFINE = (
    "Here is a draft answer to the message above. Improve it: correct mistakes, complete what is missing, keep what is good. "
    "Keep citations such as [1] where they belong. Write only the improved answer.\n\nDraft:\n"
)


def direct(brief: Brief) -> Recipe:
    """One model, one call, its tokens are the answer."""
    reply = yield Ask("answer", "answer", brief.small, brief.messages, final=not brief.held)
    assert isinstance(reply, Reply)
    return Outcome(reply, promoted=brief.held)


def check(route: Route, messages: tuple[Message, ...]) -> Recipe:
    """One model is asked for something that is no part of the answer."""
    reply = yield Ask("check", "check", route, messages, quiet=True)
    assert isinstance(reply, Reply)
    return Outcome(reply)


def draft_refine(brief: Brief) -> Recipe:
    """A small model drafts; a larger one refines when it pays. The draft stands when the refinement fails."""
    draft = yield Ask("draft", "draft", brief.small, brief.messages)
    assert isinstance(draft, Reply)
    reasons = (*brief.weighty, *weak(draft, brief.long_draft))
    if not reasons:
        return Outcome(draft, promoted=True)
    if brief.large is None:
        return Outcome(draft, promoted=True, kept=brief.no_large)
    try:
        asked = refining(brief.messages, draft)
        refined = yield Ask("refine", "refine", brief.large, asked, final=not brief.held, why=reasons, after=draft.model)
    except Kept:
        return Outcome(draft, promoted=True, kept="You kept the draft.")
    except BackendError as error:
        return Outcome(draft, promoted=True, kept=f"The refinement failed, the draft stands. {error}")
    assert isinstance(refined, Reply)
    return Outcome(refined, promoted=brief.held)


def weak(draft: Reply, long_draft: int) -> tuple[str, ...]:
    """Reasons to refine that the draft itself gives."""
    reasons = []
    if len(draft.text) >= long_draft:
        reasons.append(f"the draft is long ({len(draft.text)} characters, from {long_draft})")
    if not draft.text.strip():
        reasons.append("the draft is empty")
    if draft.finish == "repeats":
        reasons.append("the draft repeats itself")
    return tuple(reasons)


def refining(messages: tuple[Message, ...], draft: Reply) -> tuple[Message, ...]:
    """The conversation with the draft handed over: what the larger model is asked."""
    return (*messages[:-1], Message("user", f"{messages[-1].content}\n\n{REFINE}{draft.text}"))
