"""The indexes of a library behind one owner: Chroma and memory for vectors, FTS5 for words. The only file that imports chromadb.

While they are few, the vectors are searched in memory, where search is exact and a filter costs nothing; Chroma answers beyond
that. All of it can be made anew from the manifest, which has the last word; a keeper (rag.keeper) sees to that in the
background. Chroma follows the library and never holds it up: when it fails, it is thrown away and made anew.
Knows no file and no document. Chroma's embedded client is not safe for two processes: a lock on the folder keeps the second
one out.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from filelock import FileLock, Timeout

from base.errors import KnowledgeError, LibraryInUse
from rag import seal
from rag.keeper import Keeper, Truth
from rag.keywords import Keywords, Row
from rag.nearest import Rows, Vectors
from rag.plain import full, plain, said

__all__ = ["Chroma", "Row", "Store"]

LOCK = "library.lock"
COLLECTION = "passages"
BATCH = 1000
PATIENCE = 20.0
"""Seconds that a search waits for an index that is being made anew."""
ROOM, ROOM_EACH = 4_000_000, 6_000
"""Bytes that Chroma needs, and for each passage."""


def opened() -> dict[str, Any]:
    """The folders this process owns. Kept on `sys`: `chainlit run -w` drops and imports our modules anew, and the
    operating system's lock does not tell the new ones from another process."""
    stores: dict[str, Any] = vars(sys).setdefault("_relay_open_stores", {})
    return stores


class Chroma:
    """The vector index on disk. Opened late; what it complains about makes it untrusted, and empty at its next opening."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._client: Any = None
        self._collection: Any = None
        self._broken = False
        self.ready = threading.Event()
        """It is open and holds what it should."""

    def prepare(self) -> None:
        """Import it: 1 s."""
        import chromadb  # noqa: F401

    def open(self, expected: int) -> None:
        """On files that are as they were sealed, or on none. Raises KnowledgeError, also when the disk has no room for it."""
        if self._broken:
            self.discard()
        if self._client is not None:
            return
        sound = seal.intact(self._folder, seal.CHROMA)
        with self._watched():
            if not sound:
                seal.discard(self._folder, seal.CHROMA)
                if shutil.disk_usage(self._folder).free < ROOM + ROOM_EACH * expected:
                    raise full()
            self._client = _client(self._folder / seal.CHROMA)
            configuration = {"hnsw": {"space": "cosine", "ef_search": 200}}
            self._collection = self._client.get_or_create_collection(COLLECTION, embedding_function=None, configuration=configuration)
            if sound:
                seal.renew(self._folder)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Complaints as sentences. A closed client has lost its attributes."""
        from chromadb.errors import ChromaError

        try:
            yield
        except (ChromaError, ValueError, RuntimeError, OSError, sqlite3.Error, KeyError, AttributeError) as error:
            self._broken = True
            self.ready.clear()
            seal.unseal(self._folder, seal.CHROMA)
            raise said(error, self._folder) from error

    def discard(self) -> None:
        """Close it and throw its files away. The lock for changes is held."""
        self.close()
        seal.discard(self._folder, seal.CHROMA)

    def put(self, ids: Sequence[int], scopes: Sequence[str], vectors: Vectors) -> None:
        """Put vectors in; an id that is there is replaced. Nothing before it is opened: the keeper compares then."""
        if (collection := self._collection) is None or self._broken:
            return
        with self._watched():
            seal.unseal(self._folder, seal.CHROMA)
            for at in range(0, len(ids), BATCH):
                part = slice(at, at + BATCH)
                metadatas = [{"scope": scope} for scope in scopes[part]]
                collection.upsert(ids=list(map(str, ids[part])), embeddings=vectors[part], metadatas=metadatas)

    def delete(self, ids: Sequence[int]) -> None:
        """Take vectors out; unknown ids are passed over."""
        if (collection := self._collection) is None or self._broken:
            return
        with self._watched():
            for at in range(0, len(ids), BATCH):
                seal.unseal(self._folder, seal.CHROMA)
                collection.delete(ids=list(map(str, ids[at : at + BATCH])))

    def nearest(self, vector: Vectors, scopes: Sequence[str], count: int) -> list[int]:
        """Ids of the `count` passages nearest to `vector` in `scopes`, about."""
        where = {"scope": {"$in": list(scopes)}} if len(scopes) > 1 else {"scope": scopes[0]}
        with self._watched():
            found = self._collection.query(query_embeddings=[vector], n_results=count, where=where, include=[])
        return [int(id) for id in found["ids"][0]]

    def ids(self) -> set[int]:
        """Of all vectors."""
        with self._watched():
            return {int(id) for id in self._collection.get(include=[])["ids"]}

    def close(self, sealed: bool = False) -> None:
        """Close the files, and seal them when asked: for what is not whole yet goes on from there."""
        self.ready.clear()
        sealed = sealed and not self._broken
        client, self._client, self._collection, self._broken = self._client, None, None, False
        if client is not None:
            client.close()
            if sealed:
                seal.seal(self._folder, seal.CHROMA)


