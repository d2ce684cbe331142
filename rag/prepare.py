"""Which prepared model a setting names, whether it is there, and how it is made: once, in child processes.

Knows folders, notes and child processes; no graph, no tokenizer, no vector. Models are made by rag.export and fetched by
rag.hub, whose torch and whose network must never enter a running chat.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from base.errors import PrepareError, SettingsError, SetupError
from base.files import require_space, sha256, staged, write_atomic
from base.progress import Progress, silent
from base.settings import ROOT

FORMAT = "1"
"""Raise it when what rag.export makes of a model changes: it is prepared again then, under another name."""
FETCHED = ".fetched"
"""Under the models folder: what was downloaded and is not prepared yet."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
KINDS = {"embedder": "The embedding model", "reranker": "The reranking model"}
CHECK = "Check the connection and start again; what has come stays."
TRIES = "Check the free memory (about 1.5 GB) and disk, and start again; what was half done is thrown away."


@dataclass(frozen=True, slots=True)
class Source:
    """A model as a setting names it, and the folder under the models folder that it is prepared in."""

    kind: str
    """embedder or reranker"""
    setting: str
    folder: Path | None
    """Where it stands on this machine; None for one that comes from the hub."""
    name: str

    @property
    def label(self) -> str:
        """Its short name, for sentences."""
        return label(self.setting)

    @property
    def note(self) -> str:
        """The file in the prepared folder that says what is in it."""
        return f"{self.kind}.json"


def label(setting: str) -> str:
    """The last part of a folder or of a name on the hub."""
    return setting.replace("\\", "/").rstrip("/").rpartition("/")[2]


def source(models: Path, kind: str, setting: str) -> Source:
    """What the setting names. A folder's content counts: other weights in it are another model. Raises SettingsError."""
    path = Path(setting).expanduser()
    if path.is_absolute():
        name = _of_folder(path, kind) if path.is_dir() else _prepared_from(models, kind, setting)
        return Source(kind, setting, path, name)
    if not HUB_NAME.fullmatch(setting):
        raise SettingsError(
            f"The {kind} '{setting[:80]}' is neither a whole path nor a name on the model hub.",
            f"Set RELAY_{kind.upper()} to a folder such as /models/mine, or to a name such as intfloat/multilingual-e5-small.",
        )
    return Source(kind, setting, None, _name(setting, kind, setting))


def _name(setting: str, kind: str, content: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", label(setting).lower()).strip("-")[:48]
    return f"{slug}-{kind}-{hashlib.sha256(f'{FORMAT} {content}'.encode()).hexdigest()[:8]}"


def _of_folder(path: Path, kind: str) -> str:
    """Sizes and times tell other content; hashing gigabytes at every start would not do."""
    seen = [(file.relative_to(path).as_posix(), file.stat()) for file in _files(path)]
    return _name(str(path), kind, json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in seen]))


def _files(path: Path) -> Iterator[Path]:
    """A model's files: its own and those of the modules in folders below."""
    return (file for file in sorted([*path.glob("*"), *path.glob("*/*")]) if file.is_file() and not file.name.startswith("."))


def _prepared_from(models: Path, kind: str, setting: str) -> str:
    """The newest model that was prepared from a folder that is gone."""
    notes = sorted(models.glob(f"*-{kind}-*/{kind}.json"), key=lambda note: note.stat().st_mtime, reverse=True)
    return next((note.parent.name for note in notes if read(note).get("source") == setting), _name(setting, kind, setting))


