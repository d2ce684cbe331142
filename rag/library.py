"""The library as its users see it: open, ingest, search, look up, remove, rebuild. Knows no format, no model's name, no prompt.

Never blocks the event loop: SQLite, Chroma and the embedder work in threads.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from base.errors import KnowledgeError
from base.progress import Progress, silent
from base.settings import Settings
from rag import gate, nearest, overview, retrieve
from rag.folders import FolderInfo
from rag.intake import Embeds, Intake
from rag.look import Order
from rag.manifest import DocumentInfo, Manifest, Stored
from rag.overview import Listing, Overview, Wanted
from rag.plain import plain
from rag.read import Limits
from rag.report import Report
from rag.rerank import Reranking
from rag.retrieve import Found, Passage
from rag.store import Row, Store
from rag.swap import Swap
from rag.sync import Sync
from rag.write import named, row

DEMO = Path(__file__).resolve().parent / "demo"
"""The demo knowledge that ships with Relay."""

SOON = 2000
"""Passages that may be missing from the keyword index and are put there before the first search: 0.1 s."""

__all__ = ["DEMO", "Embeds", "FolderInfo", "Library", "Report"]


class Library:
    """The open library. Made by `open`; every method may be awaited while an ingest runs."""

    def __init__(self, settings: Settings, embedder: Embeds, store: Store, manifest: Manifest) -> None:
        self.settings, self._store, self._manifest = settings, store, manifest
        self._swap, self._reranking = Swap(settings, embedder, store, manifest), Reranking(settings)
        self.token = secrets.token_urlsafe(32)
        """Whoever shows it may ask this library over the loopback (rag.owner)."""
        self.at_close: list[Callable[[], None]] = []
        self._sync = Sync(store, manifest, self._intake, self._swap.ingesting)

    @classmethod
    async def open(cls, settings: Settings, embedder: Embeds) -> Library:
        """Own the library folder. Raises LibraryInUse, KnowledgeError."""
        return await asyncio.to_thread(cls._open, settings, embedder)

    @classmethod
    def _open(cls, settings: Settings, embedder: Embeds) -> Library:
        store = Store.open(settings.library)
        path = settings.library / "manifest.sqlite"
        with ExitStack() as undo:
            undo.callback(store.close)
            library = cls(settings, embedder, store, Manifest(path))
            undo.callback(library._manifest.close)
            library._put_right()
            store.follow(lambda: _Truth(Manifest(path)))
            library._swap.start()
            undo.pop_all()
        return library

    @property
    def _embedder(self) -> Embeds:
        """The one that made the vectors, which need not be the wanted one yet."""
        return self._swap.serving

    @property
    def notes(self) -> str:
        """What the user should know, in sentences: a change of embedder under way, a model that is not there; '' when all is well."""
        return " ".join(filter(None, (self._swap.state, self._reranking.trouble)))

    def _put_right(self) -> None:
        """What must be so before the first search; the rest is done in the background, a change of embedder too."""
        with self._store.write, plain():
            self._swap.begin()
            self._reconcile()

    def _reconcile(self) -> None:
        """What a kill left in the keyword index goes, what it kept out comes in. Much of it, or damage, is the keeper's work."""
        true, words = self._manifest.ids(), self._store.word_ids()
        if words is None or len(true - words) > SOON:
            return
        self._store.delete(sorted(words - true))
        self._index(sorted(true - words))
        self._store.keywords.whole.set()

    def _index(self, ids: Sequence[int]) -> None:
        """Put passages of the manifest into the indexes, 500 at a time."""
        for at in range(0, len(ids), 500):
            stored, vectors = self._manifest.by_ids(ids[at : at + 500])
            self._store.add([row(one) for one in stored], vectors)

    @property
    def state(self) -> str:
        """What the library does beside answering: "ready", "loading", "checking", "rebuilding 43 %", "waiting: The disk is full."

        Searches are right all the while, though slower.
        """
        return self._store.state

    async def settled(self) -> str:
        """The state once nothing is left to be done in the background, or can be done for now."""
        await asyncio.to_thread(self._store.settle)
        return self.state

    async def rebuild(self) -> None:
        """Make the indexes anew from the manifest. Nothing is embedded again, and searches go on."""
        await asyncio.to_thread(self._store.clear)
        await self.settled()
        if self._store.keeper and self._store.keeper.trouble:
            raise self._store.keeper.trouble

    async def ingest(
        self,
        paths: Sequence[Path],
        scope: str = "shared",
        progress: Progress = silent,
        names: Sequence[str] | None = None,
        delete: bool = True,
        full: bool = False,
        watched: bool | None = None,
    ) -> Report:
        """Take files and folders in; unchanged files are skipped, documents whose file is gone from a folder are deleted unless
        `delete` is False. A file that was moved keeps its document. `full` looks into files that seem untouched, too.

        Folders are remembered, those of the demo not; `watched` says whether the chat keeps them in step by itself.
        `names`, one for each path, makes them uploads, known by that name: in its scope a second one of the same name with
        other content becomes "report (2).pdf". A file that cannot be read any more is a failure, and stays as it was read last.
        """
        return await self._sync.ingest(Order(paths, scope, names, delete, full), progress, watched)

    def _intake(self) -> Intake:
        limits = Limits(megabytes=self.settings.max_upload_mb)
        return Intake(self._embedder, self._store, self._manifest, limits, self.settings.home.resolve())

    async def folders(self, scope: str | None = None) -> tuple[FolderInfo, ...]:
        """The remembered folders, or those of one scope, by path."""
        return await self._sync.folders(scope)

    async def sync(self, path: str | Path, scope: str, progress: Progress = silent, delete: bool = True, full: bool = False) -> Report:
        """Bring the library in step with a remembered folder, and keep the report there. See `ingest`."""
        return await self._sync.sync(path, scope, progress, delete, full)

    async def watch(self, path: str | Path, scope: str, on: bool) -> None:
        """Whether the process that keeps watched folders in step does so with this remembered one."""
        await self._sync.watch(path, scope, on)

    async def forget_folder(self, path: str | Path, scope: str, documents: bool = True) -> None:
        """Remember a folder no longer; with `documents`, forget what was in it too, but for what is in another remembered one."""
        await self._sync.forget(path, scope, documents)

    def keep_in_step(self) -> None:
        """Keep the watched folders in step from now on, until `close`: the owner's part."""
        self._sync.start()

    async def remove(self, document_id: str) -> None:
        """Forget a document; its file is left alone."""
        await asyncio.to_thread(self._intake().writer.delete, [document_id])

    async def remove_scope(self, scope: str) -> None:
        """Forget all documents of a scope: the uploads of a chat that has ended."""
        await self._remove_where(lambda one: one == scope)

    async def remove_scopes(self, prefix: str) -> None:
        """Forget all documents of every scope whose name starts with `prefix`: "chat:" drops what a dead process left."""
        await self._remove_where(lambda one: one.startswith(prefix))

    async def _remove_where(self, wanted: Callable[[str], bool]) -> None:
        # An ingest that was cancelled just before hears of it first, and commits nothing afterwards.
        await asyncio.sleep(0)
        await asyncio.to_thread(self._sync.forget_scopes, wanted)
        await asyncio.to_thread(self._intake().writer.delete_where, lambda info: wanted(info.scope))

    async def documents(self, scope: str | Sequence[str] | None = None) -> tuple[DocumentInfo, ...]:
        """The documents of one scope or of several, by name. All of them only for the upkeep of the library itself."""
        scopes = (scope,) if isinstance(scope, str) else scope
        return tuple(await asyncio.to_thread(self._manifest.documents, scopes))

    async def document_text(self, document_id: str, scopes: Sequence[str]) -> str:
        """The normalised text of a document in one of `scopes`. Raises KnowledgeError when there is none."""
        text = await asyncio.to_thread(self._manifest.text, document_id, tuple(scopes))
        if text is None:
            raise KnowledgeError("This document is no longer in the library.", "Search again, or add it again.")
        return text

    async def passage(self, id: str, scopes: Sequence[str]) -> Passage:
        """A passage of a document in one of `scopes`, by its id. Raises KnowledgeError when there is none: its document was
        changed or removed, or may not be read (any more), which is the same to whoever asks."""
        stored, _ = await asyncio.to_thread(self._manifest.by_ids, [_number(id)], tuple(scopes))
        if not stored:
            raise KnowledgeError("This passage is no longer in the library.", "Ask again: its document was changed or removed.")
        return _bare(stored[0])

    async def neighbours(self, id: str, scopes: Sequence[str], around: int = 1) -> tuple[Passage, ...]:
        """A passage with those before and after it in its document, in reading order; none when it is not in `scopes`."""
        where = (
            "p.document = (SELECT document FROM passages WHERE id = ?) AND"
            " abs(p.ordinal - (SELECT ordinal FROM passages WHERE id = ?)) <= ?"
        )
        values = (_number(id), _number(id), around)
        stored, _ = await asyncio.to_thread(self._manifest.passages, where, values, tuple(scopes), "p.ordinal")
        return tuple(map(_bare, stored))

    async def opening(self, documents: Sequence[str], limit: int, scopes: Sequence[str]) -> tuple[Passage, ...]:
        """The first passages of these documents, `limit` of each at most, for a question about a whole document."""
        where = f"d.id IN ({','.join('?' * len(documents))}) AND p.ordinal < ?"
        values = (*documents, limit)
        stored, _ = await asyncio.to_thread(self._manifest.passages, where, values, tuple(scopes), "d.name, p.ordinal")
        return tuple(map(_bare, stored))

    async def likeness(self, texts: Sequence[str], ids: Sequence[str], scopes: Sequence[str]) -> list[list[tuple[float, int]]]:
        """For each text and each passage: the cosine of the passage's closest sentence, and which it is; (0, -1) for none."""
        return await asyncio.to_thread(self._likeness, texts, ids, scopes)

    def _likeness(self, texts: Sequence[str], ids: Sequence[str], scopes: Sequence[str]) -> list[list[tuple[float, int]]]:
        if not texts:
            return []
        with self._searching() as embedder:
            allowed = [one.id for one in self._manifest.by_ids([_number(id) for id in ids], scopes)[0]]
            parts = self._manifest.sentences(allowed)
            vectors = [embedder.query(text) for text in texts]
            return [[retrieve.closest(vector, parts.get(_number(id)), embedder.scaled) for id in ids] for vector in vectors]

    async def overview(self, scopes: Sequence[str]) -> Overview:
        """The collections of these scopes, and the library's own state."""

        def work() -> Overview:
            return Overview(overview.collections(self._manifest, scopes), overview.disk(self.settings.library), self.state, self.notes)

        return await asyncio.to_thread(work)

    async def listing(self, scopes: Sequence[str], wanted: Wanted) -> Listing:
        """A page of the documents in these scopes."""
        return await asyncio.to_thread(overview.listing, self._manifest, scopes, wanted)

    async def document(self, id: str, scopes: Sequence[str]) -> DocumentInfo | None:
        """A document by its id, or None when it stands in none of the scopes."""
        return await asyncio.to_thread(overview.document, self._manifest, id, scopes)

    async def search(self, query: str, scopes: Sequence[str], floor: float, limit: int = 20) -> Found:
        """See `rag.retrieve.search`."""
        return await asyncio.to_thread(self._search, query, tuple(scopes), floor, limit)

    def _search(self, query: str, scopes: tuple[str, ...], floor: float, limit: int) -> Found:
        started = time.perf_counter()
        ranked: list[Passage] = []
        with plain(), self._searching() as embedder:
            if query.strip() and scopes:
                ranked = self._ranked(embedder, query, scopes, max(retrieve.CANDIDATES, limit))
            by_words = self._swap.by_words
        sure = gate.confidence(query, ranked, by_words)
        if sure >= floor:
            ranked = self._reranking.reordered(query, ranked)
        passages = retrieve.above(ranked, sure, floor, limit, by_words)
        ms = (time.perf_counter() - started) * 1000
        return Found(passages, round(sure, 4), round(ms, 2), len(ranked), () if passages else retrieve.nearest(ranked), by_words)

    def ranked(self, query: str, scopes: tuple[str, ...], limit: int = retrieve.CANDIDATES) -> list[Passage]:
        """All candidates, best first, before the gate. Blocks; `search` is for askers, this for measuring."""
        with self._searching() as embedder:
            return self._ranked(embedder, query, scopes, max(retrieve.CANDIDATES, limit))

    @contextmanager
    def _searching(self) -> Iterator[Embeds]:
        # Not within: what is waited for may need a writer, and a change of vectors writes, and waits for searches to end.
        self._store.ready()
        with self._swap.searching() as embedder:
            yield embedder

    def _ranked(self, embedder: Embeds, query: str, scopes: tuple[str, ...], count: int) -> list[Passage]:
        vector = embedder.query(query)
        near = self._store.dense(vector, scopes, count) if vector.any() else []
        words = dict(self._store.keyword(query, scopes, count))
        # The manifest has the last word on what exists and on who may see it.
        stored, vectors = self._manifest.by_ids(list(dict.fromkeys([*near, *words])), scopes)
        if not stored:
            return []
        cosines = nearest.products(vectors, vector)
        parts = self._manifest.sentences(retrieve.promising([one.id for one in stored], cosines, words))
        best = retrieve.best_parts(cosines, [parts.get(one.id) for one in stored], vector)
        near_ids = frozenset(near[: retrieve.CANDIDATES])
        return retrieve.fuse(stored, embedder.scaled(cosines), embedder.scaled(best), words, near_ids)

    async def close(self) -> None:
        """Give the folder up. A running ingest must have ended."""

        def work() -> None:
            for action in self.at_close:
                action()
            self._swap.close()
            try:
                self._store.close()
            finally:
                with self._store.write:
                    self._manifest.close()

        await self._sync.close()
        await asyncio.to_thread(work)


class _Truth:
    """The manifest as the store's keeper asks it."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.ids, self.vectors, self.close = manifest.ids, manifest.vectors, manifest.close

    def rows(self, ids: Sequence[int]) -> list[Row]:
        """What the keyword index is told of these passages."""
        return [Row(id, scope, named(title, heading), text) for id, scope, title, heading, text in self._manifest.words(ids)]


def _number(id: str) -> int:
    """The manifest's number of a passage id; one that no passage has for anything else."""
    return int(id) if id.isdecimal() and len(id) < 19 else -1


def _bare(one: Stored) -> Passage:
    return Passage(str(one.id), one.document, one.document_id, one.heading, one.page, one.lines, one.text, one.start, one.end)
