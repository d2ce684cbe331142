"""One embedder's cosines on another's scale: pure. The gate and the floor of nearness were fitted on the shipped model's.

Each model has a scale of its own: for one, unrelated texts are at .1, for another at .8. What both find for the same related
and unrelated pairs (pairs.jsonl: questions on the demo handbook with the passage that answers) gives a straight line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from base.errors import PrepareError
from rag.chunk import sentences
from rag.measures import auroc

PAIRS = Path(__file__).with_name("pairs.jsonl")
LEAST = 0.9
"""AUROC of related against unrelated pairs under which no line helps (the shipped embedder's is .984). With all-MiniLM-L6-v2
pooled by its first token (.951), 93 % of the questions off a corpus are refused, and 11 % of its own; with four of its six layers
(.893), only 28 % and 2 %."""
LEAST_RANKED = 0.8
"""The same for a reranker's scores, over questions of which each has a level of its own."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scale:
    """cosine * slope + shift"""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, cosines: Vectors) -> Vectors:
        """The cosines on the shipped model's scale."""
        if self.slope == 1.0 and self.shift == 0.0:
            return cosines
        mapped: Vectors = (cosines * np.float32(self.slope) + np.float32(self.shift)).clip(-1, 1)
        return mapped


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and the passage that answers it."""

    question: str
    under: str
    """The names that the passage stands under."""
    text: str


def pairs() -> tuple[Pair, ...]:
    """What pairs.jsonl holds."""
    return tuple(Pair(**json.loads(line)) for line in PAIRS.read_text(encoding="utf-8").splitlines())


class Measured(Protocol):
    """An embedder."""

    def query(self, text: str, /) -> Vectors:
        """The unit vector of a question."""
        ...

    def embed_parts(self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], /) -> tuple[Vectors, list[Vectors]]:
        """Unit vectors of passages and of their parts."""
        ...


def measured(embedder: Measured) -> tuple[Vectors, Vectors]:
    """Cosines of (related, unrelated) pairs: of each question to the passages, and to their best sentences, as a search has them."""
    some = pairs()
    texts = [f"{one.under}\n{one.text}" for one in some]
    shifts = [len(one.under) + 1 for one in some]
    spans = [[(shift + start, shift + end) for start, end in sentences(one.text)] for shift, one in zip(shifts, some, strict=True)]
    vectors, parts = embedder.embed_parts(texts, spans)
    asked = np.stack([embedder.query(one.question) for one in some])
    best = np.stack([(asked @ part.T).max(axis=1, initial=-1) for part in parts], axis=1)
    both = np.stack([asked @ vectors.T, best])
    own = np.eye(len(some), dtype=np.bool_)
    return both[:, own].ravel(), both[:, ~own].ravel()


def fitted(own: tuple[Vectors, Vectors], shipped: tuple[Vectors, Vectors], name: str, remedy: str) -> tuple[float, float]:
    """(slope, shift) by which `own` tell the `shipped` ones with the least squares, related and unrelated weighing the same.

    Raises PrepareError for what is no embedder. Where a model is less sure, its line is flatter, and its chance hits count less.
    """
    told = auroc(own[0].tolist(), own[1].tolist())
    if told < LEAST:
        raise PrepareError(f"{name} does not tell related texts from others well enough (AUROC {told:.2f}, needed: {LEAST}).", remedy)
    seen, wanted = np.concatenate(own).astype(np.float64), np.concatenate(shipped).astype(np.float64)
    weights = np.concatenate([np.full(len(side), 0.5 / len(side)) for side in own])
    middle, aim = float(weights @ seen), float(weights @ wanted)
    slope = float(weights @ ((seen - middle) * (wanted - aim)) / (weights @ (seen - middle) ** 2))
    return round(slope, 6), round(aim - slope * middle, 6)


def ranks(scores: Callable[[str, Sequence[str]], Vectors], name: str, remedy: str) -> None:
    """Raise PrepareError for what is no reranker: of twelve questions, it does not score the right passage above eleven others."""
    some = pairs()[::6]
    table = np.stack([scores(one.question, [f"{other.under}\n{other.text}" for other in some]) for one in some])
    own = np.eye(len(some), dtype=np.bool_)
    told = auroc(table[own].tolist(), table[~own].tolist())
    if told < LEAST_RANKED:
        raise PrepareError(f"{name} does not put passages that answer before others (AUROC {told:.2f}, needed: {LEAST_RANKED}).", remedy)
