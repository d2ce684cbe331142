"""Which models rest after a failure, for how long, and who may try them again. Knows failures and a clock; no request, no route.

A circuit breaker: closed, it lets everything through; after a failure it is open for a while that depends on the kind and
doubles with each failure in a row; then it is half-open: one request probes, and what becomes of it closes or opens it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from base.errors import BackendError, Busy, CutShort, Limited, Refused, TimedOut, Unfit, Unreachable

COOL_S = {Unreachable: 15.0, TimedOut: 30.0, CutShort: 10.0, Limited: 5.0, Busy: 0.0, Unfit: 0.0, Refused: 5.0}
"""Seconds of rest after a first failure of each kind; a full queue and an unfit request say nothing of a model's health."""
LONGEST_S = 300.0
"""No rest is longer, whatever the failures or the server's own wish."""
LEASE_S = 120.0
"""A probe that was never heard of again holds others back no longer than this."""


@dataclass(slots=True)
class _Rest:
    """An open or half-open circuit."""

    until: float
    failures: int
    what: str
    probe: float | None = None
    """When somebody began to try it again."""


class Health:
    """One for a process; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rests: dict[str, _Rest] = {}
        self._turn = threading.Lock()

    def failed(self, model: str, error: BackendError) -> None:
        """Let the model rest, longer with each failure in a row, and at least as long as its server asked for."""
        first = COOL_S.get(type(error), 5.0)
        with self._turn:
            old = self._rests.get(model)
            if not first:
                self._free(old)
                return
            # Requests that were on their way together fail together: that is one failure.
            together = old is not None and old.probe is None and old.until > self._clock()
            failures = (old.failures if together else old.failures + 1) if old else 1
            rest = min(LONGEST_S, max(first * 2 ** (failures - 1), error.retry_after))
            until = max(self._clock() + rest, old.until) if old and together else self._clock() + rest
            self._rests[model] = _Rest(until, failures, error.what)

    def answered(self, model: str) -> None:
        """It works again."""
        with self._turn:
            self._rests.pop(model, None)

    def given_up(self, model: str) -> None:
        """A probe ended without a verdict, because somebody stopped it."""
        with self._turn:
            self._free(self._rests.get(model))

    @staticmethod
    def _free(rest: _Rest | None) -> None:
        if rest is not None:
            rest.probe = None

    def admit(self, model: str) -> str:
        """'' when a request may go to the model now, which makes it the probe of one that rests; else why not."""
        with self._turn:
            rest = self._rests.get(model)
            if rest is None:
                return ""
            if self._probed(rest):
                return "it failed a moment ago, and another message is trying it again"
            rest.probe = self._clock()
            return ""

    def _probed(self, rest: _Rest) -> bool:
        return rest.probe is not None and self._clock() - rest.probe < LEASE_S

    def blocked(self) -> dict[str, str]:
        """Model → 'cooling down, 12 s left'; one that was rested enough is not in it until somebody probes it."""
        with self._turn:
            now, said = self._clock(), {}
            for name, rest in self._rests.items():
                if self._probed(rest):
                    said[name] = "cooling down, being tried again"
                elif rest.until > now:
                    said[name] = f"cooling down, {rest.until - now:.0f} s left"
            return said
