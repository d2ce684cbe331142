"""Whether index files are those of the last clean close. Knows their names and hashes, not what is in them.

Chroma's native code trusts its files: a damaged one kills the process at the first search. So what does not match the note of
the last close is thrown away before Chroma opens it, and made anew from the manifest. SQLite survives a kill and most damage;
without a matching note its words are looked through, not thrown away. A note goes before the first write and comes back at the
next clean close. A killed process that only read costs Chroma a rebuild only where it wrote by itself (below 1,000 passages).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from base.files import sha256, write_atomic

CHROMA = "chroma"
TABLES = "chroma/chroma.sqlite3"
KEYWORDS = "keywords.sqlite"

State = dict[str, list[int | str]]
"""File to size and SHA-256."""


def note(part: str) -> str:
    """The file that notes CHROMA or KEYWORDS."""
    return f"{part.partition('.')[0]}.json"


def intact(folder: Path, part: str) -> bool:
    """Whether the index is, byte for byte, what was sealed. Reads it once: 1 ms for the demo, 0.1 s for 100 MB."""
    try:
        known = json.loads((folder / note(part)).read_text(encoding="utf-8"))
        return bool(known == _state(folder, part))
    except (OSError, ValueError):
        return False


def seal(folder: Path, part: str) -> None:
    """Note the closed index as it is. Nobody may have it open."""
    _note(folder, part, lambda: _state(folder, part))


def renew(folder: Path) -> None:
    """Chroma counts its starts in its tables: right after one, note them anew. The rest is still as it was checked."""
    file = folder / note(CHROMA)
    _note(folder, CHROMA, lambda: {**json.loads(file.read_text(encoding="utf-8")), TABLES: _entry(folder / TABLES)})


def _note(folder: Path, part: str, state: Callable[[], State]) -> None:
    """A note that cannot be written (the disk is full) costs work at the next open, and nothing now."""
    try:
        write_atomic(folder / note(part), json.dumps(state()))
    except OSError:
        unseal(folder, part)


def unseal(folder: Path, part: str) -> None:
    """It is about to change, or is not to be trusted. Needs no room on the disk."""
    (folder / note(part)).unlink(missing_ok=True)


def discard(folder: Path, part: str) -> None:
    """Throw an index away; the manifest knows all that is in it."""
    unseal(folder, part)
    if part == CHROMA:
        shutil.rmtree(folder / CHROMA, ignore_errors=True)
        return
    for ending in ("", "-wal", "-shm", "-journal"):
        (folder / (KEYWORDS + ending)).unlink(missing_ok=True)


def _state(folder: Path, part: str) -> State:
    """Size and hash of every file. An empty write-ahead log is none: SQLite leaves one when a reader is killed."""
    if part == CHROMA:
        files = [path for path in (folder / CHROMA).rglob("*") if path.is_file()]
    else:
        files = [path for path in folder.glob(f"{KEYWORDS}*") if path.suffix != ".sqlite-shm" and path.stat().st_size]
    return {path.relative_to(folder).as_posix(): _entry(path) for path in files}


def _entry(path: Path) -> list[int | str]:
    return [path.stat().st_size, sha256(path)]
