"""What stands in the library, for whoever looks at it: collections with their sums, documents page by page, how the indexes
are. Reads the manifest's tables; changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rag.manifest import COLUMNS, DocumentInfo, Manifest


@dataclass(frozen=True, slots=True)
class Collection:
    """The documents of one scope, counted."""

    scope: str
    documents: int
    ready: int
    no_text: int
    failed: int
    passages: int
    size: int
    """Bytes of the files."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The library as one set of scopes sees it."""

    collections: tuple[Collection, ...]
    disk: int
    """Bytes of the library folder, whoever the documents belong to: text, passages, indexes."""
    state: str
    """"ready", or what is being done to the indexes (Library.state)."""
    notes: str = ""
    """What else the user should know (Library.notes)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which documents to list. `words`: all of them stand in the name or the title."""

    words: tuple[str, ...] = ()
    problems: bool = False
    """Only those that hold no text or failed."""
    newest: bool = False
    """By their last change; else by name."""
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of documents, and how many there are in all."""

    documents: tuple[DocumentInfo, ...]
    total: int


def collections(manifest: Manifest, scopes: Sequence[str]) -> tuple[Collection, ...]:
    """Those of the scopes that hold a document, in the order of `scopes`."""
    rows = manifest.look(
        "SELECT scope, count(*), sum(state = 'ready'), sum(state = 'no_text'), sum(state = 'failed'), sum(passages), sum(size)"  # noqa: S608
        f" FROM documents WHERE scope IN ({_marks(scopes)}) GROUP BY scope",
        scopes,
    )
    return tuple(sorted((Collection(*row) for row in rows), key=lambda one: list(scopes).index(one.scope)))


def listing(manifest: Manifest, scopes: Sequence[str], wanted: Wanted) -> Listing:
    """The documents of these scopes that are wanted."""
    where, values = [f"scope IN ({_marks(scopes)})"], list[str | int](scopes)
    for word in wanted.words:
        where.append("(name LIKE ? ESCAPE '\\' OR title LIKE ? ESCAPE '\\')")
        values += [f"%{_escaped(word)}%"] * 2
    if wanted.problems:
        where.append("state != 'ready'")
    condition = " AND ".join(where)
    order = "changed DESC, name" if wanted.newest else "name COLLATE NOCASE, id"
    page = (*values, max(1, wanted.limit), max(0, wanted.offset))
    rows = manifest.look(f"SELECT {COLUMNS} FROM documents WHERE {condition} ORDER BY {order} LIMIT ? OFFSET ?", page)  # noqa: S608
    total = manifest.look(f"SELECT count(*) FROM documents WHERE {condition}", values)  # noqa: S608
    return Listing(tuple(DocumentInfo(*row) for row in rows), int(total[0][0]))


def document(manifest: Manifest, id: str, scopes: Sequence[str]) -> DocumentInfo | None:
    """A document by its id, when it stands in one of the scopes."""
    rows = manifest.look(f"SELECT {COLUMNS} FROM documents WHERE id = ? AND scope IN ({_marks(scopes)})", (id, *scopes))  # noqa: S608
    return DocumentInfo(*rows[0]) if rows else None


def disk(folder: Path) -> int:
    """Bytes of the files in a folder; those that go meanwhile count as none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(where, name)).st_size  # noqa: PTH116, PTH118 - thousands of files
    return total


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