class Store:
    """The indexes of one library folder. Methods block; call them in a thread."""

    def __init__(self, folder: Path, handle: Any) -> None:
        self.folder, self.handle = folder, handle

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Own the folder. Raises LibraryInUse when another process does."""
        with plain(folder):
            folder.mkdir(parents=True, exist_ok=True)
            key = str(folder.resolve())
            handle = opened().get(key)
            if handle is None:
                handle = opened()[key] = _owned(folder)
        handle.users += 1
        return cls(folder, handle)

    @property
    def write(self) -> threading.RLock:
        """Held by whoever writes to the folder, in all copies of our modules."""
        lock: threading.RLock = self.handle.write
        return lock

    @property
    def keywords(self) -> Keywords:
        """The keyword index."""
        held: Keywords = self.handle.keywords
        return held

    @property
    def keeper(self) -> Keeper | None:
        """Who makes the indexes level; None until `follow`."""
        held: Keeper | None = self.handle.keeper
        return held

    @property
    def state(self) -> str:
        """See Keeper.state."""
        return self.keeper.state if self.keeper else "opening"

    def follow(self, truth: Callable[[], Truth]) -> None:
        """From now on keep the indexes level with the truth, which is asked in another thread."""
        with self.write:
            if self.keeper is None:
                self.handle.keeper = Keeper(self.write, self.keywords, self.handle.chroma, truth())

    def add(self, rows: Sequence[Row], vectors: Vectors) -> None:
        """Put passages into the indexes; an id that is there is replaced. What fails leaves the keyword index as it was."""
        if not rows:
            return
        with self.write, plain():
            self._mended(lambda: self.keywords.add(rows))
            ids, scopes = [row.id for row in rows], [row.scope for row in rows]
            if self.keeper:
                self.keeper.rows.add(ids, scopes, vectors)
            self._chroma(lambda: self.handle.chroma.put(ids, scopes, vectors))

    def delete(self, ids: Sequence[int]) -> None:
        """Take passages out of the indexes; unknown ids are passed over. What a full disk leaves there goes with the next change."""
        if not ids:
            return
        with self.write, plain():
            self.handle.doomed.update(ids)
            with suppress(KnowledgeError):
                self._mended(lambda: self.keywords.delete(sorted(self.handle.doomed)))
                self.handle.doomed.clear()
            if self.keeper:
                self.keeper.rows.delete(ids)
            self._chroma(lambda: self.handle.chroma.delete(ids))

    def _mended(self, work: Callable[[], None]) -> None:
        """A change of the keyword index; when its file is damaged, of a new one, which the keeper fills."""
        try:
            work()
        except KnowledgeError:
            if not self.keywords.damaged:
                raise
            self.keywords.renew()
            self._wake()
            work()

    def _chroma(self, work: Callable[[], None]) -> None:
        """A change of Chroma; when it fails, the keeper makes it anew."""
        try:
            work()
        except KnowledgeError:
            self._wake()

    def _wake(self) -> None:
        if self.keeper:
            self.keeper.wake()

    def dense(self, vector: Vectors, scopes: Sequence[str], count: int) -> list[int]:
        """Ids of the `count` passages nearest to `vector` in `scopes`: exact when they are in memory, by Chroma otherwise."""
        assert self.keeper, "followed before it is searched"
        rows = self.keeper.loaded()
        if not rows.full:
            return rows.nearest(vector, scopes, count)
        if self.handle.chroma.ready.is_set():
            try:
                ids: list[int] = self.handle.chroma.nearest(vector, scopes, count)
                return ids
            except KnowledgeError:
                self._wake()
        return self.keeper.scan(vector, scopes, count)

    def ready(self) -> None:
        """Wait until the vectors are in memory, or will never be, and the words are there."""
        assert self.keeper, "followed before it is searched"
        self.keeper.loaded()
        self._wait_for_words()

    def beside(self, vectors: Iterable[tuple[Sequence[int], Sequence[str], Vectors]]) -> Rows:
        """Other vectors for all passages, beside those in use. The caller holds `write`."""
        rows = Rows()
        for ids, scopes, part in vectors:
            rows.add(ids, scopes, part)
        rows.whole.set()
        return rows

    def distrust(self) -> None:
        """What Chroma holds is about to be no longer so: a kill from now on leaves it to be made anew."""
        with plain(self.folder):
            seal.unseal(self.folder, seal.CHROMA)

    def exchange(self, rows: Rows) -> None:
        """Search in those that `beside` made from now on; Chroma follows. The caller holds `write`; no search may be under way."""
        assert self.keeper, "followed before it is changed"
        self.keeper.rows = rows
        self.handle.chroma.discard()
        self.keeper.wake()

    def keyword(self, query: str, scopes: Sequence[str], count: int) -> list[tuple[int, float]]:
        """(id, BM25) of the `count` passages in `scopes` that match words of `query` best; higher is better."""
        self._wait_for_words()
        try:
            return self.keywords.find(query, scopes, count)
        except KnowledgeError:
            if not self.keywords.damaged:
                raise
        self._wake()
        self._wait_for_words()
        return self.keywords.find(query, scopes, count)

    def _wait_for_words(self) -> None:
        """While they are made anew; not when that cannot be done for now."""
        if self.keeper and not self.keeper.trouble:
            self.keywords.whole.wait(PATIENCE)

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to be done, or can be done for now."""
        return not self.keeper or self.keeper.level.wait(seconds)

    def ids(self) -> tuple[set[int], set[int]]:
        """Ids in Chroma and in the keyword index, once they are settled."""
        self.settle()
        return self.handle.chroma.ids(), self.keywords.ids()

    def word_ids(self) -> set[int] | None:
        """Ids in the keyword index; None when its file is damaged."""
        try:
            return self.keywords.ids()
        except KnowledgeError:
            if not self.keywords.damaged:
                raise
            return None

    def clear(self) -> None:
        """Empty the indexes; the keeper fills them again from the truth."""
        with self.write:
            self.keywords.renew()
            self.handle.chroma.discard()
            if self.keeper:
                self.keeper.forget()

    def close(self) -> None:
        """Give the folder up when nobody else in this process uses it."""
        self.handle.users -= 1
        if self.handle.users > 0:
            return
        opened().pop(str(self.folder.resolve()), None)
        with ExitStack() as last:
            last.callback(self.handle.lock.release)
            if self.keeper:
                self.keeper.stop()
            with self.write:
                last.callback(self.handle.chroma.close, sealed=True)
                self.keywords.close()


def _owned(folder: Path) -> SimpleNamespace:
    """What the copies of our modules share of a folder."""
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LibraryInUse(
            "Another Relay process owns this library.", "Use that one, or end it, or set RELAY_HOME to a folder of its own."
        ) from None
    with ExitStack() as undo:
        undo.callback(lock.release)
        parts = {"keywords": Keywords(folder), "chroma": Chroma(folder)}
        undo.pop_all()
    return SimpleNamespace(lock=lock, users=0, write=threading.RLock(), keeper=None, doomed=set[int](), **parts)


def _client(path: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False, allow_reset=False))
