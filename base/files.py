"""Files under the data home: written whole or not at all, checked by their hash. Knows no room's formats."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from base.errors import SetupError


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write to a temporary name beside `path`, flush to disk, rename. `private` keeps it to the user (0600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o600 if private else 0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A fresh folder to fill; it takes `folder`'s name only when the block ends well. Left-overs are swept first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield stage
        if folder.exists():
            shutil.rmtree(folder)
        stage.replace(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def require_space(folder: Path, megabytes: int, purpose: str) -> None:
    """Raise SetupError when the disk of `folder` has less than `megabytes` free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < megabytes:
        raise SetupError(
            f"{purpose} needs {megabytes} MB of disk, and {free} MB are free under {folder}.",
            "Free some space, or set RELAY_HOME to a folder on another disk.",
        )
