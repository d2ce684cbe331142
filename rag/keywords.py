"""The keyword index: SQLite FTS5 over headings and texts, with a word of its own for each scope. Knows no document and no vector.

It survives a kill as SQLite does, and may then hold a passage too many or too few: whoever opens it compares. A filter that
leaves few rows is part of the match (a scope is a word like others), for looking at each hit's scope reads each hit's row.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rag import seal
from rag.plain import damaged, said
from rag.words import terms

VERSION = 2
SCHEMA = f"""
BEGIN IMMEDIATE;
DROP TABLE IF EXISTS words;
CREATE VIRTUAL TABLE words USING fts5(heading, text, scope, tokenize = 'porter unicode61');
INSERT INTO words (words, rank) VALUES ('rank', 'bm25(1.0, 1.0, 0.0)');
INSERT INTO words (words, rank) VALUES ('hashsize', 33554432);
PRAGMA user_version = {VERSION};
COMMIT;
"""  # noqa: S608
MOST_MATCHES = 5000
"""Passages that a query scores, about: 1.4 µs each."""
COMMON = 20_000
"""Passages from which a word is too common to be worth counting, and is only looked for when it is the rarest of a query."""
LOOKED_AT = 0.1
"""What a passage outside the filter costs, beside one that is scored: BM25 counts a word's passages everywhere."""
MOST_SCOPES = 100
"""Scopes that can be part of a match."""
CACHED = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """What the indexes are told of a passage."""

    id: int
    scope: str
    heading: str
    text: str


