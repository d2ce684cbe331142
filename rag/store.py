"""The two indexes behind one owner: Chroma for vectors, SQLite FTS5 for words. The only file that imports chromadb.

While they are few, the vectors are also kept in memory, where search is exact and a filter costs nothing.

Both can be rebuilt from the manifest, and hold nothing else: ids, vectors, words, scopes. Knows no file and no document.
Indexes that are not as the last clean close left them (rag.seal) are thrown away at open: they come up empty.
Chroma's embedded client is not safe for two processes: a lock on the folder keeps the second one out.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from base.errors import KnowledgeError, LibraryInUse
from rag import seal
from rag.nearest import Rows
from rag.plain import plain, said
from rag.words import terms

LOCK = "library.lock"
COLLECTION = "passages"
BESIDE = "passages-anew"
"""Vectors of another embedder, until all are there."""
BATCH = 1000
MOST_MATCHES = 5000
"""Passages that a keyword query scores, about."""
ALWAYS = 2
"""Words of a query that are looked for however common they are."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the indexes are told of a passage."""

    id: int
    scope: str
    heading: str
    text: str


def opened() -> dict[str, Any]:
    """The folders this process owns. Kept on `sys`: `chainlit run -w` drops and imports our modules anew, and the
    operating system's lock does not tell the new ones from another process."""
    stores: dict[str, Any] = vars(sys).setdefault("_relay_open_stores", {})
    return stores


