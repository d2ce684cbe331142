"""Runs one recipe: sends its Asks along their routes, hands the Replies back, throws failures in. Knows no intent and no document.

A recipe's Asks run in tasks that put events into one queue, so that parallel steps interleave, and stop or "keep the
draft" is heard at every moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from agents.events import Control, Counted, Escalated, Event, FellBack, Message, StepDone, StepStarted, Token, Waiting
from agents.recipes import Ask, Kept, Outcome, Recipe, Reply
from base.errors import BackendError
from router import call
from router.backends import Backends
from router.catalog import Catalog, Entry
from router.health import Health

Filter = Callable[[str], str]
"""Filters a step's text as it passes; called with '' at the end for what it held back."""
Prompt = Callable[[Entry, tuple[Message, ...]], tuple[Message, ...]]
"""A recipe's messages made ready for one model."""


class Halted(Exception):
    """The user stopped the answer."""


@dataclass(slots=True)
class Line:
    """What one step has so far: for its figures, also when it is stopped in the middle."""

    ask: Ask
    model: str
    backend: str
    began: float = field(default_factory=time.perf_counter)
    first: float | None = None
    text: str = ""
    raw: int = 0
    """Pieces received: about one a token."""
    prompted: str = ""


class Driver:
    """One turn's recipe. `outcome` is there when `run` has ended well."""

    def __init__(
        self, catalog: Catalog, backends: Backends, health: Health, prompt: Prompt, new_filter: Callable[[], Filter], began: float
    ) -> None:
        self._catalog, self._backends, self._health = catalog, backends, health
        self._prompt, self._new_filter, self._began = prompt, new_filter, began
        self.outcome: Outcome | None = None

    async def run(self, recipe: Recipe, control: Control) -> AsyncGenerator[Event, None]:
        """Drive the recipe to its Outcome. Raises RelayError when it fails, Halted when the user stops."""
        replies: Reply | tuple[Reply, ...] | None = None
        thrown: Exception | None = None
        while True:
            try:
                asked = recipe.throw(thrown) if thrown else recipe.send(replies)  # type: ignore[arg-type]
            except StopIteration as end:
                self.outcome = end.value
                break
            batch = _Batch(self, asked if isinstance(asked, tuple) else (asked,), control)
            async with aclosing(batch.events()) as events:
                async for event in events:
                    yield event
            thrown = batch.thrown
            replies = tuple(batch.replies) if isinstance(asked, tuple) else (batch.replies[0] if batch.replies else None)

    async def step(self, ask: Ask, line: Line, put: Callable[[Event], None]) -> Reply:
        """One Ask from StepStarted to StepDone, also when it fails or is cancelled."""
        if ask.why:
            put(Escalated(ask.step, ask.after, ask.route.model, ask.why))
        put(StepStarted(ask.step, ask.role, line.model, line.backend))
        keep = self._new_filter()
        counted: tuple[int, int] | None = None
        finish = "error"
        try:
            async with aclosing(
                call.run(ask.route, lambda e: self._messages(e, ask, line), self._catalog, self._backends, self._health)
            ) as signs:
                async for sign in signs:
                    if isinstance(sign, call.Piece):
                        self._piece(keep(sign.text), line, put)
                    elif isinstance(sign, call.Done):
                        finish, counted = sign.finish or "stop", sign.tokens
                    else:
                        self._aside(sign, line, put)
            self._piece(keep(""), line, put, held=True)
        except asyncio.CancelledError:
            finish = "cancelled"
            raise
        finally:
            put(self._done(line, finish, counted))
        return Reply(ask.step, line.text.strip(), line.model, finish)

    def _messages(self, entry: Entry, ask: Ask, line: Line) -> list[dict[str, str]]:
        messages = self._prompt(entry, ask.messages)
        line.prompted = "\n".join(message.content for message in messages)
        return [{"role": message.role, "content": message.content} for message in messages]

    def _piece(self, text: str, line: Line, put: Callable[[Event], None], held: bool = False) -> None:
        """Show some text; what a filter had `held` back is no new token of the model's."""
        if not held:
            line.first = line.first or time.perf_counter()
            line.raw += 1
        line.text += text
        if text and not line.ask.quiet:
            put(Token(line.ask.step, text, line.ask.final))

    def _aside(self, sign: call.Phase | call.Fell, line: Line, put: Callable[[Event], None]) -> None:
        if isinstance(sign, call.Phase):
            put(Waiting(line.ask.step, sign.phase, sign.ahead))
        else:
            put(FellBack(line.ask.step, sign.model, sign.to, sign.reason))
            line.model = sign.to
            line.backend = self._catalog.place(self._catalog.models[sign.to]).name

    def _done(self, line: Line, finish: str, counted: tuple[int, int] | None) -> StepDone:
        now = time.perf_counter()
        how: Counted = "provider" if counted else "estimated"
        unread = not line.prompted or (finish == "error" and line.first is None)
        read, wrote = counted or (0 if unread else call.estimate(line.prompted), line.raw)
        price = self._catalog.models[line.model].price
        after_first = now - line.first if line.first else 0.0
        return StepDone(
            step=line.ask.step,
            role=line.ask.role,
            model=line.model,
            backend=line.backend,
            start_ms=round((line.began - self._began) * 1e3, 2),
            ttft_ms=round((line.first - line.began) * 1e3, 2) if line.first else None,
            ms=round((now - line.began) * 1e3, 2),
            tokens_in=read,
            tokens_out=wrote,
            tokens_per_s=round((wrote - 1) / after_first, 1) if wrote > 1 and after_first > 0 else None,
            cost=round(price.of(read, wrote), 9),
            counted=how,
            finish=finish,
        )


