"""What must be on the machine before a chat: the starter models and the embedder. Set-up alone may ask the network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from base.errors import RelayError, SettingsError
from base.progress import Progress, silent
from base.settings import Settings
from rag import embed, rerank
from rag import prepare as preparing
from rag.prepare import Source
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


def chosen(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(embedder or reranker, its state, a sentence) of the models that the user has set. See rag.prepare.state."""
    for kind, find, setting in (("embedder", embed.chosen, settings.embedder), ("reranker", rerank.chosen, settings.reranker)):
        try:
            if one := find(settings.models, setting):
                yield kind, *preparing.state(settings.models, one, settings.offline)
        except SettingsError as error:
            yield kind, "unfit", str(error)


async def prepare_chosen(settings: Settings, progress: Progress = silent) -> tuple[str, ...]:
    """Make the models that the user has set, when `prepare` is done. Returns why, for each that could not be made: a chat goes on."""
    said = []
    for find, setting in ((embed.chosen, settings.embedder), (rerank.chosen, settings.reranker)):
        try:
            if one := find(settings.models, setting):
                await asyncio.to_thread(_made, settings, one, progress)
        except RelayError as error:
            said.append(str(error))
    return tuple(said)


def _made(settings: Settings, one: Source, progress: Progress) -> None:
    if preparing.missing(settings.models / one.name, one.note):
        embed.prepare(settings.models, progress, settings.offline)  # it is measured against the shipped one
        preparing.prepare(settings.models, one, progress, settings.offline)
