"""The truth about the library: documents, their text, their passages. SQLite; knows no index, no model and no file format.

A passage counts only once it stands here. Vectors are kept beside their passage (float16, error under .001 of cosine), so
that the indexes are rebuilt without embedding anything again; those of its sentences as signed bytes, of which only the
direction counts.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import KnowledgeError
from rag import folders
from rag.folders import Folders
from rag.plain import damaged, plain, said

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, scope TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL, size INTEGER NOT NULL,
    kind TEXT NOT NULL, title TEXT NOT NULL, passages INTEGER NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,
    added REAL NOT NULL, changed REAL NOT NULL, pipeline TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (scope, source));
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE, ordinal INTEGER NOT NULL,
    text TEXT NOT NULL, heading TEXT NOT NULL, page INTEGER, lines TEXT, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    vector BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS passages_document ON passages (document, ordinal);
CREATE TABLE IF NOT EXISTS sentences (passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE, width INTEGER NOT NULL,
    vectors BLOB NOT NULL);
"""
COLUMNS = "id, scope, source, name, hash, size, kind, title, passages, state, error, added, changed, pipeline"
SELECT = """SELECT p.id, p.document, d.title, d.scope, p.ordinal, p.text, p.heading, p.page, p.lines, p.start, p."end", p.vector
FROM passages p JOIN documents d ON d.id = p.document WHERE"""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document as the manifest knows it."""

    id: str
    scope: str
    """"shared", or "chat:<id>" for what was uploaded there"""
    source: str
    """Absolute path, or "upload:<name>"."""
    name: str
    hash: str
    size: int
    kind: str
    title: str
    passages: int
    state: str
    """ready, no_text or failed"""
    error: str
    added: float
    changed: float
    """Seconds since 1970."""
    pipeline: str
    """Which reader, chunker and embedder made its passages."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A passage as the manifest knows it."""

    id: int
    document_id: str
    document: str
    """The document's title."""
    scope: str
    ordinal: int
    text: str
    heading: str
    """Headings from the outermost, joined by ' › '."""
    page: int | None
    lines: tuple[int, int] | None
    start: int
    end: int