class _Batch:
    """The Asks that a recipe yielded at once."""

    def __init__(self, driver: Driver, asks: Sequence[Ask], control: Control) -> None:
        self._driver, self._asks, self._control = driver, asks, control
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.replies: list[Reply] = []
        self.thrown: Exception | None = None

    async def events(self) -> AsyncGenerator[Event, None]:
        """Every event of every Ask as it happens; at the end `replies` or `thrown` is set. Raises Halted on stop."""
        work = asyncio.create_task(self._work())
        halts: list[asyncio.Task[Any]] = [asyncio.create_task(self._control.stop.wait()), asyncio.create_task(self._keep_wanted())]
        watch = asyncio.create_task(self._cancel_on(halts, work))
        try:
            while (event := await self._queue.get()) is not None:
                yield event
            await self._settle(work)
        finally:
            for task in (work, watch, *halts):
                task.cancel()
            await asyncio.gather(work, watch, *halts, return_exceptions=True)

    async def _settle(self, work: asyncio.Task[list[Reply]]) -> None:
        """Read the end of the work: replies, a failure to throw into the recipe, or the user's decision."""
        try:
            self.replies = await work
        except BackendError as error:
            self.thrown = error
        except asyncio.CancelledError:
            if self._control.stop.is_set():
                raise Halted from None
            if not self._control.keep.is_set():
                raise
            self.thrown = Kept()

    async def _keep_wanted(self) -> None:
        """Ends when the user keeps the draft while it is being refined; never for a first draft."""
        if not any(ask.role == "refine" for ask in self._asks):
            await asyncio.Event().wait()
        await self._control.keep.wait()

    @staticmethod
    async def _cancel_on(halts: list[asyncio.Task[Any]], work: asyncio.Task[list[Reply]]) -> None:
        await asyncio.wait(halts, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()

    async def _work(self) -> list[Reply]:
        """All Asks side by side; the first failure ends the others."""
        tasks = [asyncio.create_task(self._driver.step(ask, self._line(ask), self._queue.put_nowait)) for ask in self._asks]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._queue.put_nowait(None)

    @staticmethod
    def _line(ask: Ask) -> Line:
        return Line(ask, ask.route.model, ask.route.candidates[0].backend)
