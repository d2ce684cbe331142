"""Whether the index files are those of the last clean close. Knows their names and hashes, not what is in them.

Chroma's native code trusts its files: a damaged one kills the process at the first search. So what does not match the note of
the last close is thrown away before anything opens it, and made anew from the manifest. The note goes before the first write
and comes back at the next clean close. A killed process that only read costs a rebuild only where Chroma wrote by itself (it does below
1,000 passages).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from base.files import sha256, write_atomic

NOTE = "indexes.json"
CHROMA = "chroma"
TABLES = "chroma/chroma.sqlite3"
KEYWORDS = "keywords.sqlite"

State = dict[str, list[int | str]]
"""File to size and SHA-256."""


def intact(folder: Path) -> bool:
    """Whether the indexes are, byte for byte, what was sealed. Reads them once: 1 ms for the demo, 0.1 s for 100 MB."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return bool(note == _state(folder))
    except (OSError, ValueError):
        return False


def seal(folder: Path) -> None:
    """Note the closed indexes as they are. Nobody may have them open."""
    _note(folder, lambda: _state(folder))


def renew(folder: Path) -> None:
    """Chroma counts its starts in its tables: right after one, note them anew. The rest is still as it was checked."""
    _note(folder, lambda: {**json.loads((folder / NOTE).read_text(encoding="utf-8")), TABLES: _entry(folder / TABLES)})


def _note(folder: Path, state: Callable[[], State]) -> None:
    """A note that cannot be written (the disk is full) costs a rebuild at the next open, and nothing now."""
    try:
        write_atomic(folder / NOTE, json.dumps(state()))
    except OSError:
        unseal(folder)


def unseal(folder: Path) -> None:
    """They are about to change, or are not to be trusted."""
    (folder / NOTE).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Throw both indexes away; the manifest knows all that is in them."""
    unseal(folder)
    if (folder / CHROMA).exists():
        shutil.rmtree(folder / CHROMA)
    discard_keywords(folder)


def discard_keywords(folder: Path) -> None:
    """Throw the keyword index away."""
    for ending in ("", "-wal", "-shm", "-journal"):
        (folder / (KEYWORDS + ending)).unlink(missing_ok=True)


def _state(folder: Path) -> State:
    """Size and hash of every file. An empty write-ahead log is none: SQLite leaves one when a reader is killed."""
    files = [path for path in (folder / CHROMA).rglob("*") if path.is_file()]
    files += [path for path in folder.glob(f"{KEYWORDS}*") if path.suffix != ".sqlite-shm" and path.stat().st_size]
    return {path.relative_to(folder).as_posix(): _entry(path) for path in files}


def _entry(path: Path) -> list[int | str]:
    return [path.stat().st_size, sha256(path)]
