"""Texts to vectors: the shipped all-MiniLM-L6-v2, or whichever sentence-transformers model the user has set, prepared as ONNX.

Knows what a prepared folder holds and runs it with ONNX Runtime; knows nothing of documents, passages or stores. The running
process imports neither torch nor sentence_transformers. Texts run sorted by length, so that little is padded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from base.errors import PrepareError
from base.files import require_space, staged
from base.progress import Progress, silent
from rag import prepare as preparing
from rag.prepare import Source
from rag.scale import Scale

NAME = "all-minilm-l6-v2-int8-hidden"
SHIPPED = frozenset({"", "all-minilm-l6-v2", "sentence-transformers/all-minilm-l6-v2"})
"""Settings that mean the shipped model."""
DIMENSIONS = 384
MAX_TOKENS = 256
"""Length the shipped model was trained with; longer texts are cut by the tokenizer."""
BATCH_TOKENS = 1024
"""Padded tokens in one run: large enough to fill two cores, small enough that a query is not kept waiting."""
NOTE = "embedder.json"

Vectors = npt.NDArray[np.float32]


def chosen(models: Path, setting: str) -> Source | None:
    """The user's own embedder; None for the shipped one. Raises SettingsError."""
    return None if setting.lower() in SHIPPED else preparing.source(models, "embedder", setting)


def missing(models: Path) -> bool:
    """Whether the shipped embedder has to be prepared. Looks at names and sizes only."""
    return preparing.missing(models / NAME, NOTE)


def prepare(models: Path, progress: Progress = silent, offline: bool = False) -> Path:
    """The shipped embedder's folder, exported first when it is missing. Blocks; raises PrepareError or SetupError.

    Needs no network with or without `offline`: the weights come from an installed package.
    """
    del offline
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f".{NAME}.lock"):
        if missing(models):
            require_space(models, 250, "Preparing the embedding model")
            with staged(models / NAME) as stage:
                preparing.run("rag.export", (str(stage.absolute()),), stage, progress, preparing.KINDS["embedder"])
                preparing.seal(stage, NOTE, {"name": NAME, "dimensions": DIMENSIONS, "max_tokens": MAX_TOKENS})
    return models / NAME


_loaded: WeakValueDictionary[Path, Embedder] = WeakValueDictionary()
_loading = threading.Lock()


def shared(folder: Path) -> Embedder:
    """This process's one embedder from that folder, loaded when nobody has it. Raises PrepareError."""
    with _loading:
        found = _loaded.get(folder)
        if found is None:
            found = _loaded[folder] = Embedder.load(folder)
        return found


def serving(models: Path, setting: str) -> Embedder:
    """The embedder of the setting, or the shipped one as long as it is not prepared. Raises SettingsError, PrepareError."""
    own = chosen(models, setting)
    ready = own is not None and not preparing.missing(models / own.name, own.note)
    return shared(models / (own.name if own and ready else NAME))


