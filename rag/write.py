"""Changes of the library: documents put in, moved, deleted, in both indexes and the manifest. Knows no file's inside, no search.

The order of a change makes it safe against kill -9: new passages go into the indexes first (nobody sees them, the manifest
does not know them), then one manifest transaction makes them true and the old ones untrue, then the old ones leave the
indexes. What a crash leaves behind is found by counting at the next open and put right.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from base.errors import KnowledgeError
from rag.manifest import DocumentInfo, Manifest, Stored, Vectors
from rag.plain import plain
from rag.stamp import Stamp
from rag.store import Row, Store
from rag.walk import Candidate

PART = 500
"""Documents deleted in one transaction: whoever else writes waits for no more."""

Entry = tuple[DocumentInfo, str, Sequence[Stored], Vectors, Sequence[Vectors]]
"""A document, its text, its passages without their ids, their vectors (n, d) and those of their sentences."""


class Writer:
    """Writes for one ingest. Methods block; searches go on meanwhile."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store, self._manifest = store, manifest
        self.cancelled = threading.Event()
        """Once set, nothing of the ingest is written any more."""

    def put(self, entries: Sequence[Entry], stamps: Mapping[str, Stamp]) -> None:
        """Documents in the place of those of the same source; on disk when it returns."""
        with self._store.write, plain():
            if self.cancelled.is_set():
                return
            first = self._manifest.reserve(sum(len(passages) for _, _, passages, _, _ in entries))
            numbered: list[Entry] = []
            for info, text, passages, vectors, sentences in entries:
                numbered.append((info, text, [replace(one, id=first + at) for at, one in enumerate(passages)], vectors, sentences))
                first += len(passages)
            rows = [row(one) for _, _, passages, _, _ in numbered for one in passages]
            with ExitStack() as undo:
                undo.callback(self._store.delete, [one.id for one in rows])
                if rows:
                    self._store.add(rows, np.concatenate([vectors for _, _, passages, vectors, _ in numbered if passages]))
                gone = self._manifest.replace(numbered)
                undo.pop_all()
            self._store.delete(gone)
            self._stamp(stamps)

    def _stamp(self, stamps: Mapping[str, Stamp]) -> None:
        """What does not fit on a full disk costs the next sync some hashing, and this one nothing."""
        with suppress(KnowledgeError):
            self._manifest.folders.stamp(stamps)

    def keep(self, stamps: Mapping[str, Stamp]) -> None:
        """How the files of unchanged documents look."""
        with self._store.write, plain():
            if not self.cancelled.is_set():
                self._stamp(stamps)

    def move(self, old: DocumentInfo, candidate: Candidate) -> dict[str, Any]:
        """Give a document the name of the file that it was found in; what a report has to say of it.

        Its vectors stay. What they hold of an old name is a few words among many, and the keyword index gets the new one.
        """
        with self._store.write, plain():
            if self.cancelled.is_set():
                return {}
            new = _renamed(old, candidate, self._manifest.text(old.id, (old.scope,)) or "")
            overwritten = self._manifest.find(old.scope, candidate.source)
            gone = self._manifest.move(old, new)
            if gone is None:
                return {}
            self._store.delete(gone)
            if new.title != old.title:
                stored, vectors = self._manifest.passages("p.document = ?", [old.id], None)
                self._store.add([row(one) for one in stored], vectors)
            if candidate.stamp:
                self._stamp({old.id: candidate.stamp})
        told = {"no_text": ((new.name, new.error),)} if new.state == "no_text" else {"documents": (new.id,)}
        return {"moved": 1, "deleted": int(overwritten is not None), **told}

    def sweep(self, gone: Sequence[DocumentInfo]) -> int:
        """Delete the documents whose file is gone, unless another ingest or the file came back meanwhile; how many went."""
        count = 0
        for start in range(0, len(gone), PART):
            with self._store.write, plain():
                if self.cancelled.is_set():
                    break
                left = [info.id for info in gone[start : start + PART] if self._is_gone(info)]
                self._store.delete(self._manifest.delete(left))
                count += len(left)
        return count

    def _is_gone(self, info: DocumentInfo) -> bool:
        now = self._manifest.find(info.scope, info.source)
        return now is not None and now.id == info.id and not os.path.lexists(info.source)

    def delete(self, documents: Sequence[str]) -> None:
        """Forget documents."""
        with self._store.write, plain():
            self._store.delete(self._manifest.delete(documents))

    def delete_where(self, wanted: Callable[[DocumentInfo], bool]) -> None:
        """Forget these documents, those too that a commit under way is just putting there."""
        with self._store.write, plain():
            self.delete([info.id for info in self._manifest.documents() if wanted(info)])


def context(passage: Stored) -> str:
    """What a passage's text leaves unsaid: the names it stands under."""
    return named(passage.document, passage.heading)


def named(document: str, heading: str) -> str:
    """`context`, of its parts."""
    return f"{document} › {heading}" if heading else document


def row(passage: Stored) -> Row:
    """What the indexes are told of it."""
    return Row(passage.id, passage.scope, context(passage), passage.text)


def _renamed(old: DocumentInfo, candidate: Candidate, text: str) -> DocumentInfo:
    """The document after a move. A title that came from the file's name follows it; one that a heading says too does not."""
    name, title = candidate.name, old.title
    if title in (old.name, PurePath(old.name).stem) and text.lstrip().partition("\n")[0] != title:
        title = name if title == old.name else PurePath(name).stem
    return replace(old, source=candidate.source, name=name, title=title, error=old.error.replace(old.name, name, 1))
