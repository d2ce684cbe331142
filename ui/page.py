"""The life of a chat: its messages, its history, stop, edit, and its end. Knows no model and no event's meaning."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import chainlit as cl
from chainlit.chat_context import chat_contexts
from chainlit.config import config
from chainlit.context import init_ws_context
from chainlit.logger import logger
from chainlit.session import WebsocketSession

from agents.access import CHAT
from agents.assistant import Assistant
from agents.events import Control, Event, Message, Turn
from base.errors import RelayError
from rag.cite import Citation
from ui import knowledge, login, pickers, remember_rooms, uploads
from ui.runtime import Runtime, runtime
from ui.stream import Painter

STOP_PATIENCE = 0.8
"""Seconds a stopped answer has to end by itself before it is cancelled."""
SIGNED_OUT = "You are no longer signed in here. Reload the page to sign in again."
RIGHTS_CHANGED = "What you may read has changed, so what was open is closed."
_cleaners: set[asyncio.Task[None]] = set()


@dataclass(slots=True)
class Exchange:
    """One question with its answer; `id` is the question's message."""

    id: str
    asked: str
    answered: str = ""
    attached: tuple[str, ...] = ()


@dataclass(slots=True)
class Chat:
    """What the server knows of one browser tab's conversation."""

    scope: str
    exchanges: list[Exchange] = field(default_factory=list)
    cited: dict[tuple[str, int], Citation] = field(default_factory=dict)
    passages: set[str] = field(default_factory=set)
    """Only these may be opened from the page, and only as long as they may be read: an id alone is no right."""
    granted: frozenset[str] = frozenset()
    """The collections it could read when it was last looked at."""
    out: bool = False
    """It was signed out."""
    control: Control | None = None
    turn: str = ""
    task: asyncio.Task[Any] | None = None
    pending: tuple[str, ...] = ()
    """Documents that came without a question; they go with the next one."""
    desk: knowledge.Desk = field(default_factory=knowledge.Desk)
    uploads: bool = False
    lost: bool = False
    """The uploads were forgotten while the page was away."""

    def history(self) -> tuple[Message, ...]:
        """The conversation so far, without the question at hand and without what never got an answer."""
        told: list[Message] = []
        for exchange in self.exchanges[:-1]:
            if exchange.answered:
                told += [Message("user", exchange.asked), Message("assistant", exchange.answered)]
        return tuple(told)

    def ask(self, id: str, text: str) -> Exchange:
        """Begin an exchange. An edited message drops itself and everything after it, and keeps its documents."""
        known = [index for index, exchange in enumerate(self.exchanges) if exchange.id == id]
        attached = self.exchanges[known[0]].attached if known else ()
        if known:
            del self.exchanges[known[0] :]
        exchange = Exchange(id, text, attached=attached)
        self.exchanges.append(exchange)
        return exchange


def chat() -> Chat:
    """This session's chat."""
    found = cl.user_session.get("relay")
    if not isinstance(found, Chat):
        # Also after a reload of the code, whose Chat is another class.
        # The page chooses its session's id, and so could choose another's.
        found = Chat(scope=f"{CHAT}{uuid.uuid4().hex}")
        cl.user_session.set("relay", found)
    return found


def scopes() -> tuple[str, ...]:
    """The collections that this session may read at this moment: by who it is, never by what its page sent; none when signed out."""
    user = login.identity(cl.context.session)
    allowed = runtime().access.scopes(user) if user else ()
    return (*allowed, chat().scope) if allowed else ()


async def start() -> None:
    """A new page: make its chat and send the pickers."""
    chat()
    await show_pickers()


async def show_pickers() -> None:
    """The pickers, as soon as the models are known."""
    try:
        await cl.context.emitter.set_commands(pickers.COMMANDS)
        assistant = await runtime().assistant()
        await pickers.show(assistant.models())
        if problem := assistant.catalog_error():
            await cl.context.emitter.send_toast(problem, "warning")
    except RelayError as error:
        await cl.ErrorMessage(content=str(error)).send()
    except Exception:
        logger.exception("The pickers could not be shown")
    remember_rooms()


async def take(message: cl.Message | None) -> None:
    """One message, new or edited: whatever happens, the page ends with a sentence and without a spinner."""
    session = cast(Any, cl.context.session)
    mine = session.current_task = asyncio.current_task()
    this = chat()
    if message is None:
        await cl.ErrorMessage(content="This message is no longer known here. Please send it as a new one.").send()
        return
    if not scopes():
        await cl.ErrorMessage(content=SIGNED_OUT).send()
        return
    await _end_previous(this, mine)
    # No await since: of several that waited for the same answer to end, one takes the place and the others wait for it.
    control = Control()
    this.task, this.control, this.turn = mine, control, uuid.uuid4().hex[:12]
    painter = Painter(this.turn, message.content)
    exchange = this.ask(message.id, message.content)
    try:
        await _answer(this, exchange, message, painter)
    except asyncio.CancelledError:
        await painter.stopped()
        raise
    except RelayError as error:
        await painter.failed(str(error))
    except Exception as error:
        logger.exception("A message failed")
        await painter.failed(f"Something in Relay broke ({type(error).__name__}). The terminal in which it runs tells more.")
    finally:
        # The history holds what stands on the page, also after a stop.
        exchange.answered = painter.text
        if this.task is mine:
            this.task = this.control = None
        remember_rooms()


async def _end_previous(this: Chat, mine: asyncio.Task[Any] | None) -> None:
    """One answer at a time: an edit or an early next message ends the one that runs."""
    waited = False
    while this.task is not None and this.task is not mine and not this.task.done():
        await _halt(this)
        waited = True
    if waited:
        # The end of the other task told the page that nothing runs any more.
        await cl.context.emitter.task_start()
        await _end_previous(this, mine)


