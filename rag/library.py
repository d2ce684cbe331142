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
from rag import gate, retrieve
from rag.intake import Embeds, Intake, Report, context
from rag.manifest import DocumentInfo, Manifest, Stored
from rag.plain import plain
from rag.read import Limits
from rag.rerank import Reranking
from rag.retrieve import Found, Passage
from rag.store import Row, Store
from rag.swap import Swap

DEMO = Path(__file__).resolve().parent / "demo"
"""The demo knowledge that ships with Relay."""

__all__ = ["DEMO", "Embeds", "Library", "Report"]


class Library:
    """The open library. Made by `open`; every method may be awaited while an ingest runs."""

    def __init__(self, settings: Settings, embedder: Embeds, store: Store, manifest: Manifest) -> None:
        self.settings, self._store, self._manifest = settings, store, manifest
        self._swap, self._reranking = Swap(settings, embedder, store, manifest), Reranking(settings)
        self.token = secrets.token_urlsafe(32)
        """Whoever shows it may ask this library over the loopback (rag.owner)."""
        self.at_close: list[Callable[[], None]] = []

    @classmethod
    async def open(cls, settings: Settings, embedder: Embeds) -> Library:
        """Own the library folder. Raises LibraryInUse, KnowledgeError."""
        return await asyncio.to_thread(cls._open, settings, embedder)

    @classmethod
    def _open(cls, settings: Settings, embedder: Embeds) -> Library:
        store = Store.open(settings.library)
        with ExitStack() as undo:
            undo.callback(store.close)
            library = cls(settings, embedder, store, Manifest(settings.library / "manifest.sqlite"))
            undo.callback(library._manifest.close)
            library._put_right()
            undo.pop_all()
        return library

    @property
    def _embedder(self) -> Embeds:
        """The one that made the vectors, which need not be the wanted one yet."""
        return self._swap.serving

    @property
    def state(self) -> str:
        """What the user should know, in sentences: a change of embedder under way, a model that is not there; '' when all is well."""
        return " ".join(filter(None, (self._swap.state, self._reranking.trouble)))

    def _put_right(self) -> None:
        """Compare by counting (1 ms), rebuild what differs; after a change of embedder, begin to embed anew."""
        with self._store.write, plain():
            self._swap.begin()
            if set(self._store.counts()) != {self._manifest.count()}:
                self._reconcile()
        self._swap.start()

    def _reconcile(self) -> None:
        true = self._manifest.ids()
        vectors, words = self._store.ids()
        self._store.delete(sorted((vectors | words) - true))
        self._index(sorted(true - (vectors & words)))

    def _index(self, ids: Sequence[int]) -> None:
        """Put passages of the manifest into both indexes, 500 at a time."""
        for at in range(0, len(ids), 500):
            stored, vectors = self._manifest.by_ids(ids[at : at + 500])
            self._store.add([Row(one.id, one.scope, context(one), one.text) for one in stored], vectors)

    async def rebuild(self) -> None:
        """Make both indexes anew from the manifest. Nothing is embedded again."""

        def work() -> None:
            with self._store.write, plain():
                self._store.clear()
                self._index(sorted(self._manifest.ids()))

        await asyncio.to_thread(work)

    async def ingest(
        self,
        paths: Sequence[Path],
        scope: str = "shared",
        progress: Progress = silent,
        names: Sequence[str] | None = None,
        delete: bool = True,
    ) -> Report:
        """Take files and folders in; unchanged files are skipped, documents whose file is gone from a folder are deleted.

        `names`, one for each path, makes them uploads, known by that name: in its scope a second one of the same name with
        other content becomes "report (2).pdf". A file that cannot be read any more is a failure, and stays as it was read last.
        """
        async with self._swap.ingesting():
            return await self._intake().run(paths, scope, progress, names, delete)

    def _intake(self) -> Intake:
        return Intake(self._embedder, self._store, self._manifest, Limits(megabytes=self.settings.max_upload_mb))

    async def remove(self, document_id: str) -> None:
        """Forget a document; its file is left alone."""
        await asyncio.to_thread(self._intake().delete, [document_id])

    async def remove_scope(self, scope: str) -> None:
        """Forget all documents of a scope: the uploads of a chat that has ended."""
        await self._remove_where(lambda one: one == scope)

    async def remove_scopes(self, prefix: str) -> None:
        """Forget all documents of every scope whose name starts with `prefix`: "chat:" drops what a dead process left."""
        await self._remove_where(lambda one: one.startswith(prefix))

    async def _remove_where(self, wanted: Callable[[str], bool]) -> None:
        # An ingest that was cancelled just before hears of it first, and commits nothing afterwards.
        await asyncio.sleep(0)
        await asyncio.to_thread(self._intake().delete_scopes, wanted)

    async def documents(self, scope: str | None = None) -> tuple[DocumentInfo, ...]:
        """All documents, or those of one scope, by name."""
        return tuple(await asyncio.to_thread(self._manifest.documents, scope))

    async def document_text(self, document_id: str) -> str:
        """The document's normalised text. Raises KnowledgeError when it is gone."""
        text = await asyncio.to_thread(self._manifest.text, document_id)
        if text is None:
            raise KnowledgeError("This document is no longer in the library.", "Search again, or add it again.")
        return text

    async def passage(self, id: str) -> Passage:
        """A passage by its id. Raises KnowledgeError when its document was changed or removed."""
        stored, _ = await asyncio.to_thread(self._manifest.by_ids, [_number(id)])
        if not stored:
            raise KnowledgeError("This passage is no longer in the library.", "Ask again: its document was changed or removed.")
        return _bare(stored[0])

    async def neighbours(self, id: str, around: int = 1) -> tuple[Passage, ...]:
        """A passage with those before and after it in its document, in reading order; none when it is gone."""
        where = (
            "p.document = (SELECT document FROM passages WHERE id = ?) AND"
            " abs(p.ordinal - (SELECT ordinal FROM passages WHERE id = ?)) <= ? ORDER BY p.ordinal"
        )
        stored, _ = await asyncio.to_thread(self._manifest.passages, where, (_number(id), _number(id), around))
        return tuple(map(_bare, stored))

    async def opening(self, documents: Sequence[str], limit: int) -> tuple[Passage, ...]:
        """The first passages of these documents, `limit` of each at most, for a question about a whole document."""
        where = f"d.id IN ({','.join('?' * len(documents))}) AND p.ordinal < ? ORDER BY d.name, p.ordinal"
        stored, _ = await asyncio.to_thread(self._manifest.passages, where, (*documents, limit))
        return tuple(map(_bare, stored))

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
        return Found(passages, round(sure, 4), round(ms, 2), len(ranked), () if passages else retrieve.nearest(ranked))

    def ranked(self, query: str, scopes: tuple[str, ...], limit: int = retrieve.CANDIDATES) -> list[Passage]:
        """All candidates, best first, before the gate. Blocks; `search` is for askers, this for measuring."""
        with self._searching() as embedder:
            return self._ranked(embedder, query, scopes, max(retrieve.CANDIDATES, limit))

    @contextmanager
    def _searching(self) -> Iterator[Embeds]:
        # Not within: remembering may wait for a writer, and a change of vectors writes, and waits for searches to end.
        self._store.remember(self._manifest.vectors)
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
        cosines = vectors @ vector
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
            with self._store.write:
                self._manifest.close()
                self._store.close()

        await asyncio.to_thread(work)


def _number(id: str) -> int:
    """The manifest's number of a passage id; one that no passage has for anything else."""
    return int(id) if id.isdecimal() and len(id) < 19 else -1


def _bare(one: Stored) -> Passage:
    return Passage(str(one.id), one.document, one.document_id, one.heading, one.page, one.lines, one.text, one.start, one.end)
