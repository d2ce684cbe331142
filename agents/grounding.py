"""What the documents have to do with a turn: finds the passages, decides whether they can answer, judges what was written.

Knows the library's face and the values of the knowledge room; no model, no prompt, no store.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from agents.access import CHAT, DEMO_SCOPE
from agents.events import Grounded, Turn
from agents.followup import whole
from base.errors import RelayError
from base.settings import Settings
from rag import gate
from rag.cite import Citation, nearest
from rag.retrieve import Found, Passage, numbered, pack
from rag.support import Grounding, claims, judge
from router.call import estimate
from router.intents import GENERAL, Intent

SEARCHED = 40
"""Passages asked for; how many of them a prompt takes is a matter of its room."""
OPENING = 6
"""First passages of an attached document, where none of it is close to the question."""
SHOWN = 3
"""Nearest passages beside a refusal."""
SAMPLE = 3_000
"""Characters of passages from which a model's way to count is told."""
LEAST_PASSAGE = 40
"""Tokens of a passage that are still worth reading."""


Rights = Callable[[Turn], tuple[str, ...]]
"""The collections that a turn may search at this moment."""


class Scale(Protocol):
    """How many of a model's tokens each estimated one is, in texts like the sample."""

    async def __call__(self, sample: str, /) -> float: ...


class Shelf(Protocol):
    """What an answer needs of the library."""

    async def search(self, query: str, scopes: tuple[str, ...], floor: float, limit: int) -> Found:
        """Passages above the floor, best first."""

    async def opening(self, documents: tuple[str, ...], limit: int, scopes: tuple[str, ...]) -> tuple[Passage, ...]:
        """The first passages of these documents, as far as they are in these scopes."""

    async def likeness(self, texts: Sequence[str], ids: Sequence[str], scopes: Sequence[str]) -> list[list[tuple[float, int]]]:
        """For each text and passage in these scopes: the cosine of the passage's closest sentence, and which it is."""


class Grounder:
    """One for a process; keeps nothing of a turn."""

    def __init__(self, settings: Settings, shelf: Shelf, rights: Rights | None = None) -> None:
        self._settings, self._shelf = settings, shelf
        self._rights = rights or (lambda turn: (*turn.scopes, *((DEMO_SCOPE,) if settings.demo else ())))

    def wanted(self, turn: Turn, intent: Intent) -> bool:
        """Always in docs mode; in auto for questions, and for whatever came with a document."""
        if turn.knowledge == "off":
            return False
        pasted = intent.name != GENERAL and (len(turn.text) > self._settings.long_message or "\n" in turn.text.strip())
        asks = intent.name == GENERAL or (intent.name == "summarize" and not pasted)
        return turn.knowledge == "docs" or bool(turn.attached) or asks

    async def ground(self, turn: Turn, budget: int, scale: Scale) -> Grounded:
        """The passages for a prompt with room for `budget` of the model's tokens; `scale` tells how it counts such texts."""
        began = time.perf_counter()
        query = whole(turn.text, [message.content for message in turn.history if message.role == "user"])
        scopes = self._scopes(turn)
        found = await self._shelf.search(query, scopes, self._settings.floor, SEARCHED)
        passages = found.passages
        if turn.attached:
            read = tuple(p for p in passages if p.document_id in turn.attached)
            passages = read or await self._shelf.opening(turn.attached, OPENING, scopes)
        scaled = await scale(numbered(passages)[:SAMPLE]) if passages else 1.0
        kept, left_out = pack(passages, budget, lambda text: math.ceil(estimate(text) * scaled))
        if passages and not kept and budget >= LEAST_PASSAGE:
            kept, left_out = (_cut(passages[0], int(budget / scaled)),), len(passages) - 1
        near = found.nearest or found.passages
        if turn.attached:
            near = tuple(p for p in near if p.document_id in turn.attached) or tuple(kept)
        floor = self._settings.floor
        return Grounded(tuple(kept), left_out, found.best, floor, _ms(began), query, near[:SHOWN], found.by_words, scopes)

    def _scopes(self, turn: Turn) -> tuple[str, ...]:
        """As of now, and not of when the message came: it may have waited. What came with a message is what it is about."""
        scopes = self._rights(turn)
        return tuple(scope for scope in scopes if scope.startswith(CHAT)) if turn.attached else scopes

    @staticmethod
    def sufficient(turn: Turn, grounded: Grounded) -> bool:
        """The second stage without a model: whether a sentence in the first passages is close to the question.

        What came with the message is read in any case.
        """
        return bool(turn.attached) or grounded.by_words or gate.sufficient(grounded.passages)

    async def judge(self, answer: str, grounded: Grounded) -> Grounding:
        """What carries each claim of an answer."""
        said = [claim.text for claim in claims(answer)]
        return judge(answer, grounded.passages, grounded.asked, await self._alike(said, grounded.passages, grounded))

    async def closest(self, grounded: Grounded) -> tuple[Citation, ...]:
        """What to show beside a refusal: the nearest passages, each with the sentence that comes closest to the question."""
        alike = await self._alike([grounded.asked], grounded.nearest, grounded)
        return nearest(grounded.nearest, grounded.asked, alike[0] if alike else ())

    async def _alike(self, texts: Sequence[str], passages: Sequence[Passage], grounded: Grounded) -> list[list[tuple[float, int]]]:
        """See Shelf.likeness. A library that has just closed must not take a finished answer with it: words judge alone then."""
        try:
            return await self._shelf.likeness(texts, [passage.id for passage in passages], grounded.scopes) if texts else []
        except RelayError:
            return []


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 3)


def _cut(passage: Passage, budget: int) -> Passage:
    """The beginning of a passage, as much as fits, ending with a word."""
    text = passage.text[: int((budget - 8) * 3.6)].rsplit(None, 1)[0]
    return replace(passage, text=text, end=passage.start + len(text))
