"""What each file of an ingest is: unchanged, moved, to be read, or left alone. Knows the manifest; reads files only to hash them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Literal

from base.errors import Unreadable
from base.files import sha256
from rag.kinds import kind_of
from rag.manifest import DocumentInfo, Manifest
from rag.stamp import Stamp
from rag.walk import UPLOAD, Candidate, Plan, inside, plan, under, upload

QUIET_S = 2.0
"""A watched file that was written to more recently may be half-saved."""
GRACE_S = 2.0
"""How long a watched file must be missing: it may be on its way to another folder, or be saved by way of a new file."""


@dataclass(slots=True)
class Memory:
    """What the looks after one watched folder remember from each to the next."""

    troubles: dict[str, tuple[Stamp, str]] = field(default_factory=dict)
    """Source to the file that could not be read, and why: it is read again when it has changed."""
    missing: dict[str, float] = field(default_factory=dict)
    """Document to when its file was first missed (monotonic)."""
    waiting: bool = False
    """Something was left for the next look."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an ingest is asked for."""

    paths: Sequence[Path]
    scope: str
    names: Sequence[str] | None = None
    delete: bool = True
    full: bool = False
    """Hash every file, however untouched it looks."""
    memory: Memory | None = None
    """Of a watched folder: what is not at rest is left for the next look."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one file is. `known` is its document: by its source, or for a move by its content."""

    kind: Literal["read", "unchanged", "moved", "failed", "left"]
    candidate: Candidate
    known: DocumentInfo | None = None
    digest: str = ""
    size: int = 0
    error: str = ""


