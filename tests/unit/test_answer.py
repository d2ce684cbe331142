"""The conductor and its driver, once, against the shipped fake: the stream's contract, fallback, escalation, stop, keep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agents.answer import Conductor
from agents.events import (
    Answered,
    Checked,
    Escalated,
    Event,
    Failed,
    FellBack,
    Grounded,
    IntentFound,
    Message,
    Promoted,
    RouteChosen,
    StepDone,
    StepStarted,
    Stopped,
    Token,
    Turn,
    Waiting,
    plain,
)
from agents.routing import Router
from base.settings import load_settings
from rag.retrieve import Found, Passage
from router.backends import Backends
from router.catalog import CatalogFile, Entry
from router.fake import FakeTransport, parse_script
from router.intents import load_rules


class NoRuntime:
    """A machine with no model of its own: the fake takes every place."""

    def folder(self, entry: Entry) -> Path | None:
        return None


class EmptyShelf:
    """A library with nothing in it."""

    async def search(self, query: str, scopes: tuple[str, ...], floor: float, limit: int) -> Found:
        return Found((), 0.1, 0.0, 0)

    async def opening(self, documents: tuple[str, ...], limit: int, scopes: tuple[str, ...]) -> tuple[Passage, ...]:
        return ()

    async def likeness(self, texts: Sequence[str], ids: Sequence[str], scopes: Sequence[str]) -> list[list[tuple[float, int]]]:
        return []


class Desk:
    """A conductor on a script, and what it was asked."""

    def __init__(self, script: str, catalog: str = "") -> None:
        self.fake = FakeTransport(parse_script(script))
        settings = load_settings({"RELAY_HOME": "/nonexistent"})
        runtime: Any = NoRuntime()
        self.router = Router(settings, CatalogFile(settings.home, catalog), load_rules(), Backends(runtime, self.fake))
        self.conductor = Conductor(settings, self.router, EmptyShelf())

    async def events(self, turn: Turn, react: Callable[[Event, Turn], None] = lambda _e, _t: None) -> list[Event]:
        seen: list[Event] = []
        stream: AsyncIterator[Event] = self.conductor.answer(turn)
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                seen.append(event)
                react(event, turn)
        await self.router.backends.close()
        return seen


T = TypeVar("T")


def only(kind: type[T], events: list[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


LONG = "word " * 130


async def test_the_streams_contract_on_a_refined_answer() -> None:
    desk = Desk(f"replies:\n  - {{when: 'Draft:', say: 'Refined.'}}\n  - {{say: '{LONG}'}}")
    events = await desk.events(Turn("Tell me everything"))
    kinds = [type(event) for event in events if not isinstance(event, Token | Waiting)]
    assert kinds == [IntentFound, RouteChosen, Grounded, StepStarted, StepDone, Escalated, StepStarted, StepDone, Answered]
    assert "".join(t.text for t in only(Token, events) if t.final) == "Refined."
    up = only(Escalated, events)[0]
    assert (up.model, up.to) == ("phi-4-mini", "gpt-oss-20b") and "long" in up.reasons[0]
    steps, totals = only(StepDone, events), only(Answered, events)[0].totals
    assert totals.tokens_in == sum(s.tokens_in for s in steps) and totals.tokens_out == sum(s.tokens_out for s in steps)
    assert totals.cost == sum(s.cost for s in steps) > 0 and totals.models == ("phi-4-mini", "gpt-oss-20b")
    promised = {"type", "step", "role", "model", "backend", "ttft_ms", "ms", "tokens_in", "tokens_out", "tokens_per_s", "cost", "counted"}
    assert promised <= set(plain(steps[0])) and steps[0].counted == "provider"


async def test_a_failure_before_the_first_token_falls_back_sideways_and_the_failed_model_rests() -> None:
    desk = Desk("replies:\n  - {model: phi, fail: refused}\n  - {say: 'Hello from {text}'}")
    events = await desk.events(Turn("here"))
    fell = only(FellBack, events)[0]
    assert (fell.model, fell.to) == ("phi-4-mini", "smollm2-starter") and "cannot be reached" in fell.reason
    assert only(StepDone, events)[0].model == "smollm2-starter" and not only(Escalated, events)
    route = only(RouteChosen, await desk.events(Turn("again")))[0].route
    assert route.passed_over[0].model == "phi-4-mini" and "cooling down" in route.passed_over[0].reason


@pytest.mark.parametrize("fault", ["cut", "html", "500", "401", "404", "400", "429", "refused"])
async def test_when_every_model_fails_the_answer_is_one_sentence_and_no_success(fault: str) -> None:
    events = await Desk(f"replies:\n  - {{fail: '{fault}', say: 'one two three four'}}").events(Turn("Hi"))
    last = events[-1]
    assert isinstance(last, Failed) and last.error.endswith(".") and last.remedy
    assert len(only(Failed, events)) == 1 and not only(Answered, events)
    assert last.totals.steps == len(only(StepDone, events)) == 1 and only(StepDone, events)[0].finish == "error"
    assert (last.text == "one two ") == (fault == "cut"), "what had been written is kept"
    assert bool(only(FellBack, events)) == (fault != "cut"), "after a token nothing restarts"


async def test_stop_in_the_middle_keeps_what_was_written() -> None:
    def stop(event: Event, turn: Turn) -> None:
        if isinstance(event, Token):
            turn.control.stop.set()

    events = await Desk("replies:\n  - {say: 'a b c d e f', token_s: 0.05}").events(Turn("Hi"), stop)
    last = events[-1]
    assert isinstance(last, Stopped) and last.text.startswith("a ") and "f" not in last.text
    assert only(StepDone, events)[0].finish == "cancelled" and last.totals.steps == 1


async def test_stop_is_heard_while_a_model_is_silent() -> None:
    def stop(event: Event, turn: Turn) -> None:
        if isinstance(event, Waiting):
            turn.control.stop.set()

    async with asyncio.timeout(2):
        events = await Desk("replies:\n  - {fail: silent}").events(Turn("Hi"), stop)
    assert isinstance(events[-1], Stopped)


async def test_keeping_the_draft_stops_the_refinement() -> None:
    def keep(event: Event, turn: Turn) -> None:
        if isinstance(event, Token) and event.final:
            turn.control.keep.set()

    desk = Desk("replies:\n  - {when: 'Draft:', say: 'r e f i n e d', token_s: 0.05}\n  - {say: 'The draft.'}")
    events = await desk.events(Turn("Is this a security problem?"), keep)
    promoted, last = only(Promoted, events)[0], events[-1]
    assert promoted.kept == "You kept the draft." and isinstance(last, Answered)
    assert last.text == "The draft." and last.totals.steps == 2 and last.model == "phi-4-mini"


async def test_a_failing_refinement_leaves_the_draft_and_says_why() -> None:
    desk = Desk("replies:\n  - {when: 'Draft:', fail: '500'}\n  - {say: 'The draft.'}")
    events = await desk.events(Turn("Is this a security problem?"))
    assert isinstance(events[-1], Answered) and events[-1].text == "The draft."
    assert "the draft stands" in only(Promoted, events)[0].kept


async def test_docs_only_with_nothing_found_asks_no_model() -> None:
    desk = Desk("replies:\n  - {say: 'never'}")
    events = await desk.events(Turn("What is love?", knowledge="docs"))
    assert [type(event) for event in events] == [IntentFound, RouteChosen, Grounded, Answered]
    assert isinstance(events[-1], Answered) and events[-1].text == "The documents do not say." and not desk.fake.seen


@pytest.mark.parametrize(
    ("effort", "model", "roles"),
    [("draft", "auto", ["answer"]), ("refine", "auto", ["draft", "refine"]), ("auto", "gpt-oss-20b", ["answer"])],
)
async def test_effort_and_a_pinned_model_choose_the_recipe(effort: Any, model: str, roles: list[str]) -> None:
    events = await Desk("replies:\n  - {say: 'ok'}").events(Turn("Hi", effort=effort, model=model))
    assert [step.role for step in only(StepDone, events)] == roles


async def test_closing_the_stream_early_leaves_no_task_behind() -> None:
    desk = Desk("replies:\n  - {say: 'a b c d', token_s: 0.2}")
    before = asyncio.all_tasks()
    stream: Any = desk.conductor.answer(Turn("Hi"))
    async for event in stream:
        if isinstance(event, Token):
            break
    await stream.aclose()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert not desk.router.backends.queue(desk.router.current().models["phi-4-mini"]).ahead, "its place in the queue is free"


async def test_an_unknown_pinned_model_is_a_clear_failure() -> None:
    last = (await Desk("replies: []").events(Turn("Hi", model="gpt-99")))[-1]
    assert isinstance(last, Failed) and "gpt-99" in last.error and "phi-4-mini" in last.remedy


async def test_old_history_is_dropped_from_its_start_and_begins_with_a_question() -> None:
    desk = Desk("replies:\n  - {say: 'ok'}")
    old = tuple(Message("user" if i % 2 == 0 else "assistant", f"m{i} " + "x" * 20_000 * (i < 8)) for i in range(12))
    await desk.events(Turn("now", history=old))
    sent = [m["content"].split()[0] for m in desk.fake.seen[0]["messages"]]
    assert sent[-5:] == ["m8", "m9", "m10", "m11", "now"] and sent[1] in ("m6", "m8")


async def test_stop_before_the_refinement_speaks_keeps_the_draft() -> None:
    def stop(event: Event, turn: Turn) -> None:
        if isinstance(event, StepStarted) and event.role == "refine":
            turn.control.stop.set()

    desk = Desk("replies:\n  - {when: 'Draft:', fail: silent}\n  - {say: 'The draft.'}")
    last = (await desk.events(Turn("Is this a security problem?"), stop))[-1]
    assert isinstance(last, Stopped) and last.text == "The draft."


async def test_figures_do_not_depend_on_how_fast_somebody_reads() -> None:
    desk = Desk("replies:\n  - {say: 'a b c d e f g h', first_s: 0.05, token_s: 0.005}")
    events, stream = list[Event](), desk.conductor.answer(Turn("Hi"))
    async for event in stream:
        events.append(event)
        await asyncio.sleep(0.1)
    totals, step = only(Answered, events)[0].totals, only(StepDone, events)[0]
    assert step.ttft_ms and totals.ttft_ms == pytest.approx(step.start_ms + step.ttft_ms, abs=0.02)
    assert totals.ttft_ms < totals.ms / 2


async def test_an_empty_answer_has_no_first_token() -> None:
    events = await Desk("replies:\n  - {say: ''}").events(Turn("Hi", effort="draft"))
    assert only(StepDone, events)[0].ttft_ms is None and only(StepDone, events)[0].tokens_out == 0


class OneDocument(EmptyShelf):
    """A library whose one passage is larger than any prompt."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def search(self, query: str, scopes: tuple[str, ...], floor: float, limit: int) -> Found:
        self.asked.append(scopes)
        passage = Passage("1", "Big", "d", "", None, None, "many words " * 900, 0, 9_900, dense=0.8, sentence=0.8)
        return Found((passage,), 0.8, 0.0, 1)


