"""The fitted head: a linear layer over one embedding and the rules' signals, with its own calibration and metrics.

Knows numbers, and the file that holds them (head.json). Knows no embedder: a vector is handed in. `fit.py` makes it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from base.errors import SettingsError
from base.files import write_atomic
from router.intents import Heard, Rules

SHIPPED = Path(__file__).with_name("head.json")
VIEW_HEAD, VIEW_TAIL = 300, 200
"""Characters of a long message's start and end that are embedded: about 120 tokens, and the request is among them."""
Vectors = npt.NDArray[np.float32]


class Embed(Protocol):
    """Texts to vectors of length 1. It blocks."""

    name: str

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, dimensions) in the order of `texts`."""


def view(text: str) -> str:
    """What is embedded of a message."""
    text = text.strip()
    return text if len(text) <= VIEW_HEAD + VIEW_TAIL else f"{text[:VIEW_HEAD]} … {text[-VIEW_TAIL:]}"


def signals(text: str, heard: Heard, rules: Rules) -> list[float]:
    """What the head sees beside the embedding, each about 0 to 1: rules, loudest weight an intent, cues, and shape."""
    loudest: dict[str, float] = dict.fromkeys((rule.intent for rule in rules.rules), 0.0)
    for rule, words in zip(rules.rules, heard.words, strict=True):
        if words:
            loudest[rule.intent] = max(loudest[rule.intent], rule.weight)
    lines = text.count("\n")
    shape = [min(len(text), 2_000) / 2_000, min(len(text), 150) / 150, min(lines, 10) / 10, float(lines > 0), float("?" in text[-200:])]
    return [*(float(bool(words)) for words in heard.words), *loudest.values(), *map(float, heard.cues), *shape]


@dataclass(frozen=True, slots=True)
class Head:
    """Weights (labels, features + 1), the last column the bias; `nearest` holds example vectors as int8 for evidence."""

    labels: tuple[str, ...]
    weights: Vectors
    scale: float
    """What the signals are multiplied by beside the embedding."""
    temperature: float
    threshold: float
    """A specialist takes a message only from this probability on."""
    mark: str
    """Of the rules it was fitted with."""
    embedder: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    vectors: npt.NDArray[np.int8] | None = None

    def probabilities(self, vector: Vectors, heard: Sequence[float]) -> dict[str, float]:
        """Label → calibrated probability."""
        features = np.concatenate([vector, np.asarray(heard, dtype=np.float32) * self.scale, [1.0]])
        return dict(zip(self.labels, softmax(self.weights @ features / self.temperature).tolist(), strict=True))

    def nearest(self, vector: Vectors, count: int = 2) -> tuple[str, ...]:
        """The examples closest to a message."""
        if self.vectors is None or not len(self.shown):
            return ()
        close = self.vectors.astype(np.float32) @ vector
        return tuple(self.shown[at] for at in np.argsort(-close)[:count])

    def save(self, path: Path) -> None:
        """Write the head as JSON."""
        body: dict[str, Any] = {
            "metrics": dict(self.metrics),
            "labels": self.labels,
            "scale": self.scale,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "rules": self.mark,
            "embedder": self.embedder,
            "weights": _packed(self.weights.astype(np.float32)),
            "examples": self.shown,
            "vectors": _packed(self.vectors) if self.vectors is not None else "",
        }
        write_atomic(path, json.dumps(body, ensure_ascii=False, indent=1))


def load_head(path: Path = SHIPPED) -> Head:
    """Read a head. Raises SettingsError when it is missing or damaged."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        labels, shown = tuple(map(str, body["labels"])), tuple(map(str, body["examples"]))
        weights = np.frombuffer(base64.b64decode(body["weights"]), dtype=np.float32).reshape(len(labels), -1)
        vectors = np.frombuffer(base64.b64decode(body["vectors"]), dtype=np.int8).reshape(len(shown), -1) if shown else None
        numbers = (float(body["scale"]), float(body["temperature"]), float(body["threshold"]))
        return Head(labels, weights, *numbers, str(body["rules"]), str(body["embedder"]), body["metrics"], shown, vectors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"The routing head {path.name} cannot be read ({type(error).__name__}).", "Run 'relay eval routing --fit'."
        ) from None


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _packed(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
