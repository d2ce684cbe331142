"""Fetches a model from the model hub. Runs as `python -m rag.hub KIND NAME FOLDER`, a child of rag.prepare, during set-up only.

Knows which of a model's files are needed, and the hub's complaints as sentences. A download that was broken off goes on
where it was.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from base.errors import PrepareError
from base.files import require_space
from rag.child import Tell, serve
from rag.prepare import CHECK

MOST = 1_900_000_000
"""Bytes of weights: an ONNX file ends at 2 GB."""
PLACE = re.compile(r"(?:\d+_\w+/)?[^/]+")
"""The model's own folder, and those of its modules, such as 1_Pooling/."""
SMALL = re.compile(r".*\.(json|txt|model)")


def main(tell: Tell) -> dict[str, Any]:
    """Fetch what is needed, and say where it is. Raises PrepareError."""
    kind, name, target = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    # One plain, resumable download; the hub's other way keeps a cache of its own outside our folder.
    os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    from huggingface_hub import snapshot_download

    tell(f"Asking for {name}", 0.0)
    with _said(name):
        offered = {one.filename: one.file_size or 0 for one in snapshot_download(name, cache_dir=target, dry_run=True)}
    wanted = needed(offered)
    _judge(kind, name, wanted, offered)
    total = sum(offered[file] for file in wanted)
    require_space(target, 2 * total // 1_000_000 + 500, f"Fetching {name}")
    with _said(name), _watched(target, total, f"Fetching {name}", tell):
        folder = snapshot_download(name, cache_dir=target, allow_patterns=wanted)
    return {"folder": folder}


def needed(files: Iterable[str]) -> list[str]:
    """Settings, tokenizer and weights; of the weights, safetensors where there are any."""
    near = [file for file in files if PLACE.fullmatch(file)]
    found = [file for file in near if SMALL.fullmatch(file) and not file.endswith(".index.json")]
    for folder in {file.rpartition("/")[0] for file in near}:
        own = [file for file in near if file.rpartition("/")[0] == folder]
        safe = [file for file in own if re.search(r"model[\w.-]*\.safetensors(\.index\.json)?$", file)]
        found += safe or [file for file in own if re.search(r"pytorch_model[\w.-]*\.bin(\.index\.json)?$", file)]
    return sorted(found)


def _judge(kind: str, name: str, wanted: list[str], sizes: Mapping[str, int]) -> None:
    other = "Choose another model, such as intfloat/multilingual-e5-small." if kind == "embedder" else "Choose another model."
    weights = sum(sizes[file] for file in wanted if file.endswith((".safetensors", ".bin")))
    if not weights or "config.json" not in {file.rpartition("/")[2] for file in wanted}:
        raise PrepareError(f"{name} holds no weights that can be prepared.", other)
    if kind == "embedder" and "modules.json" not in wanted:
        raise PrepareError(f"{name} is no sentence-transformers model: it has no modules.json.", other)
    if weights > MOST:
        raise PrepareError(f"{name} is too large: {weights / 1e9:.1f} GB of weights, and {MOST / 1e9:.1f} GB fit into one file.", other)


@contextmanager
def _said(name: str) -> Iterator[None]:
    """The hub's complaints as sentences."""
    from httpx2 import HTTPError

    try:
        yield
    except (HTTPError, OSError) as error:
        raise _complaint(name, error) from None


def _complaint(name: str, error: BaseException) -> PrepareError:
    from huggingface_hub.errors import DryRunError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, (DryRunError, LocalEntryNotFoundError)) and error.__cause__:
        return _complaint(name, error.__cause__)  # these only say that nothing was kept from before
    if isinstance(error, GatedRepoError):
        return PrepareError(f"{name} is given out only to those who asked for it.", "Ask for it on its page, and set HF_TOKEN.")
    if isinstance(error, RepositoryNotFoundError):
        return PrepareError(f"The model hub knows no {name}.", "Check the name.")
    if isinstance(error, HfHubHTTPError):
        return PrepareError(f"The model hub did not give out {name} (HTTP {error.response.status_code}).", CHECK)
    return PrepareError(f"{name} could not be fetched ({type(error).__name__}).", CHECK)


@contextmanager
def _watched(folder: Path, total: int, label: str, tell: Tell) -> Iterator[None]:
    """Tell how much has come, twice a second."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            come = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
            tell(label, min(0.99, come / max(1, total)))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    serve(main)
