"""The chat page's door: Chainlit's hooks, each handed to ui/. Knows which hook does what, and nothing else.

Started by `relay up`, or by `chainlit run app.py` (with `-w` while the page is worked on).
"""

from __future__ import annotations

import sys
from typing import Any

import chainlit as cl
from chainlit.config import config
from chainlit.server import sio

from agents.access import require
from base.errors import RelayError
from ui import asks, login, outgoing, page, pickers, safety, uploads
from ui.runtime import quiet, runtime

quiet()
settings = runtime().settings
try:
    require(settings, settings.host, config.run.host)
    login.prepare(settings)
except RelayError as error:
    sys.exit(f"relay: {error}")
safety.secure(settings.host, config.run.host, *settings.names.split(","), links=settings.link_hosts)
outgoing.guard(settings.link_hosts)
uploads.accept(settings.max_upload_mb)
uploads.keep_in(settings.home / "uploads")
# 'system' is a theme of the page; Chainlit's file knows only light and dark.
vars(config.ui)["default_theme"] = "system"
sio.on("stop", handler=page.stop)


@cl.on_app_startup
async def startup() -> None:
    """Begin to open the assistant; the page is there meanwhile."""
    runtime().start()
    login.begin()


@cl.on_app_shutdown
async def shutdown() -> None:
    """Let go of the models and the library."""
    await runtime().close()


@cl.set_starters
async def starters(_user: cl.User | None) -> list[cl.Starter]:
    """The four prompts of the empty page."""
    return pickers.starters()


@cl.on_chat_start
async def chat_start() -> None:
    """A page was opened."""
    await page.start()


@cl.on_message
async def message(message: cl.Message) -> None:
    """A message was sent or edited."""
    await (asks.command(message) if pickers.is_knowledge(message) else page.take(message))


@cl.on_chat_end
async def chat_end() -> None:
    """A page was closed, or lost its connection."""
    await page.end()


@cl.action_callback("relay_keep")
async def keep(action: cl.Action) -> None:
    """'Keep the draft' was pressed."""
    await page.keep(action)


@cl.action_callback("relay_cite")
async def cite(action: cl.Action) -> None:
    """A citation was pressed."""
    await asks.cite(action)


@cl.action_callback("relay_picture")
async def picture(action: cl.Action) -> dict[str, Any]:
    """A cited PDF's page is wanted."""
    return await asks.picture(action)


@cl.action_callback("relay_knowledge")
async def knowledge(action: cl.Action) -> dict[str, Any]:
    """The knowledge page asks."""
    return await asks.about_knowledge(action)


@cl.on_window_message
async def window_message(data: Any) -> None:
    """The page speaks without an element: the button in its head. Anything else that is posted to a window comes here too."""
    await asks.pressed(data)