async def test_a_passage_too_large_for_the_prompt_is_cut_and_never_denied() -> None:
    desk, shelf = Desk("replies:\n  - {say: 'many words many words'}"), OneDocument()
    desk.conductor = Conductor(load_settings({"RELAY_HOME": "/nonexistent"}), desk.router, shelf)
    events = await desk.events(Turn("many words?", knowledge="docs"))
    kept = only(Grounded, events)[0].passages[0]
    assert 500 < len(kept.text) < 9_900 and kept.end - kept.start == len(kept.text)
    assert only(Answered, events)[0].text == "many words many words"


async def test_what_came_with_the_message_is_searched_alone() -> None:
    desk, shelf = Desk("replies:\n  - {say: 'ok'}"), OneDocument()
    desk.conductor = Conductor(load_settings({"RELAY_HOME": "/nonexistent"}), desk.router, shelf)
    await desk.events(Turn("many words?", scopes=("shared", "chat:1"), attached=("d",)))
    await desk.events(Turn("many words?", scopes=("shared", "chat:1")))
    assert shelf.asked == [("chat:1",), ("shared", "chat:1", "demo")]


LEAVE = "Every employee has 25 days of annual leave. Leave that is not used by the end of March lapses."
TRAVEL = "Taxi receipts are needed above 75 dollars. Your supervisor approves each trip before it is booked."


