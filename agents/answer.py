"""The conductor: intent → route → passages → recipe → citations, as one stream of events. Knows every room's values, no SDK.

`Conductor.answer` has the shape `Answer`. All it decides stands in the events it yields.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

from agents import prompt, recipes
from agents.access import CHAT, DEMO_SCOPE
from agents.driver import Driver, Filter, Halted
from agents.events import (
    Answered,
    Event,
    Failed,
    Grounded,
    IntentFound,
    Message,
    RouteChosen,
    StepDone,
    Stopped,
    Token,
    Totals,
    Turn,
)
from agents.routing import Router
from base.errors import RelayError
from base.settings import Settings
from rag.cite import Citation, CitationFilter, citations
from rag.retrieve import Found, Passage, numbered, pack
from router.call import estimate
from router.catalog import Catalog, Entry
from router.choose import Route
from router.intents import GENERAL, Intent

SILENT = (
    "The documents do not say.",
    "No passage in your documents comes close to this question, so no model was asked.",
)
TIGHT = (
    "The passages found do not fit beside so long a message.",
    "Your documents have something on this. Shorten the message, or choose a model that reads more.",
)
LEAST_PASSAGE = 40
"""Tokens of a passage that are still worth reading."""
Rights = Callable[[Turn], tuple[str, ...]]
"""The collections that a turn may search at this moment."""


class Shelf(Protocol):
    """What the conductor needs of the library: searching it, and reading the start of a document."""

    async def search(self, query: str, scopes: tuple[str, ...], floor: float, limit: int) -> Found:
        """Passages above the floor, best first."""

    async def opening(self, documents: tuple[str, ...], limit: int, scopes: tuple[str, ...]) -> tuple[Passage, ...]:
        """The first passages of these documents, as far as they are in these scopes."""


@dataclass(slots=True)
class Tally:
    """Sums the turn's steps as they end, and remembers the newest step's text."""

    began: float
    totals: Totals = field(default_factory=Totals)
    written: str = ""
    writer: str = ""

    def see(self, event: Event) -> None:
        """Take one event into account. A step that has said nothing yet does not erase the one before it."""
        if isinstance(event, Token):
            self.written = event.text if event.step != self.writer else self.written + event.text
            self.writer = event.step
        elif isinstance(event, StepDone):
            self._add(event)

    def _add(self, done: StepDone) -> None:
        t = self.totals
        first = [ms for ms in (t.ttft_ms, None if done.ttft_ms is None else round(done.start_ms + done.ttft_ms, 2)) if ms is not None]
        self.totals = replace(
            t,
            steps=t.steps + 1,
            tokens_in=t.tokens_in + done.tokens_in,
            tokens_out=t.tokens_out + done.tokens_out,
            cost=t.cost + done.cost,
            ttft_ms=min(first, default=None),
            models=t.models if done.model in t.models else (*t.models, done.model),
        )

    def close(self) -> Totals:
        """The totals with the turn's wall time."""
        return replace(self.totals, ms=_ms(self.began))