class Manifest:
    """One writer at a time (the caller sees to it), any number of readers. Methods block."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        try:
            self._write, self._read = _connect(path), _connect(path)
            version = self.meta("version") or str(VERSION)
        except sqlite3.DatabaseError as error:
            if not damaged(error):
                raise said(error, path.parent) from error
            raise KnowledgeError(
                f"The library's manifest is damaged ({error}).", f"Move {path.name} out of the library folder and ingest again."
            ) from error
        if int(version) > VERSION:
            raise KnowledgeError("The library was written by a newer Relay.", "Update Relay, or set RELAY_HOME to another folder.")
        self._reading = threading.Lock()
        self.folders = Folders(self._transaction, self._rows)
        if not self.meta("version"):
            self.set_meta("version", str(VERSION))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on disk when it ends."""
        with plain(self._folder), ExitStack() as undo:
            undo.callback(self._roll_back)
            self._write.execute("BEGIN IMMEDIATE")
            yield self._write
            self._write.execute("COMMIT")
            undo.pop_all()

    def _roll_back(self) -> None:
        # When the disk is full, SQLite may have rolled back by itself.
        if self._write.in_transaction:
            self._write.execute("ROLLBACK")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with plain(self._folder), self._reading:
            return self._read.execute(sql, values).fetchall()

    def change(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction, for a table that another keeps beside these (rag.anew)."""
        return self._transaction()

    def look(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a reading query (rag.overview, rag.anew)."""
        return self._rows(sql, values)

    def meta(self, key: str) -> str:
        """A note about the library as a whole; empty when there is none."""
        row = self._write.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def set_meta(self, key: str, value: str) -> None:
        """Write a note about the library as a whole."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def reserve(self, count: int) -> int:
        """The first of `count` passage ids that were never used and never will be by another."""
        with self._transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'next'").fetchone()
            first = int(row[0]) if row else 1
            db.execute("INSERT OR REPLACE INTO meta VALUES ('next', ?)", (str(first + count),))
        return first

    def replace(self, entries: Iterable[tuple[DocumentInfo, str, Sequence[Stored], Vectors, Sequence[Vectors]]]) -> list[int]:
        """Put documents (with text, passages, their vectors and their sentences') in the place of those of the same source.

        One transaction: a reader sees the old passages or the new ones. Returns the ids of the passages that went.
        """
        gone: list[int] = []
        with self._transaction() as db:
            for info, text, passages, vectors, sentences in entries:
                for (old,) in db.execute("SELECT id FROM documents WHERE scope = ? AND source = ?", (info.scope, info.source)).fetchall():
                    gone += _delete(db, old)
                values = [getattr(info, name) for name in COLUMNS.split(", ")]
                db.execute(f"INSERT INTO documents ({COLUMNS}, text) VALUES ({','.join('?' * 15)})", (*values, text))  # noqa: S608
                db.executemany("INSERT INTO passages VALUES (?,?,?,?,?,?,?,?,?,?)", map(_passage_row, passages, vectors))
                ids = [passage.id for passage in passages]
                db.executemany("INSERT INTO sentences VALUES (?, ?, ?)", map(sentence_row, ids, sentences))
        return gone

    def delete(self, documents: Sequence[str]) -> list[int]:
        """Remove documents. Returns the ids of the passages that went."""
        with self._transaction() as db:
            return [id for document in documents for id in _delete(db, document)]

    def move(self, old: DocumentInfo, new: DocumentInfo) -> list[int] | None:
        """Give a document the source, name, title and error of `new`, whose source another may have had: that one goes.

        Returns the ids of the passages that went; None when `old` is no longer there.
        """
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM documents WHERE id = ? AND source = ?", (old.id, old.source)).fetchone():
                return None
            others = db.execute("SELECT id FROM documents WHERE scope = ? AND source = ?", (new.scope, new.source)).fetchall()
            gone = [id for (other,) in others for id in _delete(db, other)]
            values = (new.source, new.name, new.title, new.error, old.id)
            db.execute("UPDATE documents SET source = ?, name = ?, title = ?, error = ? WHERE id = ?", values)
        return gone

    def find(self, scope: str, source: str) -> DocumentInfo | None:
        """The document of that source, if any."""
        rows = self._rows(f"SELECT {COLUMNS} FROM documents WHERE scope = ? AND source = ?", (scope, source))  # noqa: S608
        return DocumentInfo(*rows[0]) if rows else None

    def documents(self, scopes: Sequence[str] | None = None) -> list[DocumentInfo]:
        """All documents, or those within `scopes`, by name."""
        where, values = ("", ()) if scopes is None else (f"WHERE {_within('scope', scopes)}", scopes)
        return [DocumentInfo(*row) for row in self._rows(f"SELECT {COLUMNS} FROM documents {where} ORDER BY name", values)]  # noqa: S608

    def text(self, document: str, scopes: Sequence[str]) -> str | None:
        """The normalised text, to which spans refer, of a document within `scopes`."""
        rows = self._rows(f"SELECT text FROM documents WHERE id = ? AND {_within('scope', scopes)}", (document, *scopes))  # noqa: S608
        return str(rows[0][0]) if rows else None

    def count(self) -> int:
        """All passages."""
        return int(self._rows("SELECT count(*) FROM passages")[0][0])

    def ids(self) -> set[int]:
        """Ids of all passages."""
        return {int(row[0]) for row in self._rows("SELECT id FROM passages")}

    def passages(
        self, where: str, values: Sequence[Any], scopes: Sequence[str] | None, order: str = "p.id"
    ) -> tuple[list[Stored], Vectors]:
        """Passages and their vectors (n, d) by a condition on p(assages) and d(ocuments), within `scopes`; None is all of them."""
        if scopes is not None:
            # The plus keeps SQLite from going through all documents of the scopes.
            where, values = f"{where} AND {_within('+d.scope', scopes)}", [*values, *scopes]
        rows = self._rows(f"{SELECT} {where} ORDER BY {order}", values)
        vectors = np.array([np.frombuffer(row[11], dtype=np.float16) for row in rows], dtype=np.float32)
        return [_stored(row) for row in rows], vectors

    def by_ids(self, ids: Sequence[int], scopes: Sequence[str] | None = None) -> tuple[list[Stored], Vectors]:
        """Those of the passages that exist, within `scopes` when given."""
        return self.passages(f"p.id IN ({','.join('?' * len(ids))})", ids, scopes)

    def sentences(self, ids: Sequence[int]) -> dict[int, Vectors]:
        """Sentence vectors (n, d) of those of the passages that have any. Their length is not 1."""
        marks = ",".join("?" * len(ids))
        rows = self._rows(f"SELECT passage, vectors, width FROM sentences WHERE passage IN ({marks})", ids)  # noqa: S608
        return {int(id): np.frombuffer(data, dtype=np.int8).astype(np.float32).reshape(-1, width) for id, data, width in rows}

    def vectors(self, ids: Sequence[int]) -> tuple[list[int], list[str], Vectors]:
        """Those of the passages that exist, in the order of their ids: ids, scopes and vectors (n, d)."""
        sql = "SELECT p.id, d.scope, p.vector FROM passages p JOIN documents d ON d.id = p.document WHERE p.id IN ({}) ORDER BY p.id"
        rows = self._rows(sql.format(",".join("?" * len(ids))), ids)
        matrix = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.float16).reshape(len(rows), -1 if rows else 0)
        return [int(row[0]) for row in rows], [str(row[1]) for row in rows], matrix.astype(np.float32)

    def words(self, ids: Sequence[int]) -> list[tuple[int, str, str, str, str]]:
        """Those of the passages that exist: (id, scope, document's title, heading, text)."""
        sql = "SELECT p.id, d.scope, d.title, p.heading, p.text FROM passages p JOIN documents d ON d.id = p.document WHERE p.id IN ({})"
        return self._rows(sql.format(",".join("?" * len(ids))), ids)

    def set_vectors(self, ids: Sequence[int], vectors: Vectors, sentences: Sequence[Vectors]) -> None:
        """New vectors for passages and their sentences, after a change of embedder."""
        with self._transaction() as db:
            pairs = [(vector.astype(np.float16).tobytes(), id) for id, vector in zip(ids, vectors, strict=True)]
            db.executemany("UPDATE passages SET vector = ? WHERE id = ?", pairs)
            db.executemany("INSERT OR REPLACE INTO sentences VALUES (?, ?, ?)", map(sentence_row, ids, sentences))

    def close(self) -> None:
        """Close the file."""
        self._write.close()
        with self._reading:
            self._read.close()


def _within(column: str, scopes: Sequence[str]) -> str:
    """The condition that a row is in one of `scopes`; nothing is in none of them."""
    return f"{column} IN ({','.join('?' * len(scopes))})"


def now() -> float:
    """Seconds since 1970, as documents carry them."""
    return time.time()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        # A search reads hundreds of rows: mapped pages need no copy and no small cache.
        connection.execute("PRAGMA mmap_size = 1073741824")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(SCHEMA + folders.SCHEMA)
        undo.pop_all()
    return connection


def _delete(db: sqlite3.Connection, document: str) -> list[int]:
    ids = [int(row[0]) for row in db.execute("SELECT id FROM passages WHERE document = ?", (document,))]
    db.execute("DELETE FROM documents WHERE id = ?", (document,))
    return ids


def _stored(row: Sequence[Any]) -> Stored:
    lines = tuple(json.loads(row[8])) if row[8] else None
    return Stored(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], lines, row[9], row[10])


def _passage_row(passage: Stored, vector: npt.NDArray[np.float32]) -> tuple[Any, ...]:
    lines = json.dumps(passage.lines) if passage.lines else None
    place = (passage.text, passage.heading, passage.page, lines, passage.start, passage.end)
    return (passage.id, passage.document_id, passage.ordinal, *place, vector.astype(np.float16).tobytes())


def sentence_row(id: int, vectors: Vectors) -> tuple[int, int, bytes]:
    """Signed bytes: the largest part of each vector is 127. The cosine's error is under .01 and costs no rank."""
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-9)
    return id, vectors.shape[1], np.rint(vectors / largest * 127).astype(np.int8).tobytes()
