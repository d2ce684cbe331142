"""How good a ranking or a decision is: nDCG, recall, reciprocal rank, AUROC, percentiles. Pure; knows no search and no file.

Ranking measures follow trec_eval: linear gain, discount log2(rank + 1), the ideal over all judged documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Judged = Mapping[str, int]
"""Document id to its relevance; what is not in it, or is not above 0, is not relevant."""


def ndcg(ranked: Sequence[str], judged: Judged, k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `k` (Järvelin and Kekäläinen 2002), 0 to 1."""
    ideal = _dcg(sorted((gain for gain in judged.values() if gain > 0), reverse=True)[:k])
    return _dcg([max(0, judged.get(id, 0)) for id in ranked[:k]]) / ideal if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def recall(ranked: Sequence[str], judged: Judged, k: int) -> float:
    """Share of the relevant documents that are among the first `k`."""
    relevant = {id for id, gain in judged.items() if gain > 0}
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], judged: Judged, k: int = 10) -> float:
    """1 / rank of the first relevant document, 0 when none is among the first `k`; its mean is MRR@k."""
    return next((1 / rank for rank, id in enumerate(ranked[:k], 1) if judged.get(id, 0) > 0), 0.0)


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive's score is above a negative's; a tie counts half. 0.5 when either is empty."""
    if not positive or not negative:
        return 0.5
    order = sorted([(score, True) for score in positive] + [(score, False) for score in negative])
    ranks, at = 0.0, 0
    while at < len(order):
        end = at
        while end < len(order) and order[end][0] == order[at][0]:
            end += 1
        ranks += sum(is_positive for _, is_positive in order[at:end]) * (at + 1 + end) / 2
        at = end
    return (ranks - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))


def mean(values: Sequence[float]) -> float:
    """0 for no values."""
    return sum(values) / len(values) if values else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank); 0 for no values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else 0.0
