"""What must be on the machine before a chat: the starter models and the embedder. Set-up alone may ask the network."""

from __future__ import annotations

import asyncio
import threading

from base.progress import Progress, silent
from base.settings import Settings
from rag import embed
from router import starter


def missing(settings: Settings) -> tuple[str, ...]:
    """What `prepare` would make, in words."""
    models = () if settings.fake else starter.missing(settings.models)
    return (*models, *(("the embedder",) if embed.missing(settings.models) else ()))


async def prepare(settings: Settings, progress: Progress = silent, knowledge: bool = True) -> None:
    """Make what is missing, one after the other; the embedder only for `knowledge`. Raises SetupError; the next call goes on."""
    cancel = threading.Event()
    try:
        if not settings.fake and starter.missing(settings.models):
            await asyncio.to_thread(starter.prepare, settings, progress, cancel=cancel)
        if knowledge and embed.missing(settings.models):
            await asyncio.to_thread(embed.prepare, settings.models, progress, settings.offline)
    except asyncio.CancelledError:
        cancel.set()  # the thread cannot be interrupted, so it is asked
        raise
