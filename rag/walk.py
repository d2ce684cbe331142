"""Which files an ingest is about: walks folders, names sources, finds what is gone. Knows no content and no index."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.kinds import readable
from rag.manifest import DocumentInfo


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to look at. `source` tells it apart within its scope."""

    path: Path
    source: str
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ingest will look at and what it will delete."""

    candidates: tuple[Candidate, ...]
    gone: tuple[str, ...]
    """Ids of documents whose file is no longer in a folder that was named."""
    failed: tuple[tuple[str, str], ...]
    skipped: int


def plan(paths: Sequence[Path], names: Sequence[str] | None, known: Sequence[DocumentInfo]) -> Plan:
    """Blocks while it walks. A path that does not exist is a failure, never a deletion: a disk may be unplugged."""
    found: dict[str, Candidate] = {}
    failed: list[tuple[str, str]] = []
    roots: list[str] = []
    skipped = 0
    for path, name in zip(paths, names or [""] * len(paths), strict=True):
        if name:
            found[f"upload:{name}"] = Candidate(path, f"upload:{name}", name)
            continue
        full = path.expanduser().resolve()
        if full.is_dir():
            roots.append(full.as_posix().rstrip("/") + "/")
            files = sorted(walk(full))
            skipped += sum(not readable(file.name) for file in files)
            for file in filter(lambda file: readable(file.name), files):
                found[file.as_posix()] = Candidate(file, file.as_posix(), file.name)
        elif full.exists():
            found[full.as_posix()] = Candidate(full, full.as_posix(), full.name)
        else:
            failed.append((path.name, f"{path.name} does not exist. Check the path."))
    gone = [info.id for info in known if info.source not in found and any(info.source.startswith(root) for root in roots)]
    return Plan(tuple(found.values()), tuple(gone), tuple(failed), skipped)


def walk(folder: Path) -> Iterator[Path]:
    """Files under `folder`. Hidden files and folders are passed over; links to folders are not followed."""
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield Path(where, name)