class Handbook(EmptyShelf):
    """Two passages, and what was searched for."""

    def __init__(self, sentence: float = 0.7) -> None:
        self.queries: list[str] = []
        self.sentence = sentence

    async def search(self, query: str, scopes: tuple[str, ...], floor: float, limit: int) -> Found:
        self.queries.append(query)
        texts = (LEAVE, TRAVEL)
        scores = (1.0, 0.8, 1.0, self.sentence)
        found = tuple(Passage(str(n), "Handbook", "d", "", None, None, text, 0, len(text), *scores) for n, text in enumerate(texts))
        return Found(found, 0.9, 1.0, 2)


def handbook(script: str, sentence: float = 0.7, **settings: str) -> tuple[Desk, Handbook]:
    desk, shelf = Desk(script), Handbook(sentence)
    environ = {"RELAY_HOME": "/nonexistent", **{f"RELAY_{name.upper()}": value for name, value in settings.items()}}
    desk.conductor = Conductor(load_settings(environ), desk.router, shelf)
    return desk, shelf


async def test_a_follow_up_is_made_whole_before_it_is_searched_for() -> None:
    desk, shelf = handbook("replies:\n  - {say: 'You have 25 days of annual leave.'}")
    said = (Message("user", "How many days of annual leave do I have?"), Message("assistant", "25 days."))
    events = await desk.events(Turn("And for part-timers?", history=said))
    assert shelf.queries == ["How many days of annual leave do I have, and for part-timers?"] == [only(Grounded, events)[0].asked]
    assert desk.fake.seen[0]["messages"][-1]["content"].endswith("Question: And for part-timers?"), "the model has the conversation itself"
    await desk.events(Turn("Who approves a trip abroad?", history=said))
    await desk.events(Turn("Thanks!", history=said))
    assert shelf.queries[1:] == ["Who approves a trip abroad?", "Thanks!"]


