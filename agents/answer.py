"""The conductor: intent → route → passages → recipe → citations, as one stream of events. Knows every room's values, no SDK.

`Conductor.answer` has the shape `Answer`. All it decides stands in the events it yields.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from agents import prompt, recipes
from agents.driver import Driver, Filter, Halted
from agents.events import (
    Answered,
    Checked,
    Event,
    Failed,
    Grounded,
    IntentFound,
    Message,
    Promoted,
    Refusal,
    RouteChosen,
    StepDone,
    Stopped,
    Token,
    Totals,
    Turn,
)
from agents.grounding import Grounder, Rights, Shelf
from agents.routing import Router
from base.errors import BackendError, RelayError
from base.settings import Settings
from rag.cite import CitationFilter, citations
from rag.retrieve import Passage, numbered
from rag.support import Grounding, claims, copied, declines, quoted
from router.catalog import Catalog, Entry
from router.choose import Route

REFUSALS: dict[Refusal, tuple[str, str]] = {
    "gate": (
        "The documents do not say.",
        "No passage in your documents comes close to this question, so no model was asked.",
    ),
    "room": (
        "The passages found do not fit beside so long a message.",
        "Your documents have something on this. Shorten the message, or choose a model that reads more.",
    ),
    "check": (
        "The documents do not say.",
        "They come close to this question, but no sentence in them answers it.",
    ),
    "support": (
        "I have no answer that your documents carry. These sentences come closest:",
        "What the model wrote stands in no passage, so it is not shown.",
    ),
    "model": (
        "The documents do not say.",
        "The model found no answer in the passages.",
    ),
}
"""What a refusal says, and its sentence beside it."""
ITEM = re.compile(r"^(?:[-*•·]|\d{1,3}[.)])\s+")
"""What makes a line an item of a list; a quote of it is none."""


@dataclass(slots=True)
class Tally:
    """Sums the turn's steps as they end, and remembers the newest step's text."""

    began: float
    large: Entry | None = None
    """The model that the answer is compared with."""
    totals: Totals = field(default_factory=Totals)
    written: str = ""
    writer: str = ""
    always_large: float = 0.0

    def see(self, event: Event) -> None:
        """Take one event into account. A step that has said nothing yet does not erase the one before it."""
        if isinstance(event, Token):
            self.written = event.text if event.step != self.writer else self.written + event.text
            self.writer = event.step
        elif isinstance(event, StepDone):
            self._add(event)

    def _add(self, done: StepDone) -> None:
        t = self.totals
        if self.large and done.role != "check":
            # One question to the large model: what the answering step read and wrote, at its price.
            self.always_large = self.large.price.of(done.tokens_in, done.tokens_out)
        # Nobody sees a token of the check.
        own = None if done.ttft_ms is None or done.role == "check" else round(done.start_ms + done.ttft_ms, 2)
        first = [ms for ms in (t.ttft_ms, own) if ms is not None]
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
        return replace(self.totals, ms=_ms(self.began), always_large=round(self.always_large, 9))


class Conductor:
    """Makes answers. One for a process; a turn's state lives in its own call."""

    def __init__(self, settings: Settings, router: Router, shelf: Shelf, rights: Rights | None = None) -> None:
        self._settings, self._router = settings, router
        self._grounder = Grounder(settings, shelf, rights)

    async def answer(self, turn: Turn) -> AsyncIterator[Event]:
        """The stream of one turn; ends with Answered, Stopped or Failed."""
        tally = Tally(time.perf_counter(), self._router.dearest())
        try:
            async with aclosing(self._events(turn, tally)) as events:
                async for event in events:
                    tally.see(event)
                    if isinstance(event, StepDone):
                        self._router.spending.see(event)
                    yield event
        except Halted:
            yield Stopped(tally.written, tally.close())
        except RelayError as error:
            yield Failed(error.what, error.remedy, tally.written, tally.close(), type(error).__name__)

    async def _events(self, turn: Turn, tally: Tally) -> AsyncGenerator[Event, None]:
        catalog, began = self._router.current(), time.perf_counter()
        earlier = [message.content for message in turn.history if message.role == "user"]
        if turn.intent:
            intent = self._router.pinned(turn.intent)
        else:
            intent = await asyncio.to_thread(self._router.intent, turn.text, earlier)
        yield IntentFound(intent, _ms(began))
        began = time.perf_counter()
        route = self._router.route(catalog, intent.name, turn.text, turn.model)
        yield RouteChosen(route, _ms(began))
        work = _Work(turn, catalog, route, tally)
        if self._grounder.wanted(turn, intent):
            budget = self._budget(catalog.models[route.model], turn)
            work.grounded = await self._grounder.ground(turn, budget, partial(self._router.scale, catalog, route.model))
            yield work.grounded
        if turn.knowledge == "docs":
            async with aclosing(self._unsaid(work)) as events:
                async for event in events:
                    yield event
            if work.refused:
                yield await self._refusal(work)
                return
        async with aclosing(self._written(work)) as events:
            async for event in events:
                yield event

    async def _unsaid(self, work: _Work) -> AsyncGenerator[Event, None]:
        """Find out before a model answers whether the documents do not say: by the search, then by a quote."""
        grounded = work.grounded
        if grounded is None or not grounded.passages:
            work.refused = "room" if grounded and grounded.left_out else "gate"
        elif not self._grounder.sufficient(work.turn, grounded):
            work.refused = "check"
        elif self._checks(work):
            async with aclosing(self._check(work, grounded)) as events:
                async for event in events:
                    yield event

    def _checks(self, work: _Work) -> bool:
        """A starter cannot be asked for a quote: it copies anything."""
        wish = self._settings.check
        return wish == "always" or (wish == "auto" and not work.catalog.models[work.route.model].starter)

    async def _check(self, work: _Work, grounded: Grounded) -> AsyncGenerator[Event, None]:
        """Ask the small model for the sentence that answers, and look it up. A model that fails here decides nothing."""
        began = time.perf_counter()
        driver = self._driver(work, lambda entry: Message("system", prompt.CHECK))
        asked = prompt.evidence(grounded.asked, numbered(grounded.passages))
        try:
            async with aclosing(driver.run(recipes.check(work.route, (asked,)), work.turn.control)) as events:
                async for event in events:
                    yield event
        except BackendError:
            return
        assert driver.outcome is not None
        n, quote = quoted(driver.outcome.reply.text, grounded.passages) or (0, "")
        yield Checked(bool(n), n, quote, _ms(began))
        work.refused = "" if n else "check"

    async def _written(self, work: _Work) -> AsyncGenerator[Event, None]:
        """Run the recipe, check what came, and end."""
        driver = self._driver(work, lambda entry: prompt.system(entry, bool(work.passages)))
        async with aclosing(driver.run(self._recipe(work), work.turn.control)) as events:
            async for event in events:
                yield event
        assert driver.outcome is not None
        answered = await self._answered(driver.outcome, work)
        if driver.outcome.promoted and not answered.refused:
            reply = driver.outcome.reply
            yield Promoted(reply.step, reply.text, driver.outcome.kept)
        yield answered

    def _budget(self, entry: Entry, turn: Turn) -> int:
        return prompt.passage_budget(entry, turn.text, entry.passage_tokens or self._settings.passage_tokens)

    def _recipe(self, work: _Work) -> recipes.Recipe:
        """Draft alone, or draft and refine. A model of the user's own choice answers alone unless they ask for more, and so does

        the one that a policy of the fastest or the best has chosen.
        """
        turn, route = work.turn, work.route
        asked = prompt.question(turn.text, numbered(work.passages) if work.passages else "")
        large, no_large = self._router.large(work.catalog, route, turn.text)
        messages, weighty = (*turn.history, asked), self._router.weighty(turn)
        held = turn.knowledge == "docs"
        brief = recipes.Brief(route, large, no_large, messages, weighty, self._settings.long_draft, held)
        alone = turn.effort == "draft" or (turn.effort == "auto" and (turn.model != "auto" or self._settings.policy != "balanced"))
        return recipes.direct(brief) if alone else recipes.draft_refine(brief)

    def _driver(self, work: _Work, system: Callable[[Entry], Message]) -> Driver:
        def new_filter() -> Filter:
            if not work.passages:
                return lambda text: text
            checked = CitationFilter(len(work.passages))
            return lambda text: checked.feed(text) if text else checked.flush()

        def messages(entry: Entry, asked: tuple[Message, ...]) -> tuple[Message, ...]:
            return (system(entry), *prompt.fit(entry, asked[:-1], asked[-1]))

        return Driver(work.catalog, self._router.backends, self._router.health, messages, new_filter, work.tally.began)

    async def _answered(self, outcome: recipes.Outcome, work: _Work) -> Answered:
        """The end, with its citations and what carries it; a refusal where only documents may answer and they carry nothing."""
        text, grounded, route = outcome.reply.text, work.grounded, work.route
        if grounded is None or not grounded.passages:
            return Answered(text, (), work.tally.close(), outcome.reply.model, route.notice)
        grounding = await self._grounder.judge(text, grounded)
        cited = citations(text, grounded.passages, grounding)
        if work.turn.knowledge == "docs":
            work.refused = _uncarried(text, grounding, grounded.passages)
            if work.refused:
                return replace(await self._refusal(work), model=outcome.reply.model, grounding=grounding)
        return Answered(text, cited, work.tally.close(), outcome.reply.model, route.notice, grounding)

    async def _refusal(self, work: _Work) -> Answered:
        text, notice = REFUSALS[work.refused]
        near = await self._grounder.closest(work.grounded) if work.grounded else ()
        if work.refused == "support":
            text = "\n\n".join([text, *(f"> {ITEM.sub('', ' '.join(one.quote.split()))} [{one.n}]" for one in near)])
        return Answered(text, (), work.tally.close(), notice=notice, refused=work.refused, nearest=near)


def _uncarried(text: str, grounding: Grounding, passages: Sequence[Passage]) -> Refusal:
    """Why what was written is no answer from documents alone; '' when they carry some of it."""
    if grounding.supported or (text.strip() and not claims(text) and copied(text, passages)):
        return ""
    return "model" if declines(text) else "support"


@dataclass(slots=True)
class _Work:
    """What one turn knows so far."""

    turn: Turn
    catalog: Catalog
    route: Route
    tally: Tally
    grounded: Grounded | None = None
    refused: Refusal = ""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """What the models see."""
        return self.grounded.passages if self.grounded else ()


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 3)
