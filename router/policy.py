"""What an answer may cost and how models are ordered: fast, balanced or best, and budgets. Pure; knows no clock and no model's place.

Costs are notional dollars (router/catalog.yaml), seconds come from what was measured of each model on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from router.catalog import Entry

Kind = Literal["fast", "balanced", "best"]
KINDS = ("fast", "balanced", "best")
USUAL_OUT = 250
"""Tokens of an answer, when nobody knows it yet."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How quick a model was lately: milliseconds to the first token, tokens a second after it."""

    first_ms: float
    tokens_per_s: float

    def seconds(self, tokens: int) -> float:
        """For an answer of so many tokens."""
        return self.first_ms / 1e3 + tokens / max(self.tokens_per_s, 0.1)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user wants. A bound of 0 is none."""

    kind: Kind = "balanced"
    most_cost: float = 0.0
    """Notional dollars for an answer."""
    most_s: float = 0.0
    """Seconds for an answer."""
    spent: str = ""
    """Why nothing but the cheapest may answer today; '' while the day's tokens last."""
    speeds: Mapping[str, Speed] = field(default_factory=dict)

    def against(self, entry: Entry, need: int) -> str:
        """Why the model is too dear or too slow for a prompt of `need` tokens; '' when it is not."""
        out = min(USUAL_OUT, entry.max_output)
        cost = entry.price.of(need, out)
        if 0 < self.most_cost < cost:
            return f"too dear: about ${cost:.6f}, and ${self.most_cost:.6f} is allowed"
        speed = self.speeds.get(entry.name)
        if speed and 0 < self.most_s < (took := speed.seconds(out)):
            return f"too slow: about {took:.0f} s, and {self.most_s:g} s is allowed"
        return ""

    def key(self, entry: Entry) -> tuple[float, ...]:
        """What comes first among models that can do it equally."""
        if self.kind == "fast" or self.spent:
            return (entry.size_gb, entry.priority)
        return (-entry.size_gb, entry.priority) if self.kind == "best" else (entry.priority, entry.size_gb)
