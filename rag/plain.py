"""Complaints of SQLite, of the vector index and of the disk as plain sentences. Knows no document and no index."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from base.errors import KnowledgeError

LEAST = 1_000_000
"""Bytes free under which whatever failed is laid to the full disk."""
FULL = ("disk is full", "No space left", "quota exceeded")


@contextmanager
def plain() -> Iterator[None]:
    """What goes wrong inside is raised as KnowledgeError."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise said(error) from error


def said(error: Exception, folder: Path | None = None) -> KnowledgeError:
    """The sentences for an error of the disk or of what is kept on it. Chroma does not tell a full disk: `folder`'s is asked."""
    full = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in FULL)
    if full or (folder and shutil.disk_usage(folder).free < LEAST):
        return KnowledgeError("The disk is full; the document was not taken in.", "Free some space and ingest again.")
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return KnowledgeError(f"The library cannot be written or read ({error}).", "Check the disk and the rights on its folder.")
    return KnowledgeError(
        f"The library's files are damaged ({type(error).__name__}: {str(error)[:200]}).",
        "Restart Relay: it makes the indexes anew. If this stays, move manifest.sqlite out of the library folder and ingest again.",
    )
