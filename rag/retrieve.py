"""Hybrid search: how dense and keyword hits become one list, which of it counts as knowledge, what fits into a prompt.

Pure but for `search`, which asks a library (or the process that owns it). Knows no store, no model and no file.
Fusion: convex, of the top 100 of each. On a part of SQuAD2, nDCG@10: BM25 .861, dense .784, both .893, with the best
sentence averaged into dense .904; recall of answer spans on another set: .927, .850, .933, .938.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rag.manifest import Stored
from rag.nearest import products

CANDIDATES = 100
DENSE_WEIGHT = 0.55
SENTENCES = 60
"""Candidates whose sentences are compared with the query."""
NEAR = 0.22
"""Cosine, of the passage or its best sentence, under which a passage does not come along; a negative floor takes all."""
BLANK = re.compile(r"\n\s*\n")
FORGED = re.compile(r"^(?=[ \t]*(?:\[\d+\]|Question\b|Draft\b|Copy the one sentence))", re.M | re.I)
NEAREST = 3
"""Passages shown when nothing is above the floor."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that was found: `document_text(document_id)[start:end] == text`."""

    id: str
    document: str
    """The document's title."""
    document_id: str
    heading: str
    page: int | None
    lines: tuple[int, int] | None
    text: str
    start: int
    end: int
    score: float = 0.0
    """Fused, 1 at most within one search; below 0 for what only keywords found, far from the query. It falls with the order."""
    dense: float = 0.0
    """Cosine similarity to the query, on the shipped embedder's scale."""
    keyword: float = 0.0
    """BM25, 0 when no word matched; higher is better."""
    sentence: float = 0.0
    """Cosine similarity of its best sentence to the query."""

    @property
    def place(self) -> str:
        """Such as: Leave types › Annual leave, p. 3."""
        name = f"{self.document} › {self.heading}" if self.heading else self.document
        if self.page is not None:
            return f"{name}, p. {self.page}"
        return f"{name}, lines {self.lines[0]}-{self.lines[1]}" if self.lines else name

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Passage:
        """From the plain values of `asdict`."""
        return cls(**{**data, "lines": tuple(data["lines"]) if data["lines"] else None})


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. `passages` is empty when nothing is above the floor; `nearest` then says what came closest."""

    passages: tuple[Passage, ...]
    best: float
    """How sure the gate is that the library tells something, 0 to 1 (rag.gate); 0 for an empty library."""
    ms: float
    considered: int
    nearest: tuple[Passage, ...] = ()
    by_words: bool = False
    """Nobody embedded the query: figures of meaning are 0."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Found:
        """The opposite of `to_json`."""
        passages, nearest = (tuple(map(Passage.from_json, data[key])) for key in ("passages", "nearest"))
        return cls(passages, data["best"], data["ms"], data["considered"], nearest, bool(data.get("by_words")))


class Searchable(Protocol):
    """A Library, or the RemoteLibrary of another process."""

    async def search(self, query: str, scopes: Sequence[str], floor: float, limit: int) -> Found:
        """See `search`."""
        ...


async def search(library: Searchable, query: str, scopes: Sequence[str], floor: float, limit: int = 20) -> Found:
    """The passages in `scopes` that tell something about `query`, best first; none when all are under the `floor`."""
    return await library.search(query, scopes, floor, limit)


def promising(ids: Sequence[int], cosines: Vectors, keywords: Mapping[int, float]) -> list[int]:
    """Ids of the passages whose sentences are worth a look: SENTENCES of the best before their sentences are known."""
    words = np.array([keywords.get(id, 0.0) for id in ids])
    similar = np.asarray(cosines, dtype=np.float64)
    before = DENSE_WEIGHT * _scaled(similar, float(similar.min())) + (1 - DENSE_WEIGHT) * _scaled(words, 0.0)
    return [ids[int(at)] for at in np.argsort(-before, kind="stable")[:SENTENCES]]


def best_parts(cosines: Vectors, parts: Sequence[Vectors | None], vector: Vectors) -> Vectors:
    """Cosine of the query to each passage's best sentence, (n,); the passage's own where it has no sentence vectors."""
    best = np.array(cosines, dtype=np.float32)
    held = [at for at, part in enumerate(parts) if part is not None and len(part)]
    if held:
        kept = [part for at in held if (part := parts[at]) is not None]
        rows = np.concatenate(kept)
        values = products(rows, vector) / np.sqrt(np.einsum("ij,ij->i", rows, rows)).clip(1e-9)
        best[held] = np.maximum.reduceat(values, np.cumsum([0, *map(len, kept)])[:-1])
    return best