async def test_an_answer_tells_how_much_of_it_the_documents_carry() -> None:
    desk, _ = handbook("replies:\n  - {say: 'Every employee has 25 days of annual leave [1]. Cats are allowed at work on Fridays.'}")
    last = (await desk.events(Turn("How many days of annual leave do I have?", effort="draft")))[-1]
    assert isinstance(last, Answered) and last.grounding is not None and last.grounding.share == 0.5 and not last.refused
    assert [last.text[c.start : c.end] for c in last.grounding.claims if not c.n] == ["Cats are allowed at work on Fridays."]
    assert [(c.n, c.quote) for c in last.citations] == [(1, "Every employee has 25 days of annual leave.")]


@pytest.mark.parametrize("effort", ["draft", "auto", "refine"])
async def test_where_only_documents_may_answer_what_they_do_not_carry_is_not_the_answer(effort: Any) -> None:
    desk, _ = handbook("replies:\n  - {say: 'Cats are allowed at work on Fridays.'}", check="off")
    events = await desk.events(Turn("How many days of annual leave do I have?", knowledge="docs", effort=effort))
    last = events[-1]
    assert isinstance(last, Answered) and last.refused == "support" and "Cats" not in last.text
    assert last.text.startswith("I have no answer") and "> Every employee has 25 days of annual leave. [1]" in last.text
    assert [(c.n, c.by) for c in last.nearest] == [(1, "nearest"), (2, "nearest")] and last.nearest[0].quote.startswith("Every employee")
    assert not only(Promoted, events) and not any(token.final for token in only(Token, events)), "nobody took it for final"
    # The same words are an answer where the model may speak for itself.
    free = (await desk.events(Turn("How many days of annual leave do I have?", effort=effort)))[-1]
    assert isinstance(free, Answered) and free.text.startswith("Cats") and free.grounding is not None and free.grounding.share == 0


async def test_a_carried_answer_from_documents_only_is_promoted() -> None:
    desk, _ = handbook("replies:\n  - {say: 'Every employee has 25 days of annual leave.'}", check="off")
    for effort in ("draft", "refine"):
        events = await desk.events(Turn("How many days of leave?", knowledge="docs", effort=effort))  # type: ignore[arg-type]
        assert [type(event) for event in events[-2:]] == [Promoted, Answered]
        assert isinstance(events[-1], Answered) and events[-1].text == only(Promoted, events)[0].text and not events[-1].refused


async def test_a_model_that_says_it_does_not_know_is_a_refusal() -> None:
    desk, _ = handbook("replies:\n  - {say: 'The documents do not say.'}", check="off")
    last = (await desk.events(Turn("May I bring a cat?", knowledge="docs")))[-1]
    assert isinstance(last, Answered) and last.refused == "model" and last.nearest