class Embedder:
    """A prepared embedder in ONNX Runtime. Safe to use from several threads."""

    def __init__(self, session: Any, tokenizer: Any, counter: Any, note: Mapping[str, Any]) -> None:
        self._session, self._tokenizer, self._counter = session, tokenizer, counter
        self.name, self.dimensions = str(note.get("name", NAME)), int(note.get("dimensions", DIMENSIONS))
        self.label = str(note.get("label", "all-MiniLM-L6-v2"))
        self.scaled = Scale(*note.get("scale", ()))
        """Its cosines on the shipped model's scale."""
        self._pad = int(note.get("pad", 0))
        self._asks, self._tells = str(note.get("query", "")), str(note.get("passage", ""))
        self._hidden = bool(note.get("hidden", True))
        """Whether it gives the tokens' own vectors, of which a sentence's is the mean."""
        # One batch at a time: two at once only slow each other on few cores. A query waits for one batch at most.
        self._turn = threading.Lock()

    @classmethod
    def load(cls, folder: Path) -> Embedder:
        """Load what `prepare` made (0.2 s). Raises PrepareError when it is broken."""
        note = preparing.read(folder / NOTE)
        session, tokenizer, counter = opened(folder, "embedding")
        # The packaged tokenizer.json pads and cuts to 128 tokens; both are the caller's business here.
        tokenizer.enable_truncation(int(note.get("max_tokens", MAX_TOKENS)))
        return cls(session, tokenizer, counter, note)

    def query(self, text: str) -> Vectors:
        """The unit vector of a question, (d,). Blocks."""
        vector: Vectors = self.embed([self._asks + text])[0]
        return vector

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (n, d), of texts as they stand, in their order. Blocks: call it in a thread."""
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        for rows in batches([len(ids) for ids in encoded]):
            (out[rows],) = self._run(["embedding"], [encoded[row] for row in rows])
        return out

    def embed_parts(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> tuple[Vectors, list[Vectors]]:
        """Unit vectors (n, d) of passages, and for each those of its `spans` (characters), as they stand in the text.

        Where the model pools by the mean, a part's vector is the mean of its tokens' vectors, which come with the text's own
        run: parts cost nothing then, where embedding the sentences alone takes as long again. Parts beyond the tokens that
        fit are left out. Other models embed each part by itself.
        """
        if not self._hidden:
            return self.embed([self._tells + text for text in texts]), self._alone(texts, spans)
        return self._with_tokens([self._tells + text for text in texts], spans, len(self._tells))

    def _alone(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> list[Vectors]:
        flat = [self._tells + text[start:end] for text, some in zip(texts, spans, strict=True) for start, end in some]
        ends = np.cumsum([len(some) for some in spans])[:-1]
        return list(np.split(self.embed(flat), ends))

    def _with_tokens(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], shift: int) -> tuple[Vectors, list[Vectors]]:
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        parts = [np.zeros((0, self.dimensions), dtype=np.float32) for _ in texts]
        encoded = self._tokenizer.encode_batch(list(texts))
        for rows in batches([len(encoding.ids) for encoding in encoded]):
            out[rows], hidden = self._run(["embedding", "hidden"], [encoded[row].ids for row in rows])
            for at, row in enumerate(rows):
                parts[row] = _means(hidden[at], encoded[row].offsets, spans[row], shift)
        return out, parts

    def _run(self, names: Sequence[str], batch: Sequence[Sequence[int]]) -> list[Vectors]:
        """The named outputs for token ids of unequal lengths."""
        ids, mask = padded(batch, self._pad)
        with self._turn:
            outputs: list[Vectors] = self._session.run(names, {"input_ids": ids, "attention_mask": mask})
        return outputs

    def count(self, text: str) -> int:
        """Tokens in `text`, without the two that mark its ends; not cut."""
        return len(self._counter.encode_batch_fast([text], add_special_tokens=False)[0].ids)


def opened(folder: Path, what: str) -> tuple[Any, Any, Any]:
    """(session, tokenizer, a second tokenizer) of a prepared folder; neither cuts or pads. Raises PrepareError."""
    import onnxruntime
    from tokenizers import Tokenizer

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
    except broken(OSError, ValueError, RuntimeError) as error:
        raise PrepareError(
            f"The prepared {what} model is damaged ({type(error).__name__}).",
            f"Delete the folder {folder.name} under the models folder and start again: it is made anew.",
        ) from None
    for one in (tokenizer, counter):
        one.no_padding()
        one.no_truncation()
    return session, tokenizer, counter


def broken(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """`more`, and what ONNX Runtime raises: each is an Exception of its own, without a common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    mine = (native.InvalidProtobuf, native.InvalidGraph, native.NoSuchFile, native.Fail, native.InvalidArgument, native.RuntimeException)
    return *more, *mine


def padded(batch: Sequence[Sequence[int]], pad: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids and mask, (n, longest)."""
    ids = np.full((len(batch), max(map(len, batch))), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for at, row in enumerate(batch):
        ids[at, : len(row)] = row
        mask[at, : len(row)] = 1
    return ids, mask


def _means(hidden: Vectors, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], shift: int) -> Vectors:
    """Unit means (n, d) of the token vectors within each span, which begins `shift` characters later; spans without a token give none."""
    starts = np.array([start for start, _ in offsets]) - shift
    ends = np.array([end for _, end in offsets]) - shift
    # Some tokenizers count the blank before a word to it.
    inside = [(starts >= start - 1) & (ends > start) & (ends <= end) & (ends > starts) for start, end in spans]
    means = [hidden[: len(offsets)][tokens].mean(axis=0) for tokens in inside if tokens.any()]
    found = np.array(means, dtype=np.float32).reshape(-1, hidden.shape[-1])
    lengths = np.linalg.norm(found, axis=1, keepdims=True).astype(np.float32)
    scaled: Vectors = found / lengths.clip(1e-9)
    return scaled


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers, longest first, in groups of at most BATCH_TOKENS tokens when padded; texts without a token are left out."""
    group: list[int] = []
    longest = 1
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not lengths[row]:
            break
        if group and (len(group) + 1) * longest > BATCH_TOKENS:
            yield group
            group = []
        longest = lengths[row] if not group else longest
        group.append(row)
    if group:
        yield group
