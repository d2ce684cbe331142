"""Files that are added on the knowledge page: copied into the data home, where the library reads them from a path that stays.

Knows files and names; no library and no page. A file that comes with a message is another matter: it goes with its chat.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePath

from base.files import sha256

FOLDER = "added"


def keep(home: Path, scope: str, source: Path, name: str) -> Path:
    """Copy `source` into the scope's folder under its name; a second one of that name with other content is "report (2).pdf"."""
    folder = home / FOLDER / re.sub(r"[^A-Za-z0-9._-]", "_", scope)
    folder.mkdir(parents=True, exist_ok=True)
    wanted, digest, number = plain_name(name), sha256(source), 1
    path = folder / wanted
    while path.exists() and sha256(path) != digest:
        number += 1
        path = folder / f"{PurePath(wanted).stem} ({number}){PurePath(wanted).suffix}"
    if not path.exists():
        shutil.copyfile(source, path)
    return path


def plain_name(name: str) -> str:
    """A file's name without any folder, control character or leading dot."""
    base = re.split(r"[/\\]", name)[-1]
    return re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", base).lstrip(". ")[-150:] or "document.txt"


def let_go(home: Path, source: str) -> None:
    """Delete the copy of a document that was added here; any other file is left alone."""
    path = Path(source)
    if path.is_absolute() and path.is_relative_to(home / FOLDER):
        path.unlink(missing_ok=True)