def read(note: Path) -> dict[str, Any]:
    """A note's content; nothing when it cannot be read."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def missing(folder: Path, note: str) -> bool:
    """Whether the model has to be prepared. Looks at names and sizes only."""
    try:
        files = json.loads((folder / note).read_text(encoding="utf-8"))["files"]
        return any((folder / name).stat().st_size != entry["size"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def state(models: Path, one: Source, offline: bool) -> tuple[str, str]:
    """(ready, busy, unfit or missing; a sentence) for whoever looks at the machine. Changes nothing."""
    name = f"{KINDS[one.kind]} {one.label}"
    if not missing(models / one.name, one.note):
        return "ready", f"{one.label} is prepared"
    if _busy(models, one.name):
        return "busy", f"{name} is being prepared just now."
    if unfit := read(_refusal(models, one.name)):
        return "unfit", f"{unfit.get('what', '')} {unfit.get('remedy', '')}"
    try:
        _require(one, offline)
    except SetupError as error:
        return "missing", str(error)
    return "missing", f"{name} is not prepared yet; `relay up` does it."


def _busy(models: Path, name: str) -> bool:
    path = models / f".{name}.lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _refusal(models: Path, name: str) -> Path:
    return models / f".{name}.unfit.json"


def _require(one: Source, offline: bool) -> None:
    """Raise SetupError when it cannot be had at all."""
    if one.folder is None and offline:
        raise SetupError(
            f"{KINDS[one.kind]} {one.setting} is not on this machine, and Relay is set to stay offline.",
            "Start once without --offline, or name a folder that holds it.",
        )
    if one.folder is not None and not one.folder.is_dir():
        raise SetupError(f"There is no folder {one.folder}.", f"Set RELAY_{one.kind.upper()} to the folder of a model.")


def prepare(models: Path, one: Source, progress: Progress = silent, offline: bool = False) -> Path:
    """The prepared model's folder, fetched and exported first when it is missing. Blocks; raises PrepareError or SetupError."""
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f".{one.name}.lock"):
        if missing(models / one.name, one.note):
            _require(one, offline)
            try:
                _prepare(models, one, progress)
            except PrepareError as error:
                if error.remedy not in (CHECK, TRIES):
                    write_atomic(_refusal(models, one.name), json.dumps({"what": error.what, "remedy": error.remedy}))
                    shutil.rmtree(models / FETCHED / one.name, ignore_errors=True)
                raise
            _refusal(models, one.name).unlink(missing_ok=True)
    return models / one.name


def _prepare(models: Path, one: Source, progress: Progress) -> None:
    require_space(models, 500, f"Preparing {one.label}")
    origin, what = one.folder, KINDS[one.kind]
    fetched = models / FETCHED / one.name
    with staged(models / one.name) as stage:
        if origin is None:
            told = run("rag.hub", (one.kind, one.setting, str(fetched.absolute())), stage, progress, what)
            origin = Path(str(told["folder"]))
        arguments = (str(stage.absolute()), one.kind, str(origin), one.setting, str(models.absolute()))
        facts = run("rag.export", arguments, stage, progress, what)
        seal(stage, one.note, {"name": one.name, "label": one.label, "source": one.setting, **facts})
    shutil.rmtree(fetched, ignore_errors=True)  # it has been made into something else


def seal(stage: Path, note: str, facts: Mapping[str, Any]) -> None:
    """Write the note that makes the folder complete, with size and hash of what is in it."""
    names = ("model.onnx", "tokenizer.json")
    entries = {name: {"size": (stage / name).stat().st_size, "sha256": sha256(stage / name)} for name in names}
    write_atomic(stage / note, json.dumps({**facts, "files": entries}, indent=1))


def run(module: str, arguments: tuple[str, ...], stage: Path, progress: Progress, what: str) -> dict[str, Any]:
    """Run one of our modules in a child: its 1 GB of torch goes away with it. Returns the last thing it told."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    errors = stage / "export.log"
    told: dict[str, Any] = {}
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            # -P and cwd: a json.py in the current directory must not be taken for a module.
            [sys.executable, "-P", "-m", module, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            # It reads nothing there: its end tells the child that we are gone.
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            encoding="utf-8",
        ) as child,
    ):
        assert child.stdout is not None
        with ExitStack() as undo:
            undo.callback(child.kill)
            for line in child.stdout:
                told = json.loads(line)
                if "label" in told:
                    progress(str(told["label"]), float(told["fraction"]))
            undo.pop_all()
    if child.returncode != 0:
        raise _failure(what, told, errors)
    errors.unlink()
    return told


def _failure(what: str, told: Mapping[str, Any], errors: Path) -> PrepareError:
    """What the child said of itself, or the last line of what it left."""
    if "refused" in told:
        reason, remedy = told["refused"]
        return PrepareError(str(reason), str(remedy))
    last = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no message"]
    return PrepareError(f"{what} could not be prepared: {last[0][:200]}", TRIES)
