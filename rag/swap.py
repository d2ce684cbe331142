"""From one embedder to another while the library is in use: passages are embedded anew in the background, then vectors change places.

Until then searches go by the embedder that the library was made with, or by words alone where that is gone. Knows the
manifest, the side table and the indexes; no format and no gate. The work survives a kill and goes on at the next open.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

import numpy as np
import numpy.typing as npt

from base.errors import RelayError
from base.settings import Settings
from rag import embed
from rag.anew import Anew
from rag.intake import Embeds, vectors_of
from rag.manifest import Manifest
from rag.plain import plain
from rag.prepare import state
from rag.store import Store
from rag.write import row

GROUP = 32
"""Passages embedded in one go: what a kill costs, and what a close waits for."""
SETTLE = 2.0
"""Seconds to wait for the indexes before looking again whether to stop."""
REST = 0.15
"""Share of the time that the background leaves to others."""
BLANK = "blank"
"""The note that some passages were taken in by words alone."""
BLANKS = "p.vector = zeroblob(length(p.vector))"
GONE = "The embedding model that the library was made with is no longer here, so search goes by words alone until that is done."

Vectors = npt.NDArray[np.float32]


class Words:
    """Stands where an embedder was: gives nothing, so that only words count. Passages taken in by it are blank."""

    def __init__(self, name: str, dimensions: int, counter: Embeds) -> None:
        self.name = self.label = name
        self._dimensions, self._counter = dimensions, counter

    def query(self, text: str, /) -> Vectors:
        """Close to nothing."""
        del text
        return np.zeros(self._dimensions, dtype=np.float32)

    def scaled(self, cosines: Vectors, /) -> Vectors:
        """As they are: 0."""
        return cosines

    def embed_parts(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], /) -> tuple[Vectors, list[Vectors]]:
        """Blanks."""
        del spans
        blank = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        return blank, [blank[:0] for _ in texts]

    def count(self, text: str, /) -> int:
        """Tokens, as the embedder to come counts them."""
        return self._counter.count(text)


class _Stopped(Exception):
    """The library is being closed."""


class Turnstile:
    """Many at once, or one alone; who wants to be alone is let in next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._closed = 0, False

    @contextmanager
    def many(self) -> Iterator[None]:
        """Together with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """When all others have gone; nobody comes in meanwhile."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()


