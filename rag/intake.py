"""Documents on their way in: read, cut, embedded, stored in groups. Knows no index and no search.

Files are read and cut in a child process while the group before them is embedded and stored.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from base.errors import Unreadable
from base.progress import Progress
from rag.chunk import chunk, sentences
from rag.document import Document
from rag.look import Look, Order, Verdict
from rag.manifest import DocumentInfo, Manifest, Stored, now
from rag.pace import Pace
from rag.read import Limits, Reader
from rag.report import Report
from rag.stamp import NEVER, Stamp
from rag.store import Store
from rag.walk import Candidate, Plan
from rag.write import Writer, context

PIPELINE = "3"
"""Raise it when reading or chunking changes: documents made by another pipeline are made anew by the next ingest."""
SCAN = "{name} holds no text that Relay can read: it may be a scan. Run text recognition (OCR) over it and add the result."
NO_TEXT = "{name} holds no text beside its title or markup. Add a file with text in it."
GROUP_PASSAGES = 64
GROUP_FILES = 64
SLICE = 256
"""Passages embedded between two signs of life."""
STAMPS = 500
"""Stamps of unchanged files kept in one transaction."""

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


@dataclass(slots=True)
class _Entry:
    """A document on its way in."""

    at: int
    """The number of its plan."""
    info: DocumentInfo
    document: Document | None
    fresh: bool
    passages: list[Stored]
    vectors: Vectors
    sentences: list[Vectors]
    stamp: Stamp | None


class Intake:
    """One ingest. Searches go on meanwhile."""

    def __init__(self, embedder: Embeds, store: Store, manifest: Manifest, limits: Limits, home: Path) -> None:
        self._embedder, self._manifest, self._limits, self._home = embedder, manifest, limits, home
        self.writer = Writer(store, manifest)
        self._reports: list[Report] = []
        """One for each plan."""
        self._stamps: dict[str, Stamp] = {}
        """Document to how its file looks, to be kept."""

    async def run(self, order: Order, progress: Progress) -> list[Report]:
        """A report for each path, or one for all uploads. Cancelled, it commits nothing more, whatever its threads are at."""
        try:
            return await self._run(order, progress)
        except asyncio.CancelledError:
            self.writer.cancelled.set()
            raise

    async def _run(self, order: Order, progress: Progress) -> list[Report]:
        look = Look(self._manifest, order, f"{PIPELINE}/{self._embedder.name}", self._home)
        plans = await asyncio.to_thread(look.plans)
        rest = await asyncio.to_thread(self._first_look, look, plans)
        # One label, one bar: a line for each of ten thousand files helps nobody.
        reading = f"Reading {len(rest)} files" if len(rest) > 1 else "Reading one file"
        pace = Pace(reading if rest else "Comparing files", [candidate for _, candidate in rest], progress)
        pace.tell()
        with Reader(self._limits) as reader:
            await self._take(self._groups(order, rest, look, reader, pace), pace)
        await self._keep_stamps()
        for at, work in enumerate(plans):
            if order.delete:
                self._note(at, deleted=await asyncio.to_thread(self.writer.sweep, look.gone(work)))
        return self._reports

    def _first_look(self, look: Look, plans: Sequence[Plan]) -> list[tuple[int, Candidate]]:
        """The files that need a closer look, each with the number of its plan; the others are untouched."""
        rest: list[tuple[int, Candidate]] = []
        for at, work in enumerate(plans):
            self._reports.append(Report(failed=work.failed, skipped=work.skipped, reached=work.reached))
            known = [(look.untouched(candidate), candidate) for candidate in work.candidates]
            self._note_unchanged(at, [info for info, _ in known if info])
            rest += [(at, candidate) for info, candidate in known if not info]
        return rest

    def _note(self, at: int, **more: Any) -> None:
        self._reports[at] = self._reports[at].plus(Report(**more))

    def _note_unchanged(self, at: int, known: Sequence[DocumentInfo]) -> None:
        """A file that held no text is told again, without being read again."""
        ready = tuple(info.id for info in known if info.state == "ready")
        no_text = tuple((info.name, info.error) for info in known if info.state == "no_text")
        self._note(at, unchanged=len(ready), documents=ready, no_text=no_text)

    async def _take(self, groups: AsyncGenerator[list[_Entry], None], pace: Pace) -> None:
        """Embed and store each group while the next one is read."""
        ahead = asyncio.create_task(_next(groups))
        try:
            while group := await ahead:
                ahead = asyncio.create_task(_next(groups))
                await self._committed(group, pace)
        except asyncio.CancelledError:
            # At once: whoever cancelled may go on to delete what this ingest brought in.
            self.writer.cancelled.set()
            raise
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
            await groups.aclose()

    async def _groups(
        self, order: Order, rest: Sequence[tuple[int, Candidate]], look: Look, reader: Reader, pace: Pace
    ) -> AsyncGenerator[list[_Entry], None]:
        group: list[_Entry] = []
        for at, candidate in rest:
            entry = await self._prepared(at, await asyncio.to_thread(look.verdict, candidate), order, reader)
            pace.looked(candidate, len(entry.passages) if entry else None)
            group += [entry] if entry else []
            if sum(len(one.passages) for one in group) >= GROUP_PASSAGES or len(group) >= GROUP_FILES:
                yield group
                group = []
        if group:
            yield group

    async def _prepared(self, at: int, verdict: Verdict, order: Order, reader: Reader) -> _Entry | None:
        """A file to read is read and cut; any other is noted as what it is."""
        known, candidate = verdict.known, verdict.candidate
        if verdict.kind == "read":
            return await self._read(at, verdict, order, reader)
        if verdict.kind == "failed":
            self._note(at, failed=((candidate.name, verdict.error),))
        elif verdict.kind == "moved" and known:
            self._note(at, **await asyncio.to_thread(self.writer.move, known, candidate))
        elif verdict.kind == "unchanged":
            self._note_unchanged(at, [known] if known else [])
            if not known:
                self._note(at, unchanged=1)  # the same file twice in one ingest
            elif candidate.stamp:
                self._stamps[known.id] = candidate.stamp
        if len(self._stamps) >= STAMPS:
            await self._keep_stamps()
        return None

    async def _read(self, at: int, verdict: Verdict, order: Order, reader: Reader) -> _Entry | None:
        known, candidate = verdict.known, verdict.candidate
        info = DocumentInfo(
            *(uuid.uuid4().hex, order.scope, candidate.source, candidate.name, verdict.digest, verdict.size, "", candidate.name, 0),
            *("failed", "", known.added if known else now(), now(), f"{PIPELINE}/{self._embedder.name}"),
        )
        if known:
            # A link to the document outlives its change.
            info = replace(info, id=known.id)
        try:
            document = await reader.read(candidate.path, candidate.name)
        except Unreadable as error:
            if order.memory and candidate.stamp:
                order.memory.troubles[candidate.source] = (candidate.stamp, str(error))
            self._note(at, failed=((candidate.name, str(error)),))
            entry = _Entry(at, replace(info, error=str(error)), None, known is None, [], _none(), [], None)
            # What was read before stays: half-saved files and full memories pass.
            return None if known and known.state == "ready" else entry
        return await asyncio.to_thread(self._cut, at, info, document, known is None, candidate)

    def _cut(self, at: int, info: DocumentInfo, document: Document, fresh: bool, candidate: Candidate) -> _Entry:
        chunks = chunk(document, self._embedder.count)
        state, error = ("ready", "") if chunks else ("no_text", (SCAN if document.kind == "pdf" else NO_TEXT).format(name=info.name))
        info = replace(info, kind=document.kind, title=document.title, passages=len(chunks), state=state, error=error)
        passages = [
            Stored(0, info.id, info.title, info.scope, at, one.text, " › ".join(one.heading), one.page, one.lines, one.start, one.end)
            for at, one in enumerate(chunks)
        ]
        return _Entry(at, info, document, fresh, passages, _none(), [], _unwritten(candidate))

    async def _committed(self, group: Sequence[_Entry], pace: Pace) -> None:
        """Embed and store a group of documents; acknowledged when it returns."""
        passages = [one for entry in group for one in entry.passages]
        vectors, parts = _none(), list[Vectors]()
        for start in range(0, len(passages), SLICE):
            these, more = await asyncio.to_thread(vectors_of, passages[start : start + SLICE], self._embedder)
            vectors = np.concatenate([vectors, these]) if parts else these
            parts += more
            pace.embedded(len(more))
        at = 0
        for entry in group:
            end = at + len(entry.passages)
            entry.vectors, entry.sentences, at = vectors[at:end], parts[at:end], end
        await asyncio.to_thread(self._commit, group)
        for one in sorted({entry.at for entry in group}):
            self._note_taken(one, [entry for entry in group if entry.at == one])

    def _note_taken(self, at: int, group: Sequence[_Entry]) -> None:
        ready = [entry for entry in group if entry.info.state == "ready"]
        self._note(
            at,
            added=sum(entry.fresh for entry in ready),
            changed=sum(not entry.fresh for entry in ready),
            no_text=tuple((entry.info.name, entry.info.error) for entry in group if entry.info.state == "no_text"),
            documents=tuple(entry.info.id for entry in ready),
            passages=sum(len(entry.passages) for entry in ready),
        )

    def _commit(self, group: Sequence[_Entry]) -> None:
        self.writer.put(
            [(one.info, one.document.text if one.document else "", one.passages, one.vectors, one.sentences) for one in group],
            {one.info.id: one.stamp for one in group if one.stamp},
        )

    async def _keep_stamps(self) -> None:
        stamps, self._stamps = self._stamps, {}
        if stamps:
            await asyncio.to_thread(self.writer.keep, stamps)


async def _next(groups: AsyncGenerator[list[_Entry], None]) -> list[_Entry] | None:
    return await anext(groups, None)


def _unwritten(candidate: Candidate) -> Stamp | None:
    """The stamp of a file that has just been read; none when it was written to meanwhile, so that the next look opens it."""
    try:
        now = Stamp.of(candidate.path.stat())
    except OSError:
        return None
    stamp = candidate.stamp
    if not stamp or (stamp.size, stamp.changed) != (now.size, now.changed) or stamp.modified not in (NEVER, now.modified):
        return None
    return stamp


def _none() -> Vectors:
    return np.zeros((0, 0), dtype=np.float32)


def vectors_of(passages: Sequence[Stored], embedder: Embeds) -> tuple[Vectors, list[Vectors]]:
    """Vectors of passages under their names, (n, d), and of the sentences of each."""
    texts = [f"{context(passage)}\n{passage.text}" for passage in passages]
    offsets = [len(text) - len(passage.text) for text, passage in zip(texts, passages, strict=True)]
    spans = [
        [(offset + start, offset + end) for start, end in sentences(passage.text)]
        for offset, passage in zip(offsets, passages, strict=True)
    ]
    return embedder.embed_parts(texts, spans)
