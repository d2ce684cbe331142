"""Which files an ingest is about: walks folders, names sources, finds what is gone. Knows no content and no index."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from rag.kinds import readable
from rag.manifest import DocumentInfo
from rag.stamp import Stamp

UPLOAD = "upload:"
KEPT = "What was read from it is kept."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to look at. `source` tells it apart within its scope."""

    path: Path
    source: str
    name: str
    stamp: Stamp | None = None
    """How it looked during the walk, if it could be looked at."""

    @property
    def is_upload(self) -> bool:
        """Known by its name, not by its path."""
        return self.source.startswith(UPLOAD)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ingest of one path will look at and what it will delete."""

    candidates: tuple[Candidate, ...] = ()
    gone: tuple[DocumentInfo, ...] = ()
    """Documents whose file is no longer in the folder."""
    failed: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    reached: bool = True


@dataclass(slots=True)
class Walk:
    """What is under a folder."""

    files: list[tuple[Path, Stamp | None]] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)
    """Folders that cannot be opened."""
    lost: list[Path] = field(default_factory=list)
    """Folders that went while they were walked."""


def plan(path: Path, known: Mapping[str, DocumentInfo], stamps: Mapping[str, Stamp], home: Path | None = None) -> Plan:
    """Blocks while it walks. A path that does not exist is a failure, never a deletion: a disk may be unplugged.

    `known` by source, `stamps` by document. `home`: the data home, which is passed over: what is in it comes of ingesting.
    """
    full = path.expanduser().resolve()
    if home and (full == home or home in full.parents):
        return Plan(
            failed=((_name(path), f"{_name(path)} is Relay's own data, which holds keys and passwords. Name another."),), reached=False
        )
    try:
        status = full.stat()
    except OSError as error:
        return Plan(failed=((_name(path), _unreached(path, full, known, error)),), reached=False)
    if not stat.S_ISDIR(status.st_mode):
        return Plan((_candidate(full, Stamp.of(status)),))
    return _folder(full, known, stamps, home)


def _folder(root: Path, known: Mapping[str, DocumentInfo], stamps: Mapping[str, Stamp], home: Path | None) -> Plan:
    walked = walk(root, home)
    wanted = [(file, stamp) for file, stamp in walked.files if readable(file.name)]
    found = [_candidate(file, stamp) for file, stamp in wanted]
    here = {candidate.source for candidate in found}
    closed = [inside(folder) for folder in (*walked.refused, *walked.lost)]
    gone = [info for info in known.values() if info.source not in here and under(info.source, [inside(root)])]
    torn = _torn_off([info for info in gone if not under(info.source, closed)], stamps)
    failed = [(_name(folder), f"The folder {_name(folder)} cannot be opened. Check that you may read it.") for folder in walked.refused]
    failed += [(_name(folder), f"The folder {_name(folder)} is empty: its disk is not connected. {KEPT}") for folder in torn]
    failed += [(_name(root), f"The folder {_name(root)} went while it was read. {KEPT}")] if root in walked.lost else []
    closed += [inside(folder) for folder in torn]
    left = tuple(info for info in gone if not under(info.source, closed))
    reached = root not in (*walked.refused, *walked.lost, *torn)
    return Plan(tuple(found), left, tuple(failed), len(walked.files) - len(wanted), reached)


def _candidate(file: Path, stamp: Stamp | None) -> Candidate:
    return Candidate(file, spelled(file), PurePath(spelled(file)).name, stamp)


def _unreached(path: Path, full: Path, known: Mapping[str, DocumentInfo], error: OSError) -> str:
    name = _name(path)
    if any(under(source, [inside(full)]) for source in known):
        return f"The folder {name} cannot be reached: it does not exist, or its disk is not connected. {KEPT}"
    if isinstance(error, FileNotFoundError):
        return f"{name} does not exist. Check the path."
    return f"{name} cannot be opened ({type(error).__name__}). Check that you may read it."


def _torn_off(gone: Sequence[DocumentInfo], stamps: Mapping[str, Stamp]) -> list[Path]:
    """Empty folders on another disk than what was in them: places where a disk used to be mounted."""
    parents = {(PurePath(info.source).parent, stamps[info.id].device) for info in gone if info.id in stamps}
    return sorted({folder for parent, device in parents if (folder := _empty(Path(parent), device))})


def _empty(folder: Path, device: str) -> Path | None:
    """The nearest folder there is, when it is empty and not on that disk."""
    try:
        while not folder.is_dir():
            folder = folder.parent
        with os.scandir(folder) as entries:
            return folder if str(folder.stat().st_dev) != device and next(entries, None) is None else None
    except OSError:
        return None


def _name(path: Path) -> str:
    return PurePath(spelled(path)).name or spelled(path)


def upload(path: Path, name: str, number: int = 1) -> Candidate:
    """An upload by its name; the second of a name is "report (2).pdf"."""
    if number > 1:
        name = f"{PurePath(name).stem} ({number}){PurePath(name).suffix}"
    return Candidate(path, UPLOAD + name, name)


def walk(folder: Path, home: Path | None = None) -> Walk:
    """Files under `folder` in order. Hidden files and folders are passed over, so is what is no file (pipes, devices); links to
    folders are not followed."""
    walked = Walk()

    def refuse(error: OSError) -> None:
        (walked.lost if isinstance(error, FileNotFoundError) else walked.refused).append(Path(error.filename))

    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(where, name) != home]
        for name in files:
            if not name.startswith("."):
                _look(Path(where, name), walked)
    walked.files.sort(key=lambda pair: pair[0])
    return walked


def _look(path: Path, walked: Walk) -> None:
    """What cannot be looked at stays a candidate: it fails with a sentence when it is read, and is not taken for gone."""
    try:
        status = path.stat()
    except OSError:
        if os.path.lexists(path):
            walked.files.append((path, None))
        return
    if stat.S_ISREG(status.st_mode):
        walked.files.append((path, Stamp.of(status)))


def inside(folder: Path) -> str:
    """What the source of every file in it begins with."""
    return spelled(folder).rstrip("/") + "/"


def spelled(path: Path) -> str:
    """A path in letters that every store takes: a name that is not in UTF-8 has its bytes written out."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def under(source: str, folders: Sequence[str]) -> bool:
    """Whether a source is in one of the folders, given by `inside`."""
    return any(source.startswith(folder) for folder in folders)