class Look:
    """One look at the files of an ingest. Methods block."""

    def __init__(self, manifest: Manifest, order: Order, pipeline: str, home: Path) -> None:
        self._manifest, self._order, self._pipeline, self._home = manifest, order, pipeline, home
        self._known: dict[str, DocumentInfo] = {}
        self._stamps: dict[str, Stamp] = {}
        self._seen: dict[str, str] = {}
        """Source to hash of what this ingest has looked into."""
        self._pool: dict[str, list[DocumentInfo]] | None = None
        self.moved: set[str] = set()
        """Ids of documents that were found elsewhere, and of those that such a one took the place of."""

    def plans(self) -> list[Plan]:
        """One for each path; one for all uploads."""
        order = self._order
        if order.names:
            return [Plan(tuple(upload(path, name) for path, name in zip(order.paths, order.names, strict=True)))]
        self._known = {info.source: info for info in self._manifest.documents((order.scope,))}
        self._stamps = self._manifest.folders.stamps(order.scope)
        return [plan(path, self._known, self._stamps, self._home) for path in order.paths]

    def untouched(self, candidate: Candidate) -> DocumentInfo | None:
        """Its document, when the file looks as it did when that was made: a first look, which opens no file."""
        known = self._known.get(candidate.source)
        if not known or not candidate.stamp or self._order.full or not self._made(known):
            return None
        return known if candidate.stamp.same(self._stamps.get(known.id)) else None

    def _made(self, known: DocumentInfo) -> bool:
        """Whether it was read, and as it would be read now."""
        return known.state != "failed" and known.pipeline == self._pipeline

    def verdict(self, candidate: Candidate) -> Verdict:
        """A closer look: at the content."""
        if early := self._unrest(candidate):
            return early
        at = time.time_ns()
        try:
            digest, stamp = _measured(candidate)
        except Unreadable as error:
            return Verdict("left" if _vanished(candidate) else "failed", candidate, error=str(error))
        candidate, known = self._placed(replace(candidate, stamp=None if candidate.is_upload else stamp.kept(at)), digest)
        again = candidate.source in self._seen
        self._seen[candidate.source] = digest
        if again:
            return Verdict("unchanged", candidate)
        if known and known.hash == digest and self._made(known):
            return Verdict("unchanged", candidate, known, digest, stamp.size)
        if old := self._vacated(candidate, digest):
            self.moved |= {old.id, *([known.id] if known else [])}
            return Verdict("moved", candidate, old, digest, stamp.size)
        return Verdict("read", candidate, known, digest, stamp.size)

    def _unrest(self, candidate: Candidate) -> Verdict | None:
        """A watched file that is just being written waits; one that could not be read is not tried again before it changes."""
        memory, stamp = self._order.memory, candidate.stamp
        if not memory or not stamp:
            return None
        if not stamp.settled(QUIET_S):
            memory.waiting = True
            return Verdict("left", candidate)
        trouble = memory.troubles.get(candidate.source)
        return Verdict("failed", candidate, error=trouble[1]) if trouble and stamp.same(trouble[0]) else None

    def _placed(self, candidate: Candidate, digest: str) -> tuple[Candidate, DocumentInfo | None]:
        """The candidate and its document, if there is one. An upload takes no other's name: it becomes "report (2).pdf"."""
        number, placed = 1, candidate
        while True:
            known = self._manifest.find(self._order.scope, placed.source)
            taken = self._seen.get(placed.source) or (known.hash if known and known.state != "failed" else digest)
            if not candidate.is_upload or taken == digest:
                return placed, known
            number += 1
            placed = upload(candidate.path, candidate.name, number)

    def _vacated(self, candidate: Candidate, digest: str) -> DocumentInfo | None:
        """The document of the same content whose file is gone from a folder that stays in step: the file was moved."""
        if candidate.is_upload:
            return None
        if self._pool is None:
            self._pool = self._movable()
        for old in self._pool.get(digest, ()):
            if old.id not in self.moved and old.source != candidate.source and _alike(old, candidate) and not os.path.lexists(old.source):
                return old
        return None

    def _movable(self) -> dict[str, list[DocumentInfo]]:
        """Documents in folders, by the hash of their content."""
        named = [path.expanduser().resolve() for path in self._order.paths]
        roots = {*map(inside, named), *(inside(Path(info.path)) for info in self._manifest.folders.all(self._order.scope))}
        pool: dict[str, list[DocumentInfo]] = {}
        for info in self._known.values():
            if self._made(info) and not info.source.startswith(UPLOAD) and under(info.source, list(roots)):
                pool.setdefault(info.hash, []).append(info)
        return pool

    def gone(self, work: Plan) -> list[DocumentInfo]:
        """Documents to delete: their file is still missing, and was not found elsewhere. A watched one's must be so for a while."""
        memory = self._order.memory
        gone = [info for info in work.gone if info.id not in self.moved]
        if memory is None:
            return gone
        now = time.monotonic()
        memory.missing = {info.id: memory.missing.get(info.id, now) for info in gone}
        late = [info for info in gone if now - memory.missing[info.id] >= GRACE_S]
        memory.waiting |= len(late) < len(gone)
        return late


def _measured(candidate: Candidate) -> tuple[str, Stamp]:
    """(hash, stamp) of a regular file; a pipe or a device would be read for ever. Raises Unreadable."""
    try:
        status = candidate.path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(f"{candidate.name} is not a regular file.", "Add a file, or a folder of files.")
        return sha256(candidate.path), Stamp.of(status)
    except OSError as error:
        sentence = f"{candidate.name} cannot be opened ({type(error).__name__})."
        raise Unreadable(sentence, "Check that it exists and that you may read it.") from error


def _vanished(candidate: Candidate) -> bool:
    """Whether a file that the walk found has gone since; the next look finds that out."""
    return candidate.stamp is not None and not os.path.lexists(candidate.path)


def _alike(old: DocumentInfo, candidate: Candidate) -> bool:
    """Whether both names make the same reader read the same way."""
    try:
        same = kind_of(candidate.name) == old.kind
    except Unreadable:
        return False
    return same and (old.kind != "code" or PurePath(candidate.name).suffix == PurePath(old.name).suffix)
