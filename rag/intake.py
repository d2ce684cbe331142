"""Documents on their way in: read, cut, embed, stored in groups. Knows the indexes and the manifest, no search.

The order of a change makes it safe against kill -9: new passages go into the indexes first (nobody sees them, the manifest
does not know them), then one manifest transaction makes them true and the old ones untrue, then the old ones leave the
indexes. What a crash leaves behind is found by counting at the next open and put right.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from base.errors import Unreadable
from base.files import sha256
from base.progress import Progress
from rag.chunk import chunk, sentences
from rag.document import Document
from rag.manifest import DocumentInfo, Manifest, Stored, now
from rag.plain import plain
from rag.read import Limits, Reader
from rag.store import Row, Store
from rag.walk import Candidate, Plan, plan, regular, upload

PIPELINE = "2"
"""Raise it when reading or chunking changes: documents made by another pipeline are made anew by the next ingest."""
SCAN = "{name} holds no text that Relay can read: it may be a scan. Run text recognition (OCR) over it and add the result."
NO_TEXT = "{name} holds no text beside its title or markup. Add a file with text in it."
GROUP_PASSAGES = 64
GROUP_FILES = 64

Vectors = npt.NDArray[np.float32]


class Embeds(Protocol):
    """What the library needs of an embedder."""

    name: str
    label: str
    """For sentences."""

    def query(self, text: str, /) -> Vectors:
        """The unit vector of a question, float32 (d,)."""
        ...

    def scaled(self, cosines: Vectors, /) -> Vectors:
        """Its cosines on the scale that the gate was fitted on."""
        ...

    def embed_parts(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], /) -> tuple[Vectors, list[Vectors]]:
        """Unit vectors, float32 (n, d), of passages, and of parts of each, given as spans of characters."""
        ...

    def count(self, text: str, /) -> int:
        """Tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What an ingest did. Numbers are documents; `passages` are those made by this ingest."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    """(name, sentence)"""
    no_text: tuple[tuple[str, str], ...] = ()
    """(name, sentence) of files that were read and hold no text: scans. They are not counted as added."""
    passages: int = 0
    skipped: int = 0
    """Files in a folder of a kind that Relay does not read."""
    documents: tuple[str, ...] = ()
    """Ids of the documents that are ready: added, changed and unchanged."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """From the plain values of `asdict`."""
        pairs = {name: tuple(map(tuple, data[name])) for name in ("failed", "no_text")}
        return cls(**{**data, **pairs, "documents": tuple(data["documents"])})


@dataclass(slots=True)
class _Entry:
    """A document on its way in."""

    info: DocumentInfo
    document: Document | None
    fresh: bool
    passages: list[Stored]
    vectors: Vectors
    sentences: list[Vectors]


class Intake:
    """One ingest, or one deletion. Searches go on meanwhile."""

    def __init__(self, embedder: Embeds, store: Store, manifest: Manifest, limits: Limits) -> None:
        self._embedder, self._store, self._manifest, self._limits = embedder, store, manifest, limits
        self._cancelled = threading.Event()
        self._seen: dict[str, str] = {}
        """Source to hash of what this ingest has looked at."""

    async def run(self, paths: Sequence[Path], scope: str, progress: Progress, names: Sequence[str] | None, delete: bool) -> Report:
        """See Library.ingest. Cancelled, it commits nothing more, whatever its threads are at."""
        try:
            return await self._run(paths, scope, progress, names, delete)
        except asyncio.CancelledError:
            self._cancelled.set()
            raise

    async def _run(self, paths: Sequence[Path], scope: str, progress: Progress, names: Sequence[str] | None, delete: bool) -> Report:
        known = await asyncio.to_thread(self._manifest.documents, scope)
        work = await asyncio.to_thread(plan, paths, names, known)
        report = Report(failed=work.failed, skipped=work.skipped)
        # One label, one bar: a line for each of ten thousand files helps nobody.
        reading = f"Reading {len(work.candidates)} files" if len(work.candidates) > 1 else "Reading one file"
        with Reader(self._limits) as reader:
            group: list[_Entry] = []
            for at, candidate in enumerate(work.candidates):
                progress(reading, at / len(work.candidates))
                entry, report = await self._prepared(candidate, scope, reader, report)
                group += [entry] if entry else []
                if sum(len(one.passages) for one in group) >= GROUP_PASSAGES or len(group) >= GROUP_FILES:
                    report, group = await self._committed(group, report), []
            report = await self._committed(group, report)
        return await self._swept(work, report, delete)

    async def _swept(self, work: Plan, report: Report, delete: bool) -> Report:
        if delete and work.gone:
            await asyncio.to_thread(self.delete, work.gone)
            report = replace(report, deleted=len(work.gone))
        return report

    async def _prepared(self, candidate: Candidate, scope: str, reader: Reader, report: Report) -> tuple[_Entry | None, Report]:
        """Read and cut one file, unless it is unchanged."""
        pipeline = f"{PIPELINE}/{self._embedder.name}"
        try:
            digest, size = await asyncio.to_thread(_measured, candidate)
        except Unreadable as error:
            return None, _failed(candidate, error, report)
        candidate, known = await asyncio.to_thread(self._placed, candidate, scope, digest)
        if candidate.source in self._seen:
            return None, replace(report, unchanged=report.unchanged + 1)
        self._seen[candidate.source] = digest
        if known and known.state != "failed" and (known.hash, known.pipeline) == (digest, pipeline):
            return None, _unchanged(known, report)
        info = DocumentInfo(
            *(uuid.uuid4().hex, scope, candidate.source, candidate.name, digest, size, "", candidate.name, 0, "failed", ""),
            *(known.added if known else now(), now(), pipeline),
        )
        if known:
            # A link to the document outlives its change.
            info = replace(info, id=known.id)
        try:
            document = await reader.read(candidate.path, candidate.name)
        except Unreadable as error:
            entry = _Entry(replace(info, error=str(error)), None, known is None, [], _none(), [])
            # What was read before stays: half-saved files and full memories pass.
            return None if known and known.state == "ready" else entry, _failed(candidate, error, report)
        return await asyncio.to_thread(self._cut, info, document, known is None), report

    def _placed(self, candidate: Candidate, scope: str, digest: str) -> tuple[Candidate, DocumentInfo | None]:
        """The candidate and its document, if there is one. An upload takes no other's name: it becomes "report (2).pdf"."""
        number, placed = 1, candidate
        while True:
            known = self._manifest.find(scope, placed.source)
            taken = self._seen.get(placed.source) or (known.hash if known and known.state != "failed" else digest)
            if not candidate.is_upload or taken == digest:
                return placed, known
            number += 1
            placed = upload(candidate.path, candidate.name, number)

    def _cut(self, info: DocumentInfo, document: Document, fresh: bool) -> _Entry:
        chunks = chunk(document, self._embedder.count)
        state, error = ("ready", "") if chunks else ("no_text", (SCAN if document.kind == "pdf" else NO_TEXT).format(name=info.name))
        info = replace(info, kind=document.kind, title=document.title, passages=len(chunks), state=state, error=error)
        passages = [
            Stored(0, info.id, info.title, info.scope, at, one.text, " › ".join(one.heading), one.page, one.lines, one.start, one.end)
            for at, one in enumerate(chunks)
        ]
        return _Entry(info, document, fresh, passages, _none(), [])

    async def _committed(self, group: Sequence[_Entry], report: Report) -> Report:
        """Embed and store a group of documents; acknowledged when it returns."""
        if not group:
            return report
        await asyncio.to_thread(self._embed, group)
        await asyncio.to_thread(self._commit, group)
        ready = [entry for entry in group if entry.info.state == "ready"]
        return replace(
            report,
            added=report.added + sum(entry.fresh for entry in ready),
            changed=report.changed + sum(not entry.fresh for entry in ready),
            no_text=(*report.no_text, *((entry.info.name, entry.info.error) for entry in group if entry.info.state == "no_text")),
            documents=(*report.documents, *(entry.info.id for entry in ready)),
            passages=report.passages + sum(len(entry.passages) for entry in ready),
        )

    def _embed(self, group: Sequence[_Entry]) -> None:
        vectors, sentences = vectors_of([one for entry in group for one in entry.passages], self._embedder)
        at = 0
        for entry in group:
            end = at + len(entry.passages)
            entry.vectors, entry.sentences, at = vectors[at:end], sentences[at:end], end

    def _commit(self, group: Sequence[_Entry]) -> None:
        with self._store.write, plain():
            if self._cancelled.is_set():
                return
            first = self._manifest.reserve(sum(len(entry.passages) for entry in group))
            for entry in group:
                entry.passages = [replace(one, id=first + at) for at, one in enumerate(entry.passages)]
                first += len(entry.passages)
            rows = [Row(one.id, one.scope, context(one), one.text) for entry in group for one in entry.passages]
            if rows:
                self._store.add(rows, np.concatenate([entry.vectors for entry in group]))
            parts = ((one.info, one.document.text if one.document else "", one.passages, one.vectors, one.sentences) for one in group)
            self._store.delete(self._manifest.replace(parts))

    def delete(self, documents: Sequence[str]) -> None:
        """Forget documents. Blocks."""
        with self._store.write, plain():
            self._store.delete(self._manifest.delete(documents))

    def delete_scopes(self, wanted: Callable[[str], bool]) -> None:
        """Forget the documents of these scopes, those too that a commit under way is just putting there. Blocks."""
        with self._store.write, plain():
            self.delete([info.id for info in self._manifest.documents() if wanted(info.scope)])


