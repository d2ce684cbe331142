"""Which files an ingest is about: walks folders, names sources, finds what is gone. Knows no content and no index."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from rag.kinds import readable
from rag.manifest import DocumentInfo

UPLOAD = "upload:"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to look at. `source` tells it apart within its scope."""

    path: Path
    source: str
    name: str

    @property
    def is_upload(self) -> bool:
        """Known by its name, not by its path."""
        return self.source.startswith(UPLOAD)


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
    if names:
        return Plan(tuple(upload(path, name) for path, name in zip(paths, names, strict=True)), (), (), 0)
    found: dict[str, Candidate] = {}
    failed: list[tuple[str, str]] = []
    roots: list[str] = []
    closed: list[str] = []
    skipped = 0
    for path in paths:
        full = path.expanduser().resolve()
        if full.is_dir():
            roots.append(_inside(full))
            files, refused = walk(full)
            for folder in refused:
                name = PurePath(spelled(folder)).name
                failed.append((name, f"The folder {name} cannot be opened. Check that you may read it."))
            closed += map(_inside, refused)
            wanted = [file for file in files if readable(file.name)]
            skipped += len(files) - len(wanted)
            found |= {spelled(file): Candidate(file, spelled(file), PurePath(spelled(file)).name) for file in wanted}
        elif full.exists():
            found[spelled(full)] = Candidate(full, spelled(full), PurePath(spelled(full)).name)
        else:
            name = PurePath(spelled(path)).name
            failed.append((name, f"{name} does not exist. Check the path."))
    gone = [info.id for info in known if info.source not in found and _under(info.source, roots) and not _under(info.source, closed)]
    return Plan(tuple(found.values()), tuple(gone), tuple(failed), skipped)


def upload(path: Path, name: str, number: int = 1) -> Candidate:
    """An upload by its name; the second of a name is "report (2).pdf"."""
    if number > 1:
        name = f"{PurePath(name).stem} ({number}){PurePath(name).suffix}"
    return Candidate(path, UPLOAD + name, name)


def walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """(files under `folder` in order, folders that cannot be opened). Hidden files and folders are passed over, so is what
    is no file (pipes, devices); links to folders are not followed."""
    found: list[Path] = []
    refused: list[Path] = []
    for where, folders, files in os.walk(folder, onerror=lambda error: refused.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(where, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if _may_be_file(path)]
    return sorted(found), refused


def regular(path: Path) -> bool:
    """Whether it is a plain file, or a link to one. Raises OSError when that cannot be told."""
    return stat.S_ISREG(path.stat().st_mode)


def _may_be_file(path: Path) -> bool:
    """What cannot be looked at stays a candidate: it fails with a sentence when it is read, and is not taken for gone."""
    try:
        return regular(path)
    except OSError:
        return True


def _inside(folder: Path) -> str:
    return spelled(folder).rstrip("/") + "/"


def spelled(path: Path) -> str:
    """A path in letters that every store takes: a name that is not in UTF-8 has its bytes written out."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _under(source: str, folders: Sequence[str]) -> bool:
    return any(source.startswith(folder) for folder in folders)
