"""One answer on the page: a stream of events becomes steps and a bubble of text. Knows Chainlit's steps and messages, decides nothing.

The page shows steps in the order in which they are sent, and the bubble stands below them from the first moment. So
the places of the steps are sent ahead without a name (relay.css hides them), and take their name when their event comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import chainlit as cl
from chainlit.utils import utc_now

from agents.events import (
    Answered,
    Checked,
    Escalated,
    Event,
    Failed,
    FellBack,
    Grounded,
    IntentFound,
    Promoted,
    RouteChosen,
    StepDone,
    StepStarted,
    Stopped,
    Token,
    Totals,
    Waiting,
)
from ui import citations, steps
from ui.marks import marked

ELEMENT = "RelayAnswer"
DRAFT_EVERY, FINAL_EVERY = 0.1, 0.05
"""Seconds between two sends: the browser is slower than any model."""


class Batch:
    """Gathers tokens: the first goes at once, the next ones every so often, the rest on `flush`."""

    def __init__(self, send: Callable[[str], Awaitable[None]], every: float) -> None:
        self._send, self._every = send, every
        self._text = ""
        self._timer: asyncio.Task[None] | None = None

    async def add(self, text: str) -> None:
        """Take some text."""
        self._text += text
        if self._timer is None:
            await self._emit()
            self._timer = asyncio.create_task(self._tick())

    async def flush(self) -> None:
        """Send what is left, and rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._emit()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            if not self._text:
                self._timer = None
                return
            await self._emit()

    async def _emit(self) -> None:
        text, self._text = self._text, ""
        if text:
            await self._send(text)


class Bubble:
    """The answer's message, and the element below it: status with a clock, notes, citations, footer."""

    def __init__(self, turn: str) -> None:
        self.message = cl.Message(content="")
        self.props: dict[str, Any] = {"turn": turn, "state": "waiting", "notes": [], "citations": [], "footer": [], "keep": False}
        # With an address of its own the element is not written to disk for every update.
        self.element = cl.CustomElement(name=ELEMENT, props=self.props, display="inline", url=f"/public/elements/{ELEMENT}.jsx")
        elements: list[Any] = [self.element]
        self.message.elements = elements
        self._shown = ""
        self._fresh = True
        self._began = time.monotonic()
        self._clock = 0
        self._batch = Batch(self._stream, FINAL_EVERY)

    async def send(self, status: str) -> None:
        """Put it on the page."""
        self.props["status"] = status
        self._set_clock()
        await self.message.send()

    async def show(self, **props: Any) -> None:
        """Change what the element below shows."""
        self.props.update(props)
        self._set_clock()
        self.element.props = self.props
        await self.element.send(for_id=self.message.id)

    def restart_clock(self) -> None:
        """Count from now: a new phase began."""
        self._began = time.monotonic()
        self._clock += 1

    def _set_clock(self) -> None:
        # The page ticks by itself; it learns how old the phase is, not what time it is here.
        self.props["clock"] = f"{self.message.id}:{self._clock}"
        self.props["elapsed_ms"] = round((time.monotonic() - self._began) * 1e3)

    def begin(self, every: float) -> None:
        """The next text takes the place of the shown one."""
        self._fresh = True
        self._batch = Batch(self._stream, every)

    async def write(self, text: str) -> None:
        """Some text of the answer or the draft."""
        await self._batch.add(text)

    async def _stream(self, text: str) -> None:
        fresh, self._fresh = self._fresh, False
        await self.message.stream_token(text, is_sequence=fresh)

    async def settle(self, text: str | None = None) -> None:
        """End the stream, with `text` in place of what was streamed."""
        await self._batch.flush()
        if text is not None:
            self.message.content = text
        self.message.streaming = False
        await self.message.update()

    async def remove(self) -> None:
        """Take it off the page."""
        await self.message.remove()
        await self.element.remove()


