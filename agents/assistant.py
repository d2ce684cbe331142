"""open_assistant(settings): the one place that names every concrete class and ties the rooms together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rag.embed
import rag.owner
from agents.access import DEMO_SCOPE, Access
from agents.answer import Conductor
from agents.ledger import ledger
from agents.routing import Router
from base.errors import LibraryInUse, PrepareError
from base.progress import Progress, silent
from base.settings import Settings
from rag.embed import NAME as EMBEDDER
from rag.embed import Embedder
from rag.library import DEMO, Library, Report
from rag.owner import RemoteLibrary
from rag.retrieve import Passage
from router.backends import Backends
from router.catalog import Catalog, CatalogFile, Entry
from router.fake import FakeTransport, read_script
from router.intents import GENERAL, load_rules
from router.weights import Local


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as a picker shows it."""

    name: str
    about: str
    usable: bool
    reason: str
    starter: bool


class Assistant:
    """Everything a face needs: answers, the models, the library. One for a process."""

    def __init__(self, settings: Settings, router: Router, local: Local, library: Library | RemoteLibrary, access: Access) -> None:
        self.settings, self.library, self.access = settings, library, access
        self._router, self._local = router, local
        conductor = Conductor(settings, router, library, access.of_turn)
        self.answer = ledger(conductor.answer, settings.traces, settings.trace_text, access.pseudonym)

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model of the catalog, and why it cannot be used now."""
        catalog = self._router.current()
        blocked = self._router.backends.blocked(catalog)
        return tuple(ModelInfo(e.name, e.about, e.name not in blocked, blocked.get(e.name, ""), e.starter) for e in catalog.models.values())

    def intents(self) -> tuple[str, ...]:
        """Every intent that a message may be said to be."""
        return tuple(sorted(self._router.detector.names))

    async def correct(self, text: str, intent: str) -> None:
        """Keep the user's word that a message was an intent's."""
        await asyncio.to_thread(self._router.correct, text, intent)

    def catalog_error(self) -> str:
        """Why the newest catalog file is not in use; '' when it is."""
        self._router.current()
        return str(self._router.catalogs.error or "")

    async def ready(self, progress: Progress = silent) -> None:
        """Warm the model that will answer first, if it runs in this process."""
        catalog, first = self._first()
        if catalog.place(first).kind == "foundry" and not self.settings.fake:
            progress(f"Warming {first.name}")
            await self._local.warm(first)
            await self.rest()
        await asyncio.to_thread(self._router.intent, "Good morning")  # loads the embedder

    async def rest(self) -> None:
        """Let go of what nobody used for a while. To be called now and then; nothing waits for it."""
        await self._local.rest(self.settings.idle_s, self._first()[1].name)

    def _first(self) -> tuple[Catalog, Entry]:
        catalog = self._router.current()
        return catalog, catalog.models[self._router.route(catalog, GENERAL, "").model]

    async def add_files(self, files: Sequence[tuple[Path, str]], scope: str, progress: Progress = silent) -> Report:
        """Files into a collection; pairs of a path on disk and the name to show."""
        return await self.library.ingest([path for path, _ in files], scope, progress, [name for _, name in files])

    @property
    def library_state(self) -> str:
        """What the user should know of the library, in sentences; '' when all is well, or another process owns it."""
        return self.library.notes if isinstance(self.library, Library) else ""

    async def forget(self, scope: str) -> None:
        """Drop a collection, such as a chat's uploads."""
        await self.library.remove_scope(scope)

    async def passage(self, passage_id: str, scopes: Sequence[str]) -> Passage:
        """One passage, for whoever may read these scopes and wants to read it again. Raises KnowledgeError."""
        return await self.library.passage(passage_id, scopes)

    @property
    def library_app(self) -> Any:
        """The ASGI app that takes work from the command line."""
        assert isinstance(self.library, Library), "only the owner serves the library"
        return rag.owner.serve(self.library)

    async def close(self) -> None:
        """Let go of the library and the connections."""
        await self.library.close()
        await self._router.backends.close()


def open_router(settings: Settings) -> Router:
    """Routing alone: starts no model and opens no library."""
    return _router(settings)[0]


def _embedder(settings: Settings) -> Callable[[], Embedder]:
    """The router's embedder, which its head was fitted with; the library has the same one unless the user has set another."""
    kept: list[Embedder] = []

    def get() -> Embedder:
        if not kept:
            kept.append(rag.embed.shared(settings.models / EMBEDDER))
        return kept[0]

    return get


def _router(settings: Settings) -> tuple[Router, Local]:
    get = _embedder(settings)

    def ready() -> Embedder | None:
        """Not there yet, or damaged: the rules decide alone, and whoever opens the library says what to do."""
        try:
            return None if rag.embed.missing(settings.models) else get()
        except PrepareError:
            return None

    local = Local(settings.home, settings.models)
    fake = FakeTransport(read_script(Path(settings.fake).expanduser())) if settings.fake else None
    return Router(settings, CatalogFile(settings.home, settings.catalog), load_rules(), Backends(local, fake), ready), local


def open_local(settings: Settings) -> tuple[CatalogFile, Local]:
    """The catalog and the models of this machine, for `relay models`."""
    return CatalogFile(settings.home, settings.catalog), Local(settings.home, settings.models)


async def open_knowledge(settings: Settings) -> Library | RemoteLibrary:
    """The library with its demo handbook, or the chat that owns it."""
    library = await rag.owner.open_library(settings, lambda: rag.embed.serving(settings.models, settings.embedder))
    if isinstance(library, Library):
        await _keep_demo(library, settings.demo)
    return library


async def _keep_demo(library: Library, wanted: bool) -> None:
    """The demo, in a collection of its own: there when the user wants it, gone when not. Unchanged, it costs some hashes."""
    if not wanted:
        await library.remove_scope(DEMO_SCOPE)
        return
    here = (await library.ingest([DEMO], DEMO_SCOPE)).documents
    for document in await library.documents(DEMO_SCOPE):
        if document.id not in here:  # of a checkout that has moved
            await library.remove(document.id)


async def open_assistant(settings: Settings, owner: bool = False, announce_url: str = "", access: Access | None = None) -> Assistant:
    """Open everything. An `owner` must own the library, and serves it at `announce_url` for the user's other processes."""
    router, local = _router(settings)
    library = await open_knowledge(settings)
    if isinstance(library, Library):
        if owner:
            await library.remove_scopes("chat:")  # uploads of a process that was killed: no chat outlives its process
            library.keep_in_step()
        if announce_url:
            rag.owner.announce(library, announce_url)
    elif owner:
        await library.close()
        raise LibraryInUse("A chat of yours already runs on this library.", "Use that one, or set RELAY_HOME to another folder.")
    return Assistant(settings, router, local, library, access or Access(settings))


__all__ = ["Assistant", "ModelInfo", "Report", "open_assistant", "open_knowledge", "open_local", "open_router"]
