"""How right and how sure a router is: accuracy, F1, confusion, wrong specialists, calibration. Pure arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from router.intents import GENERAL

BINS = 10


def scores(truth: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro-F1 over the labels that occur in `truth`, each label's figures, confusion, wrong-specialist rate.

    The wrong-specialist rate is the share of general messages that were sent to a specialist; None without any.
    """
    pairs = Counter(zip(truth, said, strict=True))
    labels = sorted(set(truth))
    each = {label: _label(label, pairs) for label in labels}
    general = sum(count for (true, _), count in pairs.items() if true == GENERAL)
    wrong = general - pairs[GENERAL, GENERAL]
    return {
        "rows": len(truth),
        "accuracy": _share(sum(pairs[label, label] for label in labels), len(truth)),
        "macro_f1": round(sum(figures["f1"] for figures in each.values()) / len(each), 4) if each else 0.0,
        "per_label": each,
        "confusion": {true: {got: pairs[true, got] for got in sorted({*labels, *said}) if pairs[true, got]} for true in labels},
        "wrong_specialist_rate": _share(wrong, general) if general else None,
    }


def _label(label: str, pairs: Counter[tuple[str, str]]) -> dict[str, Any]:
    hit = pairs[label, label]
    said = sum(count for (_, got), count in pairs.items() if got == label)
    true = sum(count for (was, _), count in pairs.items() if was == label)
    return {"precision": _share(hit, said), "recall": _share(hit, true), "f1": _share(2 * hit, said + true), "rows": true}


def calibration_error(right: Sequence[bool], confidence: Sequence[float]) -> float:
    """Expected calibration error over ten equal bins of confidence: mean |accuracy - confidence|, weighted by rows."""
    bins: dict[int, list[tuple[bool, float]]] = {}
    for hit, sure in zip(right, confidence, strict=True):
        bins.setdefault(min(int(sure * BINS), BINS - 1), []).append((hit, sure))
    gaps = (abs(sum(hit for hit, _ in rows) - sum(sure for _, sure in rows)) for rows in bins.values())
    return round(sum(gaps) / len(right), 4) if right else 0.0


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 by nearest rank."""
    ranked = sorted(values)
    return {f"p{p}": round(ranked[min(len(ranked) - 1, len(ranked) * p // 100)], 3) for p in (50, 95, 99)} if ranked else {}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
