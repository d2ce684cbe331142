"""What the page asks beside messages: a citation's passage and its page, and all that the knowledge page shows and does.

Knows this session's chat and Chainlit's actions; what is answered is made by panel, pages and knowledge.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import chainlit as cl

from base.errors import RelayError
from rag.cite import Citation
from ui import citations, knowledge, pages, panel, pickers
from ui.page import chat, scopes
from ui.runtime import runtime

UNKNOWN = "This passage is no longer known here. Ask again to open it."
SOON = 0.5
"""Seconds to wait for the library while it is opening, before the page is told so."""


async def cite(action: cl.Action) -> None:
    """A citation was pressed: open its passage in the side panel."""
    citation = _cited(action)
    if citation is None:
        await cl.context.emitter.send_toast(UNKNOWN, "info")
        return
    try:
        assistant, id, allowed = await runtime().assistant(), str(citation.passage_id), scopes()
        passage = await assistant.passage(id, allowed)
        before, after = citations.around(passage, await assistant.library.neighbours(id, allowed))
    except RelayError as error:
        await cl.context.emitter.send_toast(str(error), "info")
        return
    await panel.show(panel.passage(citation, str(action.payload["turn"]), before, passage.text, after))


def _cited(action: cl.Action) -> Citation | None:
    """What the page means by a turn and a number: only what it was shown there."""
    this, n = chat(), action.payload.get("n")
    citation = this.cited.get((str(action.payload.get("turn")), n if isinstance(n, int) else 0))
    return citation if citation and str(citation.passage_id) in this.passages else None


async def picture(action: cl.Action) -> dict[str, Any]:
    """The page of a cited PDF, for the panel that shows its passage."""
    if (citation := _cited(action)) is None:
        return {"note": UNKNOWN}
    call = knowledge.Call(chat().desk, await runtime().assistant(), scopes(), {}, {})
    try:
        passage = await call.library.passage(str(citation.passage_id), call.seen)
    except RelayError as error:
        return {"note": str(error)}
    info = await call.library.document(passage.document_id, call.seen)
    return await pages.picture(info, passage, citation.quote, call.file(passage.document_id))


async def about_knowledge(action: cl.Action) -> dict[str, Any]:
    """The knowledge page asked something."""
    return await _known(action.payload)


async def _known(payload: dict[str, Any]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(SOON):
            assistant = await runtime().assistant()
    except TimeoutError:
        return {"state": "opening", "doing": runtime().doing or "Opening Relay"}
    except RelayError as error:
        return {"state": "failed", "error": str(error)}
    session = cast(Any, cl.context.session)
    return await knowledge.answer(knowledge.Call(chat().desk, assistant, scopes(), payload, session.files))


async def pressed(data: Any) -> None:
    """The button in the page's head, which may say one click more than once."""
    desk = chat().desk
    if isinstance(data, dict) and data.get("relay") == "knowledge" and data.get("click") != desk.click:
        desk.click = data.get("click")
        await open_knowledge()


async def command(message: cl.Message) -> None:
    """The knowledge page was asked for in the composer: the message is no question, and leaves no trace."""
    await message.remove()
    await open_knowledge(pickers.query_of(message))


async def open_knowledge(query: str = "") -> None:
    """Open the knowledge page in the side panel, with a search in it when there is one."""
    await panel.show(panel.knowledge(await _known({"do": "list"}), query))