def _measured(candidate: Candidate) -> tuple[str, int]:
    """(hash, size) of a regular file; a pipe or a device would be read for ever. Raises Unreadable."""
    try:
        if not regular(candidate.path):
            raise Unreadable(f"{candidate.name} is not a regular file.", "Add a file, or a folder of files.")
        return sha256(candidate.path), candidate.path.stat().st_size
    except OSError as error:
        sentence = f"{candidate.name} cannot be opened ({type(error).__name__})."
        raise Unreadable(sentence, "Check that it exists and that you may read it.") from error


def _failed(candidate: Candidate, error: Unreadable, report: Report) -> Report:
    return replace(report, failed=(*report.failed, (candidate.name, str(error))))


def _unchanged(known: DocumentInfo, report: Report) -> Report:
    """A file that held no text is told again, without being read again."""
    if known.state == "no_text":
        return replace(report, no_text=(*report.no_text, (known.name, known.error)))
    return replace(report, unchanged=report.unchanged + 1, documents=(*report.documents, known.id))


def _none() -> Vectors:
    return np.zeros((0, 0), dtype=np.float32)


def context(passage: Stored) -> str:
    """What a passage's text leaves unsaid: the names it stands under."""
    return f"{passage.document} › {passage.heading}" if passage.heading else passage.document


def vectors_of(passages: Sequence[Stored], embedder: Embeds) -> tuple[Vectors, list[Vectors]]:
    """Vectors of passages under their names, (n, d), and of the sentences of each."""
    texts = [f"{context(passage)}\n{passage.text}" for passage in passages]
    offsets = [len(text) - len(passage.text) for text, passage in zip(texts, passages, strict=True)]
    spans = [
        [(offset + start, offset + end) for start, end in sentences(passage.text)]
        for offset, passage in zip(offsets, passages, strict=True)
    ]
    return embedder.embed_parts(texts, spans)
