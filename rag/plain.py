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
def plain(folder: Path | None = None) -> Iterator[None]:
    """What goes wrong inside is raised as KnowledgeError. For `folder` see `said`."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise said(error, folder) from error


def said(error: Exception, folder: Path | None = None) -> KnowledgeError:
    """The sentences for an error of the disk or of what is kept on it. Not each tells of a full disk: `folder`'s is asked."""
    told = getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in FULL)
    if told or (folder and not damaged(error) and _free(folder) < LEAST):
        return full()
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return KnowledgeError(f"The library cannot be written or read ({error}).", "Check the disk and the rights on its folder.")
    return KnowledgeError(
        f"The library's files are damaged ({type(error).__name__}: {str(error)[:200]}).",
        "Restart Relay: it makes the indexes anew. If this stays, move manifest.sqlite out of the library folder and ingest again.",
    )


def damaged(error: Exception) -> bool:
    """Whether it tells of a damaged file, and not of a full disk or a missing right. A missing inner table is a "logic error"."""
    code = int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK))
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR) or code == sqlite3.SQLITE_IOERR_SHORT_READ


def _free(folder: Path) -> int:
    """Bytes, on the disk where the folder is or would be."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free


def full() -> KnowledgeError:
    """The sentences for a full disk."""
    return KnowledgeError("The disk is full; nothing was changed.", "Free some space and try again.")
