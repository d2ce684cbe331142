"""A second look at the first candidates of a search: a cross-encoder reads question and passage together. Off unless it is set.

Knows what a prepared folder holds and runs it with ONNX Runtime; knows no store and no gate. It costs the time of a small
model over twenty-four passages, and only the order of those is its to change.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import PrepareError, SettingsError
from base.settings import Settings
from rag import embed, prepare
from rag.prepare import Source
from rag.retrieve import Passage

NOTE = "reranker.json"
READ = 24
"""Candidates that it reads, the best in fused order."""
MOST_ASKED = 160
"""Tokens of a question that it reads: a pasted page must leave room for the passages."""

Vectors = npt.NDArray[np.float32]


def chosen(models: Path, setting: str) -> Source | None:
    """The user's reranker; None for none. Raises SettingsError."""
    return prepare.source(models, "reranker", setting) if setting else None


class Reranker:
    """A prepared cross-encoder in ONNX Runtime. Safe to use from several threads."""

    def __init__(self, session: Any, tokenizer: Any, counter: Any, note: Mapping[str, Any]) -> None:
        self._session, self._tokenizer, self._counter = session, tokenizer, counter
        self.label, self._pad = str(note.get("label", "")), int(note.get("pad", 0))
        self._inputs = tuple(map(str, note.get("inputs", ("input_ids", "attention_mask"))))
        self._turn = threading.Lock()

    @classmethod
    def load(cls, folder: Path) -> Reranker:
        """Load what rag.prepare made. Raises PrepareError when it is broken."""
        note = prepare.read(folder / NOTE)
        session, tokenizer, counter = embed.opened(folder, "reranking")
        tokenizer.enable_truncation(int(note.get("max_tokens", 512)), strategy="longest_first")
        counter.enable_truncation(MOST_ASKED)
        return cls(session, tokenizer, counter, note)

    def reordered(self, query: str, ranked: Sequence[Passage]) -> list[Passage]:
        """The first READ candidates in its order, the others as they were. Blocks; raises PrepareError.

        Fused scores stay where they are, so that they still fall from the first to the last.
        """
        head = list(ranked[:READ])
        scores = self.scores(query, [f"{_under(one)}\n{one.text}" for one in head])
        order = np.argsort(-scores, kind="stable")
        return [*(replace(head[int(at)], score=one.score) for at, one in zip(order, head, strict=True)), *ranked[READ:]]

    def scores(self, query: str, texts: Sequence[str]) -> Vectors:
        """How well each text answers, (n,); higher is better, and no scale is promised."""
        asked = self._cut(query)
        encoded = self._tokenizer.encode_batch([(asked, text) for text in texts])
        out = np.zeros(len(texts), dtype=np.float32)
        for rows in embed.batches([len(one.ids) for one in encoded]):
            out[rows] = self._run([encoded[row] for row in rows])
        return out

    def _cut(self, query: str) -> str:
        offsets = self._counter.encode(query, add_special_tokens=False).offsets
        return query[: max((end for _, end in offsets), default=0)]

    def _run(self, encoded: Sequence[Any]) -> Vectors:
        ids, mask = embed.padded([one.ids for one in encoded], self._pad)
        types = embed.padded([one.type_ids for one in encoded], 0)[0]
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        try:
            with self._turn:
                found: Vectors = self._session.run(["score"], {name: feeds[name] for name in self._inputs})[0]
        except embed.broken() as error:
            raise PrepareError(f"The reranking model failed ({type(error).__name__}).", "Start Relay again.") from error
        return found


class Reranking:
    """The reranker of a library, loaded at its first search; without one, and when it fails, the order stays as it is."""

    def __init__(self, settings: Settings) -> None:
        self._models, self._setting, self._offline = settings.models, settings.reranker, settings.offline
        self._loading = threading.Lock()
        self._reranker: Reranker | None = None
        self._tried = False
        self.trouble = ""
        """Why it does not run, in sentences; '' when it does, or none is set."""
        if self._setting:
            self._look()

    def _look(self) -> None:
        """Say at once when it is not there."""
        try:
            one = prepare.source(self._models, "reranker", self._setting)
            found, said = prepare.state(self._models, one, self._offline)
            self._folder = self._models / one.name
            self._trouble_with("" if found == "ready" else said)
        except SettingsError as error:
            self._trouble_with(str(error))

    def _trouble_with(self, said: str) -> None:
        self.trouble, self._tried = f"{said} Search goes on without it." if said else "", bool(said)

    def reordered(self, query: str, ranked: list[Passage]) -> list[Passage]:
        """See Reranker.reordered. Blocks."""
        if not self._setting or not ranked:
            return ranked
        try:
            one = self._loaded()
            return one.reordered(query, ranked) if one else ranked
        except PrepareError as error:
            self._reranker = None
            self._trouble_with(str(error))
            return ranked

    def _loaded(self) -> Reranker | None:
        with self._loading:
            if not self._tried:
                self._tried = True
                self._reranker = Reranker.load(self._folder)
            return self._reranker


def _under(passage: Passage) -> str:
    return f"{passage.document} › {passage.heading}" if passage.heading else passage.document