async def _halt(this: Chat) -> None:
    """Ask the running answer to stop, and cancel it if it does not within a moment."""
    task = this.task
    if task is None or task.done():
        return
    if this.control is not None:
        this.control.stop.set()
    _, late = await asyncio.wait({task}, timeout=STOP_PATIENCE)
    if late:
        task.cancel()
        await asyncio.wait({task}, timeout=STOP_PATIENCE)


async def _answer(this: Chat, exchange: Exchange, message: cl.Message, painter: Painter) -> None:
    exchange.attached, this.pending = exchange.attached or this.pending, ()
    runner = runtime()
    if this.lost:
        this.lost = False
        await cl.context.emitter.send_toast("This page was away, so its documents were forgotten. Add them again to ask of them.", "info")
    if files := [element for element in message.elements or [] if getattr(element, "path", None)]:
        if not await _read(this, exchange, await runner.assistant(), files):
            await cl.Message(content="I could not read it, so no model was asked. Send another file, or the question alone.").send()
            return
        if not message.content.strip():
            await _read_only(this, exchange)
            return
    await painter.open(runner.doing or "Reading the question")
    assistant = await _warm(runner, painter)
    await _paint(this, assistant, _turn(this, exchange, message), painter)


async def _warm(runner: Runtime, painter: Painter) -> Assistant:
    """Wait for the models, telling what is prepared."""
    pending: list[str] = []
    waiting = asyncio.ensure_future(runner.assistant(pending.append, warm=True))
    told = ""
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=0.25)
            if pending and pending[-1] != told:
                told = pending[-1]
                await painter.bubble.show(status=told)
        return waiting.result()
    finally:
        waiting.cancel()


def _turn(this: Chat, exchange: Exchange, message: cl.Message) -> Turn:
    model, knowledge, effort = pickers.choices(message.modes)
    assert this.control is not None
    return Turn(
        text=message.content,
        history=this.history(),
        model=model,
        knowledge=knowledge,
        effort=effort,
        scopes=scopes(),
        user=login.identity(cl.context.session),
        attached=exchange.attached,
        id=this.turn,
        control=this.control,
    )


async def _paint(this: Chat, assistant: Assistant, turn: Turn, painter: Painter) -> None:
    stream = cast("Any", assistant.answer(turn))
    async with aclosing(stream) as events:
        event: Event
        async for event in events:
            await painter.paint(event)
            if painter.grounded is not None:
                told = (*painter.grounded.passages, *painter.grounded.nearest)
                this.passages |= {str(passage.id) for passage in told}
    if painter.answered is not None:
        shown = painter.answered.citations or painter.answered.nearest
        this.cited |= {(turn.id, citation.n): citation for citation in reversed(shown)}


async def _read(this: Chat, exchange: Exchange, assistant: Assistant, files: Sequence[object]) -> bool:
    """Read the files of a message, unless an edit brings them again; whether any can be used."""
    this.uploads, this.lost = True, False
    read = await uploads.read(assistant, files, this.scope)
    this.desk.files |= read
    exchange.attached = tuple(dict.fromkeys((*exchange.attached, *read)))
    return bool(exchange.attached)


async def _read_only(this: Chat, exchange: Exchange) -> None:
    """Documents without a question: they wait for the next message."""
    this.pending = exchange.attached
    this.exchanges.remove(exchange)
    await cl.Message(content="I have read it. What would you like to know?").send()


async def stop(sid: str) -> None:
    """The stop button, at any moment. Takes the place of Chainlit's own, which posts a message into the chat."""
    session = WebsocketSession.get(sid)
    if session is None:
        return
    init_ws_context(session)
    found = cl.user_session.get("relay")
    if isinstance(found, Chat):
        await _halt(found)


async def keep(action: cl.Action) -> None:
    """'Keep the draft', pressed while it is refined."""
    this = chat()
    if this.control is not None and action.payload.get("turn") == this.turn:
        this.control.keep.set()


async def review(session: WebsocketSession) -> None:
    """Look again at what an open page may read. What it lost ends now: a running answer, an open passage, or all of it."""
    init_ws_context(session)
    this, now = chat(), frozenset(scopes())
    lost, out = this.granted - now, not now and not this.out
    this.granted, this.out = now, not now
    if not lost and not out:
        return
    if this.task is not None:
        await _halt(this)
    if out:
        this.cited.clear()
        this.passages.clear()
        await cl.context.emitter.emit("reload", {})
        return
    await cl.ElementSidebar.set_elements([])
    await cl.context.emitter.send_toast(RIGHTS_CHANGED, "info")


async def end() -> None:
    """The page is gone, for good or for a moment: only after the grace is anything ended."""
    session = cast(WebsocketSession, cl.context.session)
    cleaner = asyncio.create_task(_end_after_grace(session, session.socket_id, chat()))
    _cleaners.add(cleaner)
    cleaner.add_done_callback(_cleaners.discard)


async def _end_after_grace(session: WebsocketSession, socket_id: str, this: Chat) -> None:
    await asyncio.sleep(runtime().settings.grace_s)
    if session.socket_id != socket_id:
        return
    await _halt(this)
    if this.uploads:
        assistant = await runtime().assistant()
        await assistant.forget(this.scope)
        this.uploads, this.lost, this.pending = False, True, ()
    if not session.to_clear:
        await asyncio.sleep(config.project.session_timeout)
    if WebsocketSession.get_by_id(session.id) is None:
        # Chainlit never frees these.
        chat_contexts.pop(session.id, None)