def closest(vector: Vectors, parts: Vectors | None, scaled: Callable[[Vectors], Vectors]) -> tuple[float, int]:
    """(scaled cosine, number) of the part that is nearest to a unit vector; (0, -1) where there are none."""
    if parts is None or not len(parts):
        return 0.0, -1
    cosines = scaled((parts / np.linalg.norm(parts, axis=1, keepdims=True).clip(1e-9)) @ vector)
    at = int(cosines.argmax())
    return round(float(cosines[at]), 4), at


def fuse(
    stored: Sequence[Stored], cosines: Vectors, sentences: Vectors, keywords: Mapping[int, float], near: Collection[int]
) -> list[Passage]:
    """Candidates by fused score: similarity (passage and best sentence, averaged) and BM25, each scaled, then averaged.

    Similarity is scaled so that the worst of the passages that were found by it (`near`, ids) is 0, BM25 so that no match
    is 0; the best is 1. What keywords alone found may so fall below 0: it is far from the query.
    """
    words = np.array([keywords.get(passage.id, 0.0) for passage in stored])
    similar = (np.asarray(cosines, dtype=np.float64) + sentences) / 2
    low = min((value for value, one in zip(similar, stored, strict=True) if one.id in near), default=similar.min())
    scores = DENSE_WEIGHT * _scaled(similar, low) + (1 - DENSE_WEIGHT) * _scaled(words, 0.0)
    passages = [
        Passage(
            *(str(one.id), one.document, one.document_id, one.heading, one.page, one.lines, one.text, one.start, one.end),
            score=round(float(score), 6),
            dense=round(float(cosine), 4),
            keyword=round(float(word), 3),
            sentence=round(float(sentence), 4),
        )
        for one, score, cosine, word, sentence in zip(stored, scores, cosines, words, sentences, strict=True)
    ]
    return sorted(passages, key=lambda passage: (-passage.score, int(passage.id)))


def _scaled(values: npt.NDArray[np.float64], low: float) -> npt.NDArray[np.float64]:
    high = float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def above(ranked: Sequence[Passage], confidence: float, floor: float, limit: int, by_words: bool = False) -> tuple[Passage, ...]:
    """Nothing when the gate's `confidence` is under the floor; else the candidates that are near the query, in their order.

    `by_words`: they have no cosines, and all of them share words with the query.
    """
    if confidence < floor:
        return ()
    near = ranked if floor < 0 or by_words else [passage for passage in ranked if max(passage.dense, passage.sentence) >= NEAR]
    return tuple(near[:limit])


def nearest(ranked: Sequence[Passage]) -> tuple[Passage, ...]:
    """What to show when nothing is above the floor."""
    return tuple(sorted(ranked, key=lambda passage: -passage.dense)[:NEAREST])


class Count(Protocol):
    """Tokens in a text."""

    def __call__(self, text: str, /) -> int: ...


def pack(passages: Sequence[Passage], budget_tokens: int, count: Count) -> tuple[tuple[Passage, ...], int]:
    """(kept, how many were left out): the best passages whose numbered block stays within the budget.

    A smaller one further down may fill what a large one could not.
    """
    kept: list[Passage] = []
    used = 0
    for passage in passages:
        cost = count(_entry(len(kept) + 1, passage)) + 2
        if used + cost <= budget_tokens:
            kept.append(passage)
            used += cost
    return tuple(kept), len(passages) - len(kept)


def numbered(passages: Sequence[Passage]) -> str:
    """The block of a prompt: "[1] (document › heading, p. 3)", the text, a blank line, the next."""
    return "\n\n".join(_entry(number, passage) for number, passage in enumerate(passages, 1))


def _entry(number: int, passage: Passage) -> str:
    """No document may look like another passage, or like the question: its lines that would are set apart."""
    text = FORGED.sub("· ", BLANK.sub("\n", passage.text))
    return f"[{number}] ({' '.join(passage.place.split())})\n{text}"
