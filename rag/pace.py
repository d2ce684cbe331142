"""How far an ingest is, counted in passages: those still to come are estimated from bytes, by what each kind of file has held so
far. Knows no file's inside."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import PurePath

from base.progress import Progress
from rag.walk import Candidate

PER_FILE = 0.3
"""What opening a file costs beside its passages, in passages."""
PRIOR_BYTES = 20_000
"""How much of a kind must have been read before that counts for more than the guess."""
GUESS = {".pdf": 1 / 8000, ".docx": 1 / 5000}
"""Passages a byte, before anything was read."""
USUAL = 1 / 800
EVERY_S = 0.1


class Pace:
    """Tells a Progress. Moves forward only."""

    def __init__(self, label: str, candidates: Iterable[Candidate], progress: Progress) -> None:
        self._label, self._progress = label, progress
        self._ahead: dict[str, list[float]] = {}
        """Ending to files and bytes to come, passages and bytes that came."""
        self._waiting = self._done = self._shown = self._told = 0.0
        for candidate in candidates:
            here = self._ahead.setdefault(_ending(candidate), [0, 0, 0, 0])
            here[0] += 1
            here[1] += _size(candidate)

    def looked(self, candidate: Candidate, passages: int | None) -> None:
        """A file was looked at; `passages` were cut from it, None when it was not read."""
        here = self._ahead[_ending(candidate)]
        here[0] -= 1
        here[1] -= _size(candidate)
        self._done += PER_FILE
        if passages is not None:
            here[2] += passages
            here[3] += _size(candidate)
            self._waiting += passages
        self.tell()

    def embedded(self, passages: int) -> None:
        """So many passages are through."""
        self._waiting -= passages
        self._done += passages
        self.tell()

    def tell(self) -> None:
        """Say how far it is, unless that was said just now."""
        now = time.monotonic()
        if now - self._told < EVERY_S:
            return
        self._told = now
        expected = sum(PER_FILE * files + size * _rate(ending, came, read) for ending, (files, size, came, read) in self._ahead.items())
        share = self._done / max(self._done + self._waiting + expected, 1e-9)
        self._shown = max(self._shown, min(share, 1.0))
        self._progress(self._label, self._shown)


def _rate(ending: str, passages: float, read: float) -> float:
    return (passages + PRIOR_BYTES * GUESS.get(ending, USUAL)) / (read + PRIOR_BYTES)


def _ending(candidate: Candidate) -> str:
    return PurePath(candidate.name).suffix.lower()


def _size(candidate: Candidate) -> int:
    return candidate.stamp.size if candidate.stamp else 0