class Swap:
    """Which embedder serves a library now, and the way to the one that it shall have."""

    def __init__(self, settings: Settings, wanted: Embeds, store: Store, manifest: Manifest) -> None:
        self._models, self._store, self._manifest, self._anew = settings.models, store, manifest, Anew(manifest)
        self.serving = self._wanted = wanted
        self._lack = self._lacking(settings, wanted)
        self._turnstile, self._admission = Turnstile(), threading.Lock()
        self._ingests, self._exchanging = 0, False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._progress, self._trouble = "", ""

    @staticmethod
    def _lacking(settings: Settings, wanted: Embeds) -> str:
        """Why another embedder stands in for that of the settings; '' when none does."""
        own = embed.chosen(settings.models, settings.embedder)
        if own is None or own.name == wanted.name:
            return ""
        return state(settings.models, own, settings.offline)[1]

    @property
    def by_words(self) -> bool:
        """Whether search goes by words alone."""
        return isinstance(self.serving, Words)

    @property
    def state(self) -> str:
        """Sentences for the user; '' when all is as the settings say."""
        stands_in = self._lack and f"{self._lack} Until then {self.serving.label} finds passages."
        return " ".join(filter(None, (stands_in, self._trouble or self._progress, GONE if self.by_words else "")))

    def begin(self) -> None:
        """At open: see which embedder made the library, and start the change where it is not the wanted one. The caller holds `write`."""
        known = self._manifest.meta("embedder")
        if known and self._lack and (old := self._there(known)):
            self.serving = self._wanted = old
        if known in ("", self._wanted.name):
            self._anew.drop()
            self._manifest.set_meta("embedder", self._wanted.name)
            self._fill_blanks()
            return
        self._anew.begin(self._wanted.name)
        if not self._manifest.count():
            with self._anew.taken(self._wanted.name):
                return
        self._serve_as_before(known)
        self._progress = f"Re-embedding with {self._wanted.label}."
        self._thread = threading.Thread(target=self._work, name="re-embedding", daemon=True)

    def start(self) -> None:
        """Let the background begin; after `begin`, when the indexes are in order."""
        if self._thread:
            self._thread.start()

    def _there(self, name: str) -> Embeds | None:
        try:
            return embed.shared(self._models / name)
        except RelayError:
            return None

    def _serve_as_before(self, known: str) -> None:
        old = self._there(known)
        if old is None:
            old = Words(known, self._manifest.passages("1", (), None, "p.id LIMIT 1")[1].shape[1], self._wanted)
            self._manifest.set_meta(BLANK, "1")
        self.serving = old

    def _fill_blanks(self) -> None:
        """Passages that were taken in by words alone, and whose embedder is back."""
        if not self._manifest.meta(BLANK):
            return
        self._store.distrust()
        while (some := self._manifest.passages(BLANKS, (), None, "p.id LIMIT 500"))[0]:
            vectors, sentences = vectors_of(some[0], self._wanted)
            self._manifest.set_vectors([one.id for one in some[0]], vectors, sentences)
            self._store.add([row(one) for one in some[0]], vectors)
        self._manifest.set_meta(BLANK, "")

    @contextmanager
    def searching(self) -> Iterator[Embeds]:
        """The embedder to search with; the vectors stay those of its making until the block ends."""
        with self._turnstile.many():
            yield self.serving

    @asynccontextmanager
    async def ingesting(self) -> AsyncIterator[None]:
        """While documents come in, vectors do not change places; while they do, documents wait."""
        while not self._admitted():  # noqa: ASYNC110 - a thread ends the wait
            await asyncio.sleep(0.05)
        try:
            yield
        finally:
            with self._admission:
                self._ingests -= 1

    def _admitted(self) -> bool:
        with self._admission:
            self._ingests += not self._exchanging
            return not self._exchanging

    def _work(self) -> None:
        with ExitStack() as undo:
            undo.callback(self._failed, "an error that the log tells")
            try:
                self._embed_all()
                self._progress = ""
            except _Stopped:
                pass
            except embed.broken(RelayError, sqlite3.Error, OSError) as error:
                self._failed(str(error) if isinstance(error, RelayError) else type(error).__name__)
            undo.pop_all()

    def _failed(self, why: str) -> None:
        self._trouble = f"Re-embedding with {self._wanted.label} stopped ({why.rstrip('.')}). It goes on when Relay is started again."

    def _embed_all(self) -> None:
        began, first, last = time.monotonic(), self._anew.count(), 0
        while True:
            if self._stop.is_set():
                raise _Stopped
            started = time.monotonic()
            if stored := self._anew.without(last, GROUP):
                last = stored[-1].id
                vectors, sentences = vectors_of(stored, self._wanted)
                with self._store.write, plain():
                    self._anew.put([one.id for one in stored], vectors, sentences)
                self._tell(first, time.monotonic() - began)
                self._stop.wait((time.monotonic() - started) * REST)
            elif self._exchange():
                return
            else:
                last = 0
                self._stop.wait(0.2)

    def _tell(self, first: int, seconds: float) -> None:
        done, total = self._anew.count(), max(1, self._manifest.count())
        left = (total - done) * seconds / max(1, done - first) / 60
        about = f"about {left:.0f} min left" if left >= 1 else "less than a minute left"
        self._progress = f"Re-embedding with {self._wanted.label}, {min(99, 100 * done // total)} %, {about}."

    def _exchange(self) -> bool:
        """Put the new vectors in the place of the old; False as long as an ingest runs or something has just come in."""
        with self._admission:
            if self._ingests:
                return False
            self._exchanging = True
        try:
            # What makes the indexes level needs the lock for changes, and a search may wait for it.
            self._store.settle(SETTLE)
            with self._store.write, plain():
                if self._anew.without(0, 1) or not self._store.settle(0):
                    return False
                made = self._store.beside(self._vectors())
                self._store.distrust()
                with ExitStack() as alone:
                    with self._anew.taken(self._wanted.name):
                        alone.enter_context(self._turnstile.alone())
                    # Committed: no search is under way, and none begins before both have changed.
                    self._store.exchange(made)
                    self.serving = self._wanted
                self._manifest.set_meta(BLANK, "")
        finally:
            with self._admission:
                self._exchanging = False
        return True

    def _vectors(self) -> Iterator[tuple[list[int], list[str], Vectors]]:
        for part in self._anew.vectors(1024):
            if self._stop.is_set():
                raise _Stopped
            yield part

    def close(self) -> None:
        """End the background; what it has made stays. The caller does not hold `write`."""
        self._stop.set()
        if self._thread and self._thread.is_alive():
            self._thread.join()
