"""What an ingest or a sync did, as a value that adds up and travels as JSON. Knows no file and no store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """What an ingest did. Numbers are documents; `passages` are those made by this ingest."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    """Renamed or moved files: found again by their content, and not read or embedded again."""
    unchanged: int = 0
    deleted: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    """(name, sentence)"""
    no_text: tuple[tuple[str, str], ...] = ()
    """(name, sentence) of files that were read and hold no text: scans. They are not counted as added."""
    passages: int = 0
    skipped: int = 0
    """Files in a folder of a kind that Relay does not read."""
    documents: tuple[str, ...] = ()
    """Ids of the documents that are ready: added, changed, moved and unchanged."""
    reached: bool = True
    """False when a folder could not be reached, as when its disk is not connected: nothing of it was deleted."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """From the plain values of `asdict`; fields of another version of Relay are passed over."""
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in data.items() if name in names}
        pairs: dict[str, Any] = {name: tuple(map(tuple, known[name])) for name in ("failed", "no_text") if name in known}
        return cls(**{**known, **pairs, "documents": tuple(known.get("documents", ()))})

    def plus(self, other: Report) -> Report:
        """Both together."""
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        return Report(**{**sums, "reached": self.reached and other.reached})

    @property
    def quiet(self) -> bool:
        """Whether nothing in the library became different."""
        return not (self.added or self.changed or self.moved or self.deleted)


def total(reports: Iterable[Report]) -> Report:
    """All of them together."""
    whole = Report()
    for report in reports:
        whole = whole.plus(report)
    return whole
