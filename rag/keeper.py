"""What brings memory and both indexes level with the truth, in a thread of its own, while searches and changes go on.

The truth (the manifest, through `Truth`) is read under the lock that every change holds, some rows at a time; so what is
changed meanwhile is neither lost nor brought back. Knows no file, no document and no SQL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from base.errors import KnowledgeError
from rag import nearest
from rag.keywords import Keywords, Row
from rag.nearest import Rows, Vectors
from rag.plain import plain

LOADED = 2048
"""Vectors read at a time: 50 ms."""
WORDED = 8192
"""Passages put into the keyword index at a time: 0.3 s."""
INDEXED = 256
"""Passages put into the vector index at a time: 0.2 s. Closing and changes wait for no more."""
REST = 0.5
"""Pause after a part, as a share of the time it took: searches come first."""
RETRY = 30.0
"""Seconds after which what failed (the disk was full) is tried again."""


class Truth(Protocol):
    """What the keeper asks; ids that are gone are left out of the answers."""

    def ids(self) -> set[int]:
        """Of all passages."""
        ...

    def rows(self, ids: Sequence[int], /) -> list[Row]:
        """Words."""
        ...

    def vectors(self, ids: Sequence[int], /) -> tuple[list[int], list[str], Vectors]:
        """Ids, scopes, vectors (n, d)."""
        ...

    def close(self) -> None:
        """Not asked any more."""
        ...


class Approximate(Protocol):
    """The vector index on disk."""

    ready: threading.Event
    """It is open and holds what it should."""

    def prepare(self) -> None:
        """What takes long and touches no file."""
        ...

    def open(self, expected: int, /) -> None:
        """On sound files, or on none; `expected`: passages it will hold."""
        ...

    def put(self, ids: Sequence[int], scopes: Sequence[str], vectors: Vectors, /) -> None:
        """An id that is there is replaced."""
        ...

    def delete(self, ids: Sequence[int], /) -> None:
        """Unknown ids are passed over."""
        ...

    def ids(self) -> set[int]:
        """Of all it holds."""
        ...


class Keeper:
    """One for a library folder, from its first opening to its last closing."""

    def __init__(self, write: threading.RLock, keywords: Keywords, approximate: Approximate, truth: Truth) -> None:
        self._write, self._keywords, self._approximate, self._truth = write, keywords, approximate, truth
        self.rows = Rows()
        self.level = threading.Event()
        """Nothing is left to be done, or can be done for now."""
        self.trouble: KnowledgeError | None = None
        """Why the last round failed."""
        self.state = "loading"
        """"ready", "loading", "checking", "rebuilding 43 %", or "waiting" and why."""
        self._stop, self._wake, self._turn = threading.Event(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="library-keeper", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something is not level any more."""
        with self._turn:
            self.level.clear()
            self._wake.set()

    def stop(self) -> None:
        """End after the part at hand, 0.3 s at most. The lock for changes must not be held."""
        self._stop.set()
        self._wake.set()
        self._keywords.interrupt()
        self._thread.join()
        self._truth.close()

    def forget(self) -> None:
        """Read everything anew. The lock for changes is held."""
        self.rows = Rows()
        self.wake()

    def loaded(self) -> Rows:
        """The rows once all are in memory, or will never be. Raises KnowledgeError when they cannot be read."""
        while not (rows := self.rows).whole.wait(0.1):
            if self.trouble:
                raise self.trouble
        return rows

    def scan(self, vector: Vectors, scopes: Sequence[str], count: int) -> list[int]:
        """Exact search over the truth itself, 1.5 s for 100,000 passages: while nothing better is there."""
        found = np.zeros(0, dtype=np.int64)
        cosines = np.zeros(0, dtype=np.float32)
        ids = sorted(self._truth.ids())
        for at in range(0, len(ids), LOADED):
            part, held, vectors = self._truth.vectors(ids[at : at + LOADED])
            if not part:
                continue
            allowed = np.isin(held, list(scopes))
            found = np.concatenate([found, np.array(part, dtype=np.int64)[allowed]])
            cosines = np.concatenate([cosines, nearest.products(vectors[allowed], vector)])
            top = nearest.best(cosines, count)
            found, cosines = found[top], cosines[top]
        return [int(id) for id in found]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.clear()
                self._wake.wait(self._round())
        finally:
            # Whatever ended it, nobody waits for ever, and nobody searches a part.
            if not self.rows.whole.is_set():
                self.rows.give_up()
            self.level.set()

    def _round(self) -> float | None:
        """Bring everything level. Seconds after which it has to be tried again, if at all."""
        self.trouble = None
        try:
            with plain():
                self._load()
                self._word()
                self._approach()
            if not self._disturbed():
                self.state = "ready"
        except KnowledgeError as error:
            self.trouble, self.state = error, f"waiting: {error.what}"
        if self._keywords.damaged:
            # The next round throws them away.
            return 0.1
        with self._turn:
            if not self._wake.is_set():
                self.level.set()
        return RETRY if self.trouble else None

    def _load(self) -> None:
        """The vectors into memory, unless they are too many."""
        rows = self.rows
        if rows.whole.is_set():
            return
        ids = sorted(self._truth.ids())
        if len(ids) > nearest.MOST:
            rows.give_up()
        elif self._each(ids, LOADED, "loading", 0, lambda part: rows.add(*self._truth.vectors(part))):
            rows.whole.set()

    def _word(self) -> None:
        """The keyword index: whole, and after an unclean end looked through."""
        words = self._keywords
        if words.whole.is_set() and not words.checked:
            self.state = "checking"
            with self._write:
                words.check()
        if words.whole.is_set():
            return
        with self._write:
            if words.damaged:
                words.renew()
            true, held = self._truth.ids(), words.ids()
            words.delete(sorted(held - true))
        if self._each(sorted(true - held), WORDED, "rebuilding {} %", 0, lambda part: words.add(self._truth.rows(part))):
            words.whole.set()

    def _approach(self) -> None:
        """The vector index on disk."""
        index = self._approximate
        if index.ready.is_set():
            return
        index.prepare()
        with self._write:
            true = self._truth.ids()
            index.open(len(true))
            held = index.ids()
            index.delete(sorted(held - true))
        if self._each(sorted(true - held), INDEXED, "rebuilding {} %", REST, lambda part: index.put(*self._truth.vectors(part))):
            index.ready.set()

    def _each(self, ids: Sequence[int], size: int, state: str, rest: float, work: Callable[[Sequence[int]], None]) -> bool:
        """`work` on the ids, `size` at a time, each under the lock for changes; False when it did not come to the end."""
        for at in range(0, len(ids), size):
            self.state = state.format(100 * at // len(ids))
            began = time.monotonic()
            with self._write:
                if self._disturbed():
                    return False
                work(ids[at : at + size])
            # Never 0: somebody may wait for the lock.
            self._stop.wait(max(0.001, rest * (time.monotonic() - began)))
        return not self._disturbed()

    def _disturbed(self) -> bool:
        """It is to stop, or to look at everything again: what was damaged meanwhile does not wait for a long rebuild."""
        return self._stop.is_set() or self._wake.is_set()