class Painter:
    """Paints the events of one turn."""

    def __init__(self, turn: str, asked: str = "") -> None:
        self.turn, self.asked = turn, asked
        self.bubble = Bubble(turn)
        self.answered: Answered | None = None
        self.grounded: Grounded | None = None
        self.text = ""
        """What stands in the bubble: the answer, or what there is of it."""
        self._found: IntentFound | None = None
        self._free: list[cl.Step] = []
        self._route = self._place("waypoints", "Route")
        self._retrieve = self._place("text-search")
        self._steps: dict[str, cl.Step] = {}
        self._started: dict[str, StepStarted] = {}
        self._fell: dict[str, list[FellBack]] = {}
        self._why: dict[str, Escalated] = {}
        self._drafts: dict[str, str] = {}
        self._writing = ""
        self._done: list[StepDone] = []

    def _place(self, icon: str, name: str = "") -> cl.Step:
        # Beside the bubble, in the run that Chainlit made for this message.
        return cl.Step(name=name, type="tool", icon=icon, parent_id=self.bubble.message.parent_id)

    async def open(self, status: str) -> None:
        """Show that the message was taken, before anything is known."""
        self._free = [self._place("pencil-line") for _ in range(3)]
        self._route.start = utc_now()
        for step in (self._route, self._retrieve, *self._free):
            await step.send()
        await self.bubble.send(status)

    async def paint(self, event: Event) -> None:
        """Show one event."""
        painter: Callable[[Any], Awaitable[None]] = getattr(self, f"_paint_{type(event).__name__.lower()}")
        await painter(event)

    async def _paint_intentfound(self, event: IntentFound) -> None:
        self._found = event

    async def _paint_routechosen(self, event: RouteChosen) -> None:
        assert self._found is not None, "an intent comes before its route"
        await _finish(self._route, steps.route_name(self._found, event), steps.route_body(self._found, event))
        await self.bubble.show(status=f"Calling {event.route.model}")

    async def _paint_grounded(self, event: Grounded) -> None:
        self.grounded = event
        await _finish(self._retrieve, steps.retrieve_name(event), steps.retrieve_body(event))
        if event.asked.strip() != self.asked.strip():
            await self._note("whole", f"Searched for “{event.asked}”")

    async def _paint_checked(self, event: Checked) -> None:
        step = next(self._steps[done.step] for done in reversed(self._done) if done.role == "check")
        await _finish(step, f"{step.name} · {'enough' if event.enough else 'not enough'}", f"{steps.checked_text(event)}\n\n{step.output}")

    async def _paint_stepstarted(self, event: StepStarted) -> None:
        self._started[event.step] = event
        step = self._free.pop(0) if self._free else self._place("play")
        self._steps[event.step] = step
        step.name, step.icon, step.start = steps.running_name(event.role, event.model), steps.ICONS.get(event.role, "play"), utc_now()
        await step.update()
        what = "looks for a quote that answers" if event.role == "check" else "reads the question"
        await self.bubble.show(status=f"{event.model} {what}", keep=event.role == "refine")

    async def _paint_waiting(self, event: Waiting) -> None:
        await self.bubble.show(status=steps.waiting_text(event, self._started[event.step].model))

    async def _paint_token(self, event: Token) -> None:
        if not event.final:
            self._drafts[event.step] = self._drafts.get(event.step, "") + event.text
        if self._writing != event.step:
            await self._new_writer(event)
        self.text += event.text
        await self.bubble.write(event.text)

    async def _new_writer(self, event: Token) -> None:
        """The first token of a step: it takes the bubble over."""
        self._writing, self.text = event.step, ""
        self.bubble.begin(FINAL_EVERY if event.final else DRAFT_EVERY)
        model = self._started[event.step].model
        if event.final:
            await self.bubble.show(state="answer", status=f"{model} writes")
        else:
            verb = "refines" if self._started[event.step].role == "refine" else "drafts"
            await self.bubble.show(state="draft", status=f"{model} {verb}")

    async def _paint_stepdone(self, event: StepDone) -> None:
        self._done.append(event)
        fell, draft = self._fell.get(event.step, []), self._drafts.get(event.step, "")
        step = self._steps[event.step]
        step.is_error = event.finish == "error"
        await _finish(step, steps.done_name(event, fell), steps.done_body(event, fell, self._why.get(event.step), draft))

    async def _paint_fellback(self, event: FellBack) -> None:
        self._fell.setdefault(event.step, []).append(event)
        started = self._started[event.step]
        self._started[event.step] = StepStarted(event.step, started.role, event.to, started.backend)
        step = self._steps[event.step]
        step.name = f"{steps.running_name(started.role, event.model)} ⇄ {event.to}"
        await step.update()
        await self._note("fallback", steps.fallback_text(event), status=f"{event.to} reads the question")

    async def _paint_escalated(self, event: Escalated) -> None:
        self._why[event.step] = event
        await self.bubble.settle()
        self.bubble.restart_clock()
        await self._note("escalation", steps.escalation_text(event), state="refining", status=f"{event.to} takes the draft", keep=True)

    async def _note(self, kind: str, text: str, **props: Any) -> None:
        await self.bubble.show(notes=[*self.bubble.props["notes"], {"kind": kind, "text": text}], **props)

    async def _paint_promoted(self, event: Promoted) -> None:
        self.text = event.text
        await self.bubble.settle(event.text)
        if event.kept:
            await self._note("kept", event.kept, state="answer", keep=False)

    async def _paint_answered(self, event: Answered) -> None:
        self.answered, self.text = event, event.text
        text = marked(event.text, event.grounding) if not event.refused else event.text
        await self.bubble.settle(citations.linked(text, event.citations or event.nearest, self.turn))
        if event.notice:
            await self._note("notice", event.notice)
        chips = citations.chips(event.citations or event.nearest)
        carried = None if event.refused else steps.carried(event.grounding)
        await self._close("done", event.totals, citations=chips, carried=carried, refused=event.refused)

    async def _paint_stopped(self, event: Stopped) -> None:
        await self.stopped(event.totals)

    async def _paint_failed(self, event: Failed) -> None:
        await self.failed(f"{event.error} {event.remedy}".strip(), event.totals)

    async def stopped(self, totals: Totals | None = None) -> None:
        """Leave what was written as it is, and say that it was stopped."""
        await self.bubble.settle()
        await self._note("stopped", "Stopped." if self.text else "Stopped before the first word.")
        await self._close("stopped", totals)

    async def failed(self, sentence: str, totals: Totals | None = None) -> None:
        """Leave what was written as it is, and say what went wrong."""
        if self.text:
            await self.bubble.settle()
            await self._close("failed", totals)
        else:
            await self._sweep()
            await self.bubble.remove()
        await cl.ErrorMessage(content=sentence).send()

    async def _close(self, state: str, totals: Totals | None, **props: Any) -> None:
        await self._sweep()
        footer = steps.footer(totals, self._done) if totals else []
        await self.bubble.show(state=state, status="", keep=False, footer=footer, **props)

    async def _sweep(self) -> None:
        """No step keeps running, and no unused place stays."""
        for step in (self._route, *self._steps.values()):
            if step.end is None:
                step.is_error = False
                await _finish(step, f"{step.name} · not finished", step.output)
        for step in (*self._free, *(() if self._retrieve.end else (self._retrieve,))):
            await step.remove()
        self._free.clear()


async def _finish(step: cl.Step, name: str, body: str) -> None:
    step.name, step.output, step.end = name, body, utc_now()
    step.start = step.start or step.end
    await step.update()
