"""Fits the head from labelled examples: multinomial logistic regression in numpy, cross-validated and calibrated.

Knows examples, rules and an embedder that is handed in. Writes nothing. About 25 s on two cores, nearly all embedding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from router.examples import Example
from router.head import Embed, Head, signals, softmax, view
from router.intents import GENERAL, Rules, hear
from router.measure import calibration_error, scores

FOLDS = 5
SHOWN = 320
"""Examples whose vectors are kept as evidence."""
WRONG = 0.012
"""The share of general examples that may go to a specialist in cross-validation: the threshold is set by it."""
LEAST = 0.08
"""The share of all weight that each label has at least."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Knobs:
    """What was chosen on the development set."""

    scale: float = 0.45
    """Of the signals beside an embedding of length 1."""
    decay: float = 0.0007
    """L2 on the weights, per unit of example weight."""
    steps: int = 300


def fit(examples: Sequence[Example], rules: Rules, embed: Embed, knobs: Knobs = Knobs()) -> Head:
    """The head with its cross-validated metrics inside. Blocks."""
    began = time.perf_counter()
    labels = tuple(sorted({example.label for example in examples}, key=lambda name: (name != GENERAL, name)))
    vectors = embed.embed([view(example.text) for example in examples])
    heard = np.array([signals(e.text, hear(e.text, rules), rules) for e in examples], dtype=np.float32)
    features = np.hstack([vectors, heard * knobs.scale, np.ones((len(examples), 1), np.float32)])
    truth = np.array([labels.index(example.label) for example in examples])
    weight = np.array([example.weight for example in examples])
    for label in range(len(labels)):  # a gained intent with a handful of examples must still be heard
        own = truth == label
        weight[own] *= max(1.0, LEAST * weight.sum() / weight[own].sum())
    groups = np.array([example.group for example in examples])
    logits = cross_validated(features, truth, weight, groups, len(labels), knobs)
    temperature = _temperature(logits, truth, weight)
    chances = softmax(logits / temperature)
    threshold = _threshold(chances, truth, weight)
    weights = solve(features, truth, weight, len(labels), knobs)
    metrics = _metrics(chances, threshold, labels, truth, groups, time.perf_counter() - began)
    shown, kept = _shown(examples, vectors)
    return Head(labels, weights, knobs.scale, temperature, threshold, rules.mark, embed.name, metrics, shown, kept)


def cross_validated(features: Array, truth: Array, weight: Array, groups: Array, classes: int, knobs: Knobs) -> Array:
    """Logits of each example by a head that saw none of its group."""
    out = np.zeros((len(truth), classes))
    fold = np.random.default_rng(7).permutation(groups.max() + 1)[groups] % FOLDS
    for held in range(FOLDS):
        seen = fold != held
        out[~seen] = features[~seen] @ solve(features[seen], truth[seen], weight[seen], classes, knobs).T
    return out


def solve(features: Array, truth: Array, weight: Array, classes: int, knobs: Knobs) -> npt.NDArray[np.float32]:
    """Weights (classes, features) by gradient descent with Nesterov's momentum; the bias (last column) does not decay."""
    features = features.astype(np.float32)
    share = (weight / weight.sum()).astype(np.float32)[:, None]
    wanted = np.eye(classes, dtype=np.float32)[truth]
    decay = np.full(features.shape[1], knobs.decay, dtype=np.float32)
    decay[-1] = 0.0
    # The softmax loss has curvature of at most half the largest eigenvalue of the weighted second moment.
    step = np.float32(1.0 / (0.5 * np.linalg.norm((features * share).T @ features, 2) + knobs.decay))
    weights = ahead = np.zeros((classes, features.shape[1]), dtype=np.float32)
    for at in range(knobs.steps):
        slope = (share * (softmax(features @ ahead.T) - wanted)).T @ features + ahead * decay
        after = ahead - step * slope
        ahead = after + np.float32(at / (at + 3)) * (after - weights)
        weights = after
    return np.asarray(weights, dtype=np.float32)


def _temperature(logits: Array, truth: Array, weight: Array) -> float:
    """The one that makes the held-out likelihood largest (temperature scaling, Guo et al. 2017)."""
    tried = np.arange(0.4, 2.5, 0.05)
    losses = [-(weight * np.log(softmax(logits / t)[np.arange(len(truth)), truth] + 1e-12)).sum() for t in tried]
    return round(float(tried[int(np.argmin(losses))]), 3)


def _threshold(chances: Array, truth: Array, weight: Array) -> float:
    """The least probability from which so few general examples go to a specialist; within 0.5 to 0.72."""
    general = truth == 0
    wrong = np.where(chances[general].argmax(1) != 0, chances[general].max(1), 0.0)
    for tried in np.arange(0.5, 0.72, 0.01):
        if weight[general][wrong >= tried].sum() <= WRONG * weight[general].sum():
            return round(float(tried), 2)
    return 0.72


def _metrics(chances: Array, threshold: float, labels: Sequence[str], truth: Array, groups: Array, seconds: float) -> dict[str, Any]:
    """What cross-validation says of the head, in the form that goes into its file."""
    top = chances.argmax(1)
    picked = np.where((top != 0) & (chances.max(1) < threshold), 0, top)
    sure = chances[np.arange(len(picked)), picked]
    said, true = [labels[at] for at in picked], [labels[at] for at in truth]
    counts = {label: len(set(groups[truth == at].tolist())) for at, label in enumerate(labels)}
    right = [a == b for a, b in zip(true, said, strict=True)]
    return {
        "cross_validated": {**scores(true, said), "calibration_error": calibration_error(right, sure.tolist())},
        "folds": FOLDS,
        "messages": len(truth),
        "examples": counts,
        "seconds": round(seconds, 1),
    }


def _shown(examples: Sequence[Example], vectors: Array) -> tuple[tuple[str, ...], npt.NDArray[np.int8]]:
    """Short examples of every label, evenly taken, with their vectors as int8."""
    short = [
        at for at, e in enumerate(examples) if len(e.text) <= 90 and "\n" not in e.text and (at == 0 or examples[at - 1].group != e.group)
    ]
    kept = short[:: max(1, -(-len(short) // SHOWN))]
    return tuple(f"{examples[at].label}: {examples[at].text}" for at in kept), np.round(vectors[kept] * 127).astype(np.int8)
