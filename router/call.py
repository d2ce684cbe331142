"""One request along a route: deadlines, the queue, fallback before the first token, cool-down. Knows no recipe.

Fallback is sideways: a call that was made failed before its first token, and the next candidate takes it. After the
first token nothing restarts; the error goes up.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from base.errors import BackendError, Limited, Resting, RoutingError, TimedOut, Unfit
from router.backends import Backend, Backends, Delta, Messages, Params
from router.catalog import Catalog, Entry
from router.choose import Route
from router.health import Health

PATIENCE_S = 3.0
"""A server that asks to wait no longer than this is waited for and asked once more, when no other model is next."""
RULER = re.compile(r"[\s\-=_*#|.:+~]*")
LOOP = (16, 240)
"""Lengths, in characters, of what a starter may not say three times over: the smallest models fall into loops."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Why there is no token yet."""

    phase: Literal["queued", "loading", "reading"]
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text."""

    text: str


@dataclass(frozen=True, slots=True)
class Fell:
    """`model` failed before its first token; `to` takes the request."""

    model: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """Who answered, how it ended, and the provider's token counts if it gave any."""

    model: str
    finish: str
    tokens: tuple[int, int] | None


Sign = Phase | Piece | Fell | Done
Prompt = Callable[[Entry], Messages]
"""The messages for one model: each has its own system prompt."""


async def run(route: Route, prompt: Prompt, catalog: Catalog, backends: Backends, health: Health) -> AsyncGenerator[Sign, None]:
    """Ask the candidates in order until one answers. Raises the last one's BackendError."""
    names = [candidate.model for candidate in route.candidates]
    for name, then in zip(names, [*names[1:], ""], strict=True):
        shown = False
        try:
            if resting := health.admit(name):
                raise Resting(f"{name} is left alone: {resting}.", "Try again in a few seconds.")
            async with aclosing(_judged(catalog.models[name], prompt, catalog, backends, health, last=not then)) as signs:
                async for sign in signs:
                    shown = shown or isinstance(sign, Piece)
                    yield sign
            return
        except BackendError as error:
            if shown or not then:
                raise
            yield Fell(name, then, error.what)
    raise RoutingError("The route has no candidates.")


async def _judged(
    entry: Entry, prompt: Prompt, catalog: Catalog, backends: Backends, health: Health, last: bool
) -> AsyncGenerator[Sign, None]:
    """One model, and what its answer or its failure says of its health."""
    verdict = False
    try:
        async with aclosing(_patient(entry, prompt, catalog, backends, last)) as signs:
            async for sign in signs:
                yield sign
        verdict = True
        health.answered(entry.name)
    except BackendError as error:
        verdict = True
        health.failed(entry.name, error)
        raise
    finally:
        if not verdict:
            health.given_up(entry.name)


async def _patient(entry: Entry, prompt: Prompt, catalog: Catalog, backends: Backends, last: bool) -> AsyncGenerator[Sign, None]:
    """One model, asked once more when it only wanted a moment, had said nothing, and nobody else is next."""
    shown = False
    try:
        async with aclosing(_attempt(entry, prompt, catalog, backends)) as signs:
            async for sign in signs:
                shown = shown or isinstance(sign, Piece)
                yield sign
        return
    except Limited as error:
        if shown or not last or not 0 < error.retry_after <= PATIENCE_S:
            raise
        yield Phase("queued")
        await asyncio.sleep(error.retry_after)
    async with aclosing(_attempt(entry, prompt, catalog, backends)) as signs:
        async for sign in signs:
            yield sign


async def _attempt(entry: Entry, prompt: Prompt, catalog: Catalog, backends: Backends) -> AsyncGenerator[Sign, None]:
    """One model: its queue, its weights, its stream under its deadlines."""
    backend, queue = backends.of(catalog, entry), backends.queue(entry)
    if queue.ahead:
        yield Phase("queued", queue.ahead)
    async with queue.place():
        if not backend.is_loaded(entry):
            yield Phase("loading")
            await backend.load(entry)
        yield Phase("reading")
        messages = prompt(entry)
        params = await _params(entry, backend, messages)
        tokens: tuple[int, int] | None = None
        finish, tail = "", ""
        async with aclosing(_timed(backend.stream(entry, messages, params), entry)) as deltas:
            async for delta in deltas:
                if delta.text:
                    yield Piece(delta.text)
                finish = delta.finish or finish
                tokens = delta.tokens or tokens
                tail = (tail + delta.text)[-3 * LOOP[1] :]
                if entry.starter and delta.text and loops(tail):
                    finish = "repeats"
                    break
        yield Done(entry.name, finish, tokens)


def loops(tail: str) -> bool:
    """Whether a text ends in the same words three times over; a ruler of equal signs is no loop. ~20 µs."""
    return any(
        tail[-length:] == tail[-2 * length : -length] == tail[-3 * length : -2 * length] and not RULER.fullmatch(tail[-length:])
        for length in range(LOOP[0], min(LOOP[1], len(tail) // 3) + 1)
    )


async def _params(entry: Entry, backend: Backend, messages: Messages) -> Params:
    """How much may be written: the model's own limit, or what its context leaves."""
    count = await backend.count(entry, messages)
    room = entry.context - (count if count is not None else sum(estimate(m["content"]) for m in messages)) - 8
    if room < 16 and count is not None:
        raise Unfit(
            f"{entry.name} reads {entry.context:,} tokens, and this conversation has {count:,}.",
            "Shorten the message, or start a new chat.",
        )
    limits = entry.limits
    most = max(16, min(entry.max_output, room))
    return Params(most, entry.temperature, connect_s=limits.connect_s, total_s=limits.total_s)


async def _timed(stream: AsyncIterator[Delta], entry: Entry) -> AsyncGenerator[Delta, None]:
    """The stream under the model's deadlines. Raises TimedOut that says which one passed."""
    limits, ends, first = entry.limits, time.monotonic() + entry.limits.total_s, True
    try:
        while True:
            allowance = limits.first_token_s if first else limits.between_s
            left = min(allowance, ends - time.monotonic())
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    delta = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TimedOut(
                    f"{entry.name} {_late(first, left < allowance, limits.total_s, allowance)}.", "Try again, or choose another model."
                ) from None
            first = first and not delta.text
            yield delta
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _late(first: bool, total: bool, total_s: float, allowance: float) -> str:
    if total:
        return f"was not done after {total_s:g} s"
    return f"gave no first token within {allowance:g} s" if first else f"fell silent for {allowance:g} s in the middle of its answer"


def estimate(text: str) -> int:
    """Tokens when nobody can count: about 3.6 characters each in English prose and code."""
    return int(len(text) / 3.6) + 1