class Store:
    """The indexes of one library folder. Methods block; call them in a thread."""

    def __init__(self, folder: Path, handle: Any, client: Any) -> None:
        self.folder, self.handle = folder, handle
        self._client = client
        self._collection = self._open_collection()
        self._writer, self._reader = _connect(folder), _connect(folder)
        self._reading = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Own the folder. Raises LibraryInUse when another process does."""
        folder.mkdir(parents=True, exist_ok=True)
        key = str(folder.resolve())
        handle = opened().get(key)
        if handle is None:
            lock = FileLock(folder / LOCK, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise LibraryInUse(
                    "Another Relay process owns this library.", "Use that one, or end it, or set RELAY_HOME to a folder of its own."
                ) from None
            handle = SimpleNamespace(lock=lock, client=None, users=0, write=threading.RLock(), trusted=True, rows=None)
            opened()[key] = handle
        with ExitStack() as undo:
            if handle.users == 0:
                undo.callback(_release, key, handle)
            with handle.write, plain():
                if handle.client is None:
                    handle.client = _opened_client(folder)
                store = cls(folder, handle, handle.client)
            undo.pop_all()
        handle.users += 1
        return store

    @property
    def write(self) -> threading.RLock:
        """Held by whoever writes to the folder, in all copies of our modules."""
        lock: threading.RLock = self.handle.write
        return lock

    def _open_collection(self, name: str = COLLECTION) -> Any:
        with self._watched():
            return self._client.get_or_create_collection(
                name, embedding_function=None, configuration={"hnsw": {"space": "cosine", "ef_search": 200}}
            )

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """What an index complains about as sentences; it is not trusted any more, and made anew at the next open."""
        from chromadb.errors import ChromaError

        try:
            yield
        except (sqlite3.DatabaseError, OSError, ChromaError) as error:
            self.handle.trusted = False
            seal.unseal(self.folder)
            raise said(error, self.folder) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """From here on a kill leaves indexes that are made anew."""
        with self._watched():
            seal.unseal(self.folder)
            yield

    def add(self, rows: Sequence[Row], vectors: npt.NDArray[np.float32]) -> None:
        """Put passages into both indexes; an id that is there is replaced."""
        with self.write, self._writing():
            for at in range(0, len(rows), BATCH):
                part = rows[at : at + BATCH]
                self._collection.upsert(
                    ids=[str(row.id) for row in part],
                    embeddings=vectors[at : at + BATCH],
                    metadatas=[{"scope": row.scope} for row in part],
                )
            with self._writer:
                self._writer.executemany("DELETE FROM words WHERE rowid = ?", [(row.id,) for row in rows])
                self._writer.executemany(
                    "INSERT INTO words (rowid, heading, text, scope) VALUES (?, ?, ?, ?)",
                    [(row.id, row.heading, row.text, row.scope) for row in rows],
                )
            if self.handle.rows is not None:
                self.handle.rows.add([row.id for row in rows], [row.scope for row in rows], vectors)

    def delete(self, ids: Sequence[int]) -> None:
        """Take passages out of both indexes; unknown ids are passed over."""
        if not ids:
            return
        with self.write, self._writing():
            for at in range(0, len(ids), BATCH):
                self._collection.delete(ids=[str(id) for id in ids[at : at + BATCH]])
            with self._writer:
                self._writer.executemany("DELETE FROM words WHERE rowid = ?", [(id,) for id in ids])
            if self.handle.rows is not None:
                self.handle.rows.delete(ids)

    def remember(self, load: Callable[[], Iterable[tuple[Sequence[int], Sequence[str], npt.NDArray[np.float32]]]]) -> None:
        """Keep the vectors in memory from now on, unless they already are. `load` gives all of them: ids, scopes, vectors."""
        if self.handle.rows is None:
            with self.write:
                rows = Rows()
                for ids, scopes, vectors in load():
                    rows.add(ids, scopes, vectors)
                self.handle.rows = rows

    def dense(self, vector: npt.NDArray[np.float32], scopes: Sequence[str], count: int) -> list[int]:
        """Ids of the `count` passages nearest to `vector` in `scopes`: exact when they are in memory, by Chroma otherwise."""
        if self.handle.rows is not None and not self.handle.rows.full:
            ids: list[int] = self.handle.rows.nearest(vector, scopes, count)
            return ids
        where = {"scope": {"$in": list(scopes)}} if len(scopes) > 1 else {"scope": scopes[0]}
        with self._watched():
            found = self._collection.query(query_embeddings=[vector], n_results=count, where=where, include=[])
        return [int(id) for id in found["ids"][0]]

    def keyword(self, query: str, scopes: Sequence[str], count: int) -> list[tuple[int, float]]:
        """(id, BM25) of the `count` passages in `scopes` that match words of `query` best; higher is better."""
        marks = ",".join("?" * len(scopes))
        with self._watched(), self._reading:
            words = self._telling(terms(query))
            if not words:
                return []
            rows = self._reader.execute(
                f"SELECT rowid, -rank FROM words WHERE words MATCH ? AND scope IN ({marks}) ORDER BY rank LIMIT ?",  # noqa: S608
                (" OR ".join(map(_quoted, words)), *scopes, count),
            ).fetchall()
        return [(int(id), float(score)) for id, score in rows]

    def _telling(self, words: Sequence[str]) -> list[str]:
        """Those of the words that occur, rarest first, and in a large library only as many as can be scored in time.

        Scoring takes 1.4 µs a match. The two rarest always stay; words that half the library holds weigh next to nothing.
        """
        counted = ((self._reader.execute("SELECT count(*) FROM words WHERE words MATCH ?", (_quoted(word),)), word) for word in words)
        held = sorted((number, word) for rows, word in counted if (number := int(rows.fetchone()[0])))
        kept: list[str] = []
        matches = 0
        for number, word in held:
            matches += number
            if len(kept) >= ALWAYS and matches > MOST_MATCHES:
                break
            kept.append(word)
        return kept

    def beside(self, vectors: Iterable[tuple[Sequence[int], Sequence[str], npt.NDArray[np.float32]]]) -> tuple[Any, Rows]:
        """Other vectors for all passages (as `remember` loads them), beside those in use. The caller holds `write`."""
        with self._writing():
            if BESIDE in {one.name for one in self._client.list_collections()}:
                self._client.delete_collection(BESIDE)
            fresh, rows = self._open_collection(BESIDE), Rows()
            for ids, scopes, part in vectors:
                for at in range(0, len(ids), BATCH):
                    fresh.upsert(
                        ids=[str(id) for id in ids[at : at + BATCH]],
                        embeddings=part[at : at + BATCH],
                        metadatas=[{"scope": scope} for scope in scopes[at : at + BATCH]],
                    )
                rows.add(ids, scopes, part)
            return fresh, rows

    def exchange(self, made: tuple[Any, Rows]) -> None:
        """Search in those that `beside` made from now on. No search may be under way."""
        self._collection, rows = made
        self.handle.rows = rows if self.handle.rows is not None else None

    def settle(self) -> None:
        """After `exchange`: the old vectors go, the new take their name."""
        with self._writing():
            self._client.delete_collection(COLLECTION)
            self._collection.modify(name=COLLECTION)

    def counts(self) -> tuple[int, int]:
        """Passages in Chroma and in the keyword index."""
        with self._watched(), self._reading:
            words = int(self._reader.execute("SELECT count(*) FROM words").fetchone()[0])
            return int(self._collection.count()), words

    def ids(self) -> tuple[set[int], set[int]]:
        """Ids in Chroma and in the keyword index."""
        with self._watched(), self._reading:
            words = {int(row[0]) for row in self._reader.execute("SELECT rowid FROM words")}
            return {int(id) for id in self._collection.get(include=[])["ids"]}, words

    def clear(self) -> None:
        """Empty both indexes."""
        with self.write, self._writing():
            self._client.delete_collection(COLLECTION)
            self._collection = self._open_collection()
            self.handle.rows = None
            with self._writer:
                self._writer.execute("DELETE FROM words")

    def close(self) -> None:
        """Give the folder up when nobody else in this process uses it."""
        self._writer.close()
        with self._reading:
            self._reader.close()
        self.handle.users -= 1
        if self.handle.users <= 0:
            _release(str(self.folder.resolve()), self.handle, self.folder)


def _quoted(word: str) -> str:
    return f'"{word}"'


def _release(key: str, handle: Any, clean: Path | None = None) -> None:
    """Close the last use of a folder. `clean`: the folder, when its indexes may be sealed."""
    opened().pop(key, None)
    with ExitStack() as last:
        last.callback(handle.lock.release)
        if handle.client is not None:
            handle.client.close()
        if clean and handle.trusted:
            seal.seal(clean)


def _opened_client(folder: Path) -> Any:
    """Chroma on files that were checked, or on none."""
    if seal.intact(folder):
        client = _open_client(folder)
        seal.renew(folder)
        return client
    seal.discard(folder)
    return _open_client(folder)


def _open_client(folder: Path) -> Any:
    """Chroma on `folder`/chroma; when it cannot be opened it is thrown away and made anew, for it can be rebuilt."""
    import chromadb
    from chromadb.config import Settings
    from chromadb.errors import ChromaError

    path = folder / seal.CHROMA
    settings = Settings(anonymized_telemetry=False, allow_reset=False)
    try:
        return chromadb.PersistentClient(path=str(path), settings=settings)
    except (ChromaError, ValueError, RuntimeError, OSError, sqlite3.Error, KeyError):
        shutil.rmtree(path, ignore_errors=True)
    try:
        return chromadb.PersistentClient(path=str(path), settings=settings)
    except (ChromaError, ValueError, RuntimeError, OSError, sqlite3.Error, KeyError) as error:
        raise KnowledgeError(
            f"The vector index cannot be opened ({type(error).__name__}).", "Check the disk and the rights on the library folder."
        ) from error


def _connect(folder: Path) -> sqlite3.Connection:
    """The keyword index; a damaged file is thrown away, for it can be rebuilt."""
    path = folder / seal.KEYWORDS
    try:
        return _connected(path)
    except sqlite3.DatabaseError:
        seal.discard_keywords(folder)
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        # A search reads hundreds of rows: mapped pages need no copy and no small cache.
        connection.execute("PRAGMA mmap_size = 1073741824")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(heading, text, scope UNINDEXED, tokenize = 'porter unicode61')"
        )
        connection.commit()
        undo.pop_all()
    return connection
