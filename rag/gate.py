"""Does the library tell anything about a question? A calibrated probability from what its search gave. Pure but for gate.json.

A logistic model of three figures: the highest cosine of a passage, the highest of a sentence, and how many of the question's
words one passage holds. gate.json holds the weights, how they were fitted, and how they did on corpora they had not seen;
tests/bench/fit_gate.py writes it. A question close to a document that still does not answer it (a near miss) is beyond it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from rag.words import content

NOTE = Path(__file__).with_name("gate.json")
FEATURES = ("dense", "sentence", "words")
LOOKED_AT = 10
"""Passages whose words are compared with the question's."""
WORDS_ENOUGH, WORDS_WEIGHT = 1.1, 6.0
"""By words alone: the figure from which a question is answered, and how fast the confidence rises there. On two development
corpora that refuses 83 and 93 % of the questions off the corpus, and 10 and 15 % of its own."""
READ = 3
"""Passages in which the second stage looks for its sentence."""


class Hit(Protocol):
    """What the gate needs of a found passage."""

    @property
    def text(self) -> str:
        """Its text."""
        ...

    @property
    def place(self) -> str:
        """The names it stands under."""
        ...

    @property
    def dense(self) -> float:
        """Cosine to the question."""
        ...

    @property
    def sentence(self) -> float:
        """Cosine of its best sentence to the question."""
        ...


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the logistic model; a confidence of 0.5 is the fitted operating point. `evidence`: see `sufficient`."""

    weights: tuple[float, ...]
    bias: float
    evidence: float


@cache
def fitted() -> Weights:
    """What gate.json holds."""
    note = json.loads(NOTE.read_text(encoding="utf-8"))
    return Weights(tuple(note["weights"][name] for name in FEATURES), note["bias"], note["evidence"])


def features(question: str, ranked: Sequence[Hit]) -> tuple[float, ...]:
    """The figures of FEATURES. Words: matched by the best of the first passages, over the root of how many were asked for:

    a share alone would punish long questions, a number alone short ones.
    """
    wanted = content(question)
    if not ranked:
        return (0.0,) * len(FEATURES)
    matched = max(len(wanted & content(f"{hit.place} {hit.text}")) for hit in ranked[:LOOKED_AT])
    return max(hit.dense for hit in ranked), max(hit.sentence for hit in ranked), matched / math.sqrt(max(1, len(wanted)))


def confidence(question: str, ranked: Sequence[Hit], by_words: bool = False) -> float:
    """0 to 1: how sure it is that these candidates, best first, tell something about the question; 0 for none.

    `by_words`: the candidates have no cosines, and their words have to do alone.
    """
    if not ranked:
        return 0.0
    if by_words:
        return 1 / (1 + math.exp(-WORDS_WEIGHT * (features(question, ranked)[2] - WORDS_ENOUGH)))
    model = fitted()
    z = model.bias + sum(weight * value for weight, value in zip(model.weights, features(question, ranked), strict=True))
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, z))))


def evidence(ranked: Sequence[Hit]) -> float:
    """The highest cosine of a sentence in the passages that would be read."""
    return max((hit.sentence for hit in ranked[:READ]), default=0.0)


def sufficient(ranked: Sequence[Hit]) -> bool:
    """The second stage, for near misses, from the search alone: is there a sentence that is close to the question?

    Weak by nature (AUROC .59 on SQuAD2's near misses; shared words and missing names .45 to .59): a text about the right
    thing that does not answer is close too. It only drops the plainest; what decides is a model that quotes.
    """
    return evidence(ranked) >= fitted().evidence