class Keywords:
    """One writer at a time (the caller sees to it), readers take turns. Methods block; trouble is raised as KnowledgeError."""

    def __init__(self, folder: Path, most_matches: int = MOST_MATCHES, common: int = COMMON) -> None:
        self._folder, self._most, self._common = folder, most_matches, common
        self.checked = seal.intact(folder, seal.KEYWORDS)
        """Its files are known to be sound."""
        self.damaged = False
        """Its files are known not to be."""
        self.whole = threading.Event()
        """It holds what it should; until it does, whoever searches waits."""
        self._reading = threading.Lock()
        self._counts: dict[str, int] = {}
        """Passages that hold a word, and under "" all. Another one after each change."""
        self._checking: sqlite3.Connection | None = None
        try:
            self._writer, self._reader = self._connections()
        except sqlite3.DatabaseError as error:
            if not damaged(error):
                raise said(error, self._folder) from error
            self._start_over()

    def _connections(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        path = self._folder / seal.KEYWORDS
        with ExitStack() as undo:
            writer = _connected(path)
            undo.callback(writer.close)
            reader = _connected(path)
            undo.pop_all()
        return writer, reader

    def _start_over(self) -> None:
        seal.discard(self._folder, seal.KEYWORDS)
        self._writer, self._reader = self._connections()
        self._counts = {}
        self.checked, self.damaged = True, False

    def renew(self) -> None:
        """Throw the file away for an empty one."""
        with self._reading, self._watched():
            self.damaged = True
            self.whole.clear()
            self._writer.close()
            self._reader.close()
            self._start_over()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Complaints as sentences; what tells of damage is remembered."""
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            if damaged(error):
                self.checked, self.damaged = False, True
                self.whole.clear()
                seal.unseal(self._folder, seal.KEYWORDS)
            raise said(error, self._folder) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        with self._watched():
            seal.unseal(self._folder, seal.KEYWORDS)
            with self._writer:
                yield self._writer
            self._counts = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Put passages in; an id that is there is replaced."""
        with self._writing() as db:
            db.executemany("DELETE FROM words WHERE rowid = ?", [(row.id,) for row in rows])
            values = [(row.id, row.heading, row.text, token(row.scope)) for row in rows]
            db.executemany("INSERT INTO words (rowid, heading, text, scope) VALUES (?, ?, ?, ?)", values)

    def delete(self, ids: Sequence[int]) -> None:
        """Take passages out; unknown ids are passed over."""
        with self._writing() as db:
            db.executemany("DELETE FROM words WHERE rowid = ?", [(id,) for id in ids])

    def find(self, query: str, scopes: Sequence[str], count: int) -> list[tuple[int, float]]:
        """(id, BM25) of the `count` passages in `scopes` that match words of `query` best; higher is better."""
        with self._watched(), self._reading:
            tokens = list(map(token, scopes))
            share = self._share(tokens)
            words = self._telling(terms(query), share)
            if not words or not share:
                return []
            match, where, values = " OR ".join(map(_quoted, words)), f"AND scope IN ({','.join('?' * len(tokens))})", tokens
            if share < 1:
                match, where, values = f"scope : ({' OR '.join(map(_quoted, tokens))}) AND ({match})", "", []
            sql = f"SELECT rowid, -rank FROM words WHERE words MATCH ? {where} ORDER BY rank LIMIT ?"  # noqa: S608
            return [(int(id), float(score)) for id, score in self._reader.execute(sql, (match, *values, count))]

    def _share(self, tokens: Sequence[str]) -> float:
        """Which part of all passages is in these scopes, 0 to 1; 1 when the filter leaves too many to be part of the match."""
        held = [self._count(one) for one in tokens] if len(tokens) <= MOST_SCOPES else [self._common]
        counts = self._counts
        if (total := counts.get("")) is None:
            total = counts[""] = int(self._reader.execute("SELECT count(*) FROM words_docsize").fetchone()[0])
        return 1.0 if max(held, default=0) >= self._common else min(sum(held) / max(1, total), 0.99)

    def _telling(self, words: Sequence[str], share: float) -> list[str]:
        """Those of the words that occur, rarest first, and in a large library only as many as can be scored in time.

        The rarest always stays. Words that half the library holds weigh next to nothing.
        """
        kept: list[str] = []
        cost = 0.0
        for number, word in sorted((number, word) for word in words if (number := self._count(word))):
            cost += number * min(1.0, share + LOOKED_AT)
            if kept and (number >= self._common or cost > self._most * (4 if len(kept) == 1 else 1)):
                break
            kept.append(word)
        return kept

    def _count(self, word: str) -> int:
        """Passages that hold the word; COMMON for more."""
        counts = self._counts
        if (known := counts.get(word)) is None:
            if len(counts) >= CACHED:
                counts.clear()
            sql = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            known = counts[word] = int(self._reader.execute(sql, (_quoted(word), self._common)).fetchone()[0])
        return known

    def ids(self) -> set[int]:
        """Ids of all passages."""
        with self._watched(), self._reading:
            return {int(row[0]) for row in self._reader.execute("SELECT id FROM words_docsize")}

    def check(self) -> None:
        """Find out whether words and texts agree throughout: 5 s for 100,000 passages. Changes wait meanwhile, searches do not."""
        with self._watched(), closing(_connected(self._folder / seal.KEYWORDS)) as self._checking:
            try:
                sound = self._checking.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
                self._checking.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                sound = False
            finally:
                checking, self._checking = self._checking, None
                checking.rollback()
        self.checked, self.damaged = sound, not sound
        if not sound:
            self.whole.clear()

    def interrupt(self) -> None:
        """End a check that runs; it raises KnowledgeError."""
        if self._checking is not None:
            self._checking.interrupt()

    def close(self) -> None:
        """Close the files, and seal them when they are sound and whole."""
        with self._reading:
            self._writer.close()
            self._reader.close()
        if self.checked and self.whole.is_set():
            seal.seal(self._folder, seal.KEYWORDS)


@lru_cache(maxsize=16_384)
def token(scope: str) -> str:
    """The word that stands for a scope: digits, which no stemmer touches."""
    return str(int.from_bytes(hashlib.blake2b(scope.encode(), digest_size=7).digest(), "big"))


def _quoted(word: str) -> str:
    return f'"{word}"'


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        # A search reads hundreds of rows: mapped pages need no copy and no small cache.
        connection.execute("PRAGMA mmap_size = 1073741824")
        connection.execute("PRAGMA synchronous = NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            connection.executescript(SCHEMA)
        undo.pop_all()
    return connection
