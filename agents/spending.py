"""What models have taken so far: today's tokens, and how quick each model was lately. Knows steps and the trace's files.

Today's tokens are read back from the trace at start, so that a restart forgives nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from agents.events import StepDone
from router.policy import Speed

NEW = 0.3
"""Weight of the newest step in a model's speed."""
TELLS = 8
"""Tokens from which a step tells something about speed."""


class Spending:
    """One for a process."""

    def __init__(self, traces: Path, today: Callable[[], date] = lambda: datetime.now(UTC).date()) -> None:
        self._traces, self._today = traces, today
        self._day = today()
        self._tokens = _traced(traces / f"{self._day}.jsonl")
        self.speeds: dict[str, Speed] = {}

    def see(self, done: StepDone) -> None:
        """Take a step into account."""
        self._turn()
        self._tokens += done.tokens_in + done.tokens_out
        if done.finish in ("stop", "length") and done.ttft_ms and done.tokens_per_s and done.tokens_out >= TELLS:
            old = self.speeds.get(done.model, Speed(done.ttft_ms, done.tokens_per_s))
            mixed = ((1 - NEW) * was + NEW * now for was, now in ((old.first_ms, done.ttft_ms), (old.tokens_per_s, done.tokens_per_s)))
            self.speeds[done.model] = Speed(*mixed)

    @property
    def tokens(self) -> int:
        """In and out, of all models, today (UTC)."""
        self._turn()
        return self._tokens

    def _turn(self) -> None:
        """At midnight the count begins anew."""
        if (day := self._today()) != self._day:
            self._day, self._tokens = day, 0


def _traced(file: Path) -> int:
    """Tokens of the steps in a day's trace; a torn or foreign line counts nothing."""
    total = 0
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if '"StepDone"' in line:
                    total += _step_tokens(line)
    except OSError:
        return 0
    return total


def _step_tokens(line: str) -> int:
    try:
        step = json.loads(line)
        return int(step["tokens_in"]) + int(step["tokens_out"]) if step["type"] == "StepDone" else 0
    except (ValueError, KeyError, TypeError):
        return 0
