"""How long work tells how far it is. Rooms report; faces draw bars or stay silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done and how far it is: 0 to 1, or None when nobody can know."""

    def __call__(self, label: str, fraction: float | None = None, /) -> None: ...


def silent(_label: str, _fraction: float | None = None, /) -> None:
    """The progress of work that nobody watches."""
