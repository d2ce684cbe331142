"""The files of documents that were added on the knowledge page: kept in the data home as long as their document, to show its pages.

Knows files and the ids of documents; no library and no page. A file that comes with a message is another matter: it goes
with its chat.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

FOLDER = "added"


def keep(home: Path, document: str, source: Path) -> None:
    """Copy the file of a document that the library has just taken in."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / document)


def find(home: Path, document: str) -> Path | None:
    """The kept file of a document, if there is one."""
    path = home / FOLDER / document
    return path if re.fullmatch(r"[0-9a-f]{32}", document) and path.is_file() else None


def sweep(home: Path, documents: Collection[str]) -> None:
    """Delete the files of all but these documents, whoever removed the others."""
    for path in (home / FOLDER).glob("*"):
        if path.name not in documents:
            path.unlink(missing_ok=True)
