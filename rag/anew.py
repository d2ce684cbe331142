"""A side table in the manifest: every passage's vectors by another embedder, until they take the place of the first.

Knows the manifest's tables and nothing of embedders or indexes. What stands in it survives a kill; passages that go take
their rows with them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from rag.manifest import Manifest, Stored, sentence_row

SCHEMA = """CREATE TABLE IF NOT EXISTS anew (passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    vector BLOB NOT NULL, width INTEGER NOT NULL, sentences BLOB NOT NULL)"""
TARGET = "anew"
"""The note that names whose vectors they are."""
WITHOUT = "p.id > ? AND NOT EXISTS (SELECT 1 FROM anew a WHERE a.passage = p.id)"

Vectors = npt.NDArray[np.float32]


class Anew:
    """The side table. One writer at a time, as for the manifest; methods block."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def begin(self, embedder: str) -> None:
        """Go on with this embedder's vectors, or start with them; another's are dropped."""
        with self._manifest.change() as db:
            db.execute(SCHEMA)
            if self._manifest.meta(TARGET) != embedder:
                self._drop(db)
                db.execute("INSERT INTO meta VALUES (?, ?)", (TARGET, embedder))

    def drop(self) -> None:
        """Forget what was begun, if anything was."""
        if self._manifest.meta(TARGET):
            with self._manifest.change() as db:
                self._drop(db)

    @staticmethod
    def _drop(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM anew")
        db.execute("DELETE FROM meta WHERE key = ?", (TARGET,))

    def without(self, after: int, count: int) -> list[Stored]:
        """The next `count` passages behind the id `after` that have no vectors yet."""
        return self._manifest.passages(WITHOUT, (after, count), None, "p.id LIMIT ?")[0]

    def count(self) -> int:
        """Passages that have their vectors."""
        return int(self._manifest.look("SELECT count(*) FROM anew")[0][0])

    def put(self, ids: Sequence[int], vectors: Vectors, sentences: Sequence[Vectors]) -> None:
        """Keep vectors of those of the passages that are still there."""
        rows = map(sentence_row, ids, sentences)
        with self._manifest.change() as db:
            db.executemany(
                "INSERT OR REPLACE INTO anew SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM passages WHERE id = ?1)",
                [(id, vector.astype(np.float16).tobytes(), width, data) for vector, (id, width, data) in zip(vectors, rows, strict=True)],
            )

    def vectors(self, size: int = 4096) -> Iterator[tuple[list[int], list[str], Vectors]]:
        """Ids, scopes and new vectors of all passages, `size` at a time."""
        last = -1
        sql = """SELECT a.passage, d.scope, a.vector FROM anew a JOIN passages p ON p.id = a.passage JOIN documents d ON d.id = p.document
            WHERE a.passage > ? ORDER BY a.passage LIMIT ?"""
        while rows := self._manifest.look(sql, (last, size)):
            last = int(rows[-1][0])
            matrix = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.float16).reshape(len(rows), -1)
            yield [int(row[0]) for row in rows], [str(row[1]) for row in rows], matrix.astype(np.float32)

    @contextmanager
    def taken(self, embedder: str) -> Iterator[None]:
        """The new vectors in the place of the old, for good when the block ends well. Every document is now this embedder's:

        its file is not read again because of the change.
        """
        with self._manifest.change() as db:
            db.execute("UPDATE passages SET vector = (SELECT vector FROM anew WHERE passage = passages.id)")
            db.execute("DELETE FROM sentences")
            db.execute("INSERT INTO sentences SELECT passage, width, sentences FROM anew")
            db.execute("UPDATE documents SET pipeline = substr(pipeline, 1, instr(pipeline, '/')) || ?", (embedder,))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('embedder', ?)", (embedder,))
            self._drop(db)
            yield