CHECK = "replies:\n  - {when: 'or write: none', say: '%s'}\n  - {say: 'Every employee has 25 days of annual leave.'}"


@pytest.mark.parametrize(
    ("quote", "enough"),
    [
        ('"Every employee has 25 days of annual leave."', True),
        ("[1] Every employee has 25 days of annual leave", True),
        ("none", False),
        ("Every employee has 30 days of annual leave.", False),
        ("", False),
    ],
)
async def test_a_quote_is_asked_for_and_looked_up_before_documents_alone_may_answer(quote: str, enough: bool) -> None:
    desk, _ = handbook(CHECK % quote)
    events = await desk.events(Turn("How many days of leave do I have?", knowledge="docs"))
    checked, last, steps = only(Checked, events)[0], events[-1], only(StepDone, events)
    assert checked.enough == enough and steps[0].role == "check" and not [t for t in only(Token, events) if t.step == steps[0].step]
    assert isinstance(last, Answered) and last.refused == ("" if enough else "check") and bool(last.nearest) != enough
    assert last.totals.steps == len(steps) == (2 if enough else 1) and last.totals.tokens_out == sum(s.tokens_out for s in steps)


async def test_a_check_that_fails_decides_nothing_and_stop_is_heard_in_it() -> None:
    carried = "{say: 'Every employee has 25 days of annual leave.'}"
    desk, _ = handbook(f"replies:\n  - {{when: 'or write: none', fail: '500'}}\n  - {carried}")
    events = await desk.events(Turn("How many days of leave do I have?", knowledge="docs"))
    assert not only(Checked, events) and isinstance(events[-1], Answered) and not events[-1].refused

    def stop(event: Event, turn: Turn) -> None:
        if isinstance(event, StepStarted):
            turn.control.stop.set()

    desk, _ = handbook("replies:\n  - {when: 'or write: none', fail: silent}")
    assert isinstance((await desk.events(Turn("How many days of leave?", knowledge="docs"), stop))[-1], Stopped)


async def test_passages_without_a_close_sentence_are_not_enough() -> None:
    desk, _ = handbook("replies:\n  - {say: 'never'}", sentence=0.1)
    last = (await desk.events(Turn("How many days of leave do I have?", knowledge="docs")))[-1]
    assert isinstance(last, Answered) and last.refused == "check" and last.nearest and not desk.fake.seen


ONE = """
places: {foundry: {kind: foundry}}
models:
  only: {place: foundry, capabilities: [general], priority: 1, size_gb: 1, context: 4096, licence: MIT}
"""


def alone(tmp_path: Path, script: str) -> Desk:
    """A desk with a single model."""
    (tmp_path / "one.yaml").write_text(ONE)
    return Desk(script, str(tmp_path / "one.yaml"))


async def test_a_single_model_that_rests_is_tried_by_one_message_at_a_time(tmp_path: Path) -> None:
    desk = alone(tmp_path, "replies:\n  - {fail: '500', times: 1}\n  - {say: 'Here I am.', first_s: 0.3}")

    async def end() -> Event:
        stream: Any = desk.conductor.answer(Turn("Hi"))
        return [event async for event in stream][-1]

    assert isinstance(await end(), Failed)
    ends = await asyncio.gather(end(), end())
    assert sorted(type(one).__name__ for one in ends) == ["Answered", "Failed"]
    failed = next(one for one in ends if isinstance(one, Failed))
    assert "another message is trying it again" in failed.error and failed.kind == "Resting"
    assert isinstance(await end(), Answered)
    await desk.router.backends.close()


async def test_a_server_that_wants_a_moment_gets_it_when_nobody_else_is_next(tmp_path: Path) -> None:
    desk = alone(tmp_path, "replies:\n  - {fail: '429', times: 1, retry_after: 0.2}\n  - {say: ok}")
    began = time.monotonic()
    events = await desk.events(Turn("Hi"))
    assert isinstance(events[-1], Answered) and len(desk.fake.seen) == 2 and time.monotonic() - began >= 0.2
    desk = alone(tmp_path, "replies:\n  - {fail: '429', retry_after: 60}")
    last = (await desk.events(Turn("Hi")))[-1]
    assert isinstance(last, Failed) and last.kind == "Limited" and last.remedy == "Try again in 60 s." and len(desk.fake.seen) == 1