class Conductor:
    """Makes answers. One for a process; a turn's state lives in its own call."""

    def __init__(self, settings: Settings, router: Router, shelf: Shelf, rights: Rights | None = None) -> None:
        self._settings, self._router, self._shelf = settings, router, shelf
        self._rights = rights or (lambda turn: (*turn.scopes, *((DEMO_SCOPE,) if settings.demo else ())))

    async def answer(self, turn: Turn) -> AsyncIterator[Event]:
        """The stream of one turn; ends with Answered, Stopped or Failed."""
        tally = Tally(time.perf_counter())
        try:
            async with aclosing(self._events(turn, tally)) as events:
                async for event in events:
                    tally.see(event)
                    yield event
        except Halted:
            yield Stopped(tally.written, tally.close())
        except RelayError as error:
            yield Failed(error.what, error.remedy, tally.written, tally.close(), type(error).__name__)

    async def _events(self, turn: Turn, tally: Tally) -> AsyncGenerator[Event, None]:
        catalog, began = self._router.current(), time.perf_counter()
        earlier = [message.content for message in turn.history if message.role == "user"]
        intent = await asyncio.to_thread(self._router.intent, turn.text, earlier)
        yield IntentFound(intent, _ms(began))
        began = time.perf_counter()
        route = self._router.route(catalog, intent.name, turn.text, turn.model)
        yield RouteChosen(route, _ms(began))
        passages: tuple[Passage, ...] = ()
        grounded = await self._ground(turn, catalog, route) if self._wants_knowledge(turn, intent) else None
        if grounded is not None:
            passages = grounded.passages
            yield grounded
        if turn.knowledge == "docs" and not passages:
            text, notice = TIGHT if grounded and grounded.left_out else SILENT
            yield Answered(text, (), tally.close(), notice=notice)
            return
        driver = self._driver(catalog, passages, tally.began)
        async with aclosing(driver.run(self._recipe(turn, catalog, route, passages), turn.control)) as events:
            async for event in events:
                yield event
        assert driver.outcome is not None
        yield self._answered(driver.outcome, passages, tally, route, turn.text)

    def _wants_knowledge(self, turn: Turn, intent: Intent) -> bool:
        """Always in docs mode; in auto for questions, and for whatever came with a document."""
        if turn.knowledge == "off":
            return False
        pasted = intent.name != GENERAL and (len(turn.text) > self._settings.long_message or "\n" in turn.text.strip())
        asks = intent.name == GENERAL or (intent.name == "summarize" and not pasted)
        return turn.knowledge == "docs" or bool(turn.attached) or asks

    async def _ground(self, turn: Turn, catalog: Catalog, route: Route) -> Grounded:
        began = time.perf_counter()
        floor = self._settings.floor
        scopes = self._rights(turn)  # now, and not when the message came: it may have waited for a model
        if turn.attached:  # what came with the message is what it is about
            scopes = tuple(scope for scope in scopes if scope.startswith(CHAT))
        found = await self._shelf.search(turn.text, scopes, floor, 12)
        passages = found.passages
        if turn.attached:
            passages = tuple(p for p in passages if p.document_id in turn.attached) or (await self._shelf.opening(turn.attached, 6, scopes))
        budget = self._budget(catalog.models[route.model], turn)
        kept, left_out = pack(passages, budget, estimate)
        if passages and not kept and budget >= LEAST_PASSAGE:
            kept, left_out = (_cut(passages[0], budget),), len(passages) - 1
        return Grounded(tuple(kept), left_out, found.best, floor, _ms(began))

    def _budget(self, entry: Entry, turn: Turn) -> int:
        return prompt.passage_budget(entry, turn.text, entry.passage_tokens or self._settings.passage_tokens)

    def _recipe(self, turn: Turn, catalog: Catalog, route: Route, passages: tuple[Passage, ...]) -> recipes.Recipe:
        """Draft alone, or draft and refine. A model of the user's own choice answers alone unless they ask for more."""
        asked = prompt.question(turn.text, numbered(passages) if passages else "")
        large, no_large = self._router.large(catalog, route, turn.text)
        brief = recipes.Brief(route, large, no_large, (*turn.history, asked), self._router.weighty(turn), self._settings.long_draft)
        alone = turn.effort == "draft" or (turn.effort == "auto" and turn.model != "auto")
        return recipes.direct(brief) if alone else recipes.draft_refine(brief)

    def _driver(self, catalog: Catalog, passages: tuple[Passage, ...], began: float) -> Driver:
        def new_filter() -> Filter:
            if not passages:
                return lambda text: text
            checked = CitationFilter(len(passages))
            return lambda text: checked.feed(text) if text else checked.flush()

        def messages(entry: Entry, asked: tuple[Message, ...]) -> tuple[Message, ...]:
            return (prompt.system(entry, bool(passages)), *prompt.fit(entry, asked[:-1], asked[-1]))

        return Driver(catalog, self._router.backends, self._router.health, messages, new_filter, began)

    def _answered(self, outcome: recipes.Outcome, passages: tuple[Passage, ...], tally: Tally, route: Route, asked: str) -> Answered:
        text = outcome.reply.text
        cited: tuple[Citation, ...] = citations(text, passages, question=asked) if passages else ()
        return Answered(text, cited, tally.close(), outcome.reply.model, route.notice)


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 3)


def _cut(passage: Passage, budget: int) -> Passage:
    """The beginning of a passage, as much as fits, ending with a word."""
    text = passage.text[: int((budget - 8) * 3.6)].rsplit(None, 1)[0]
    return replace(passage, text=text, end=passage.start + len(text))
