"""Texts to vectors: prepares all-MiniLM-L6-v2 as ONNX int8 once (in a child process) and runs it with ONNX Runtime.

Knows nothing of documents, passages or stores. The running process imports neither torch nor sentence_transformers.
Texts run sorted by length, so that little is padded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from base.errors import PrepareError
from base.files import require_space, sha256, staged, write_atomic
from base.progress import Progress, silent
from base.settings import ROOT

NAME = "all-minilm-l6-v2-int8-hidden"
DIMENSIONS = 384
MAX_TOKENS = 256
"""Length the model was trained with; longer texts are cut by the tokenizer."""
BATCH_TOKENS = 1024
"""Padded tokens in one run: large enough to fill two cores, small enough that a query is not kept waiting."""
NOTE = "embedder.json"

Vectors = npt.NDArray[np.float32]


def missing(models: Path) -> bool:
    """Whether the embedder has to be prepared. Looks at names and sizes only."""
    folder = models / NAME
    try:
        files = json.loads((folder / NOTE).read_text(encoding="utf-8"))["files"]
        return any((folder / name).stat().st_size != entry["size"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def prepare(models: Path, progress: Progress = silent, offline: bool = False) -> Path:
    """The prepared embedder's folder, exported first when it is missing. Blocks; raises PrepareError or SetupError.

    Needs no network with or without `offline`: the weights come from an installed package.
    """
    del offline
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f".{NAME}.lock"):
        if missing(models):
            require_space(models, 250, "Preparing the embedding model")
            with staged(models / NAME) as stage:
                _run_export(stage, progress)
                names = ("model.onnx", "tokenizer.json")
                entries = {name: {"size": (stage / name).stat().st_size, "sha256": sha256(stage / name)} for name in names}
                note = {"name": NAME, "dimensions": DIMENSIONS, "max_tokens": MAX_TOKENS, "files": entries}
                write_atomic(stage / NOTE, json.dumps(note, indent=1))
    return models / NAME


def _run_export(stage: Path, progress: Progress) -> None:
    """Run rag.export in a child: its 1 GB of torch goes away with it."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    errors = stage / "export.log"
    with (
        errors.open("wb") as log,
        subprocess.Popen(
            # -P and cwd: a json.py in the current directory must not be taken for a module.
            [sys.executable, "-P", "-m", "rag.export", str(stage.absolute())],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            encoding="utf-8",
        ) as child,
    ):
        assert child.stdout is not None
        with ExitStack() as undo:
            undo.callback(child.kill)
            for line in child.stdout:
                told = json.loads(line)
                progress(str(told["label"]), float(told["fraction"]))
            undo.pop_all()
    if child.returncode != 0:
        last = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise PrepareError(
            f"The embedding model could not be prepared: {last[0].removeprefix('PrepareError: ')[:200]}",
            "Check the free memory (about 1.5 GB) and disk, and start again; what was half done is thrown away.",
        )
    errors.unlink()


class Embedder:
    """all-MiniLM-L6-v2 in ONNX Runtime. Safe to use from several threads."""

    name = NAME
    dimensions = DIMENSIONS

    def __init__(self, session: Any, tokenizer: Any, counter: Any) -> None:
        self._session, self._tokenizer, self._counter = session, tokenizer, counter
        # One batch at a time: two at once only slow each other on few cores. A query waits for one batch at most.
        self._turn = threading.Lock()

    @classmethod
    def load(cls, folder: Path) -> Embedder:
        """Load what `prepare` made (0.2 s). Raises PrepareError when it is broken."""
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as native
        from tokenizers import Tokenizer

        # Each is an Exception of its own, without a common base.
        broken = (native.InvalidProtobuf, native.InvalidGraph, native.NoSuchFile, native.Fail, native.InvalidArgument)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(4, os.cpu_count() or 1)
        options.inter_op_num_threads = 1
        # The arena keeps the largest batch's memory for good (+150 MB), and spinning threads starve the chat model.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
            text = (folder / "tokenizer.json").read_text(encoding="utf-8")
            tokenizer, counter = Tokenizer.from_str(text), Tokenizer.from_str(text)
        except (OSError, ValueError, RuntimeError, *broken) as error:
            raise PrepareError(
                f"The prepared embedding model is damaged ({type(error).__name__}).",
                f"Delete the folder {NAME} under the models folder and start again: it is made anew.",
            ) from None
        # The packaged tokenizer.json pads and cuts to 128 tokens; both are the caller's business here.
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        counter.no_padding()
        counter.no_truncation()
        return cls(session, tokenizer, counter)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32 (n, 384), in the order of `texts`. Blocks: call it in a thread."""
        out = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        for rows in _batches([len(ids) for ids in encoded]):
            (out[rows],) = self._run(["embedding"], [encoded[row] for row in rows])
        return out

    def embed_parts(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> tuple[Vectors, list[Vectors]]:
        """`embed`, and for each text the unit vectors of its `spans` (characters), as they stand in the text.

        A part's vector is the mean of its tokens' vectors, which come with the text's own run: parts cost nothing, where
        embedding the sentences alone takes as long again. Parts beyond the tokens that fit are left out.
        """
        out = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        parts = [np.zeros((0, DIMENSIONS), dtype=np.float32) for _ in texts]
        encoded = self._tokenizer.encode_batch(list(texts))
        for rows in _batches([len(encoding.ids) for encoding in encoded]):
            out[rows], hidden = self._run(["embedding", "hidden"], [encoded[row].ids for row in rows])
            for at, row in enumerate(rows):
                parts[row] = _means(hidden[at], encoded[row].offsets, spans[row])
        return out, parts

    def _run(self, names: Sequence[str], batch: Sequence[Sequence[int]]) -> list[Vectors]:
        """The named outputs for token ids of unequal lengths."""
        ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(batch):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        with self._turn:
            outputs: list[Vectors] = self._session.run(names, {"input_ids": ids, "attention_mask": mask})
        return outputs

    def count(self, text: str) -> int:
        """Tokens in `text`, without the two that mark its ends; not cut."""
        return len(self._counter.encode_batch_fast([text], add_special_tokens=False)[0].ids)


def _means(hidden: Vectors, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Vectors:
    """Unit means (n, 384) of the token vectors within each span; spans without a token give none."""
    starts = np.array([start for start, _ in offsets])
    ends = np.array([end for _, end in offsets])
    inside = [(starts >= start) & (ends <= end) & (ends > starts) for start, end in spans]
    means = [hidden[: len(offsets)][tokens].mean(axis=0) for tokens in inside if tokens.any()]
    found = np.array(means, dtype=np.float32).reshape(-1, DIMENSIONS)
    lengths = np.linalg.norm(found, axis=1, keepdims=True).astype(np.float32)
    scaled: Vectors = found / lengths.clip(1e-9)
    return scaled


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers, longest first, in groups of at most BATCH_TOKENS tokens when padded."""
    group: list[int] = []
    longest = 1
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if group and (len(group) + 1) * longest > BATCH_TOKENS:
            yield group
            group = []
        longest = lengths[row] if not group else longest
        group.append(row)
    if group:
        yield group
