"""What the user said of a route: this message was another intent's. Kept as labels until they are fitted into the head.

A file of the examples' own form in the data home, readable by the user alone: it holds their messages, and only those that
they corrected by their own hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.errors import SettingsError
from router.examples import Example, load_examples
from router.head import Embed, Head

NAME = "corrections.jsonl"


@dataclass(frozen=True, slots=True)
class Effect:
    """What one correction would change."""

    text: str
    label: str
    now: str
    after: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A head without and one with the corrections, and what each of them would change."""

    before: Head
    after: Head
    effects: tuple[Effect, ...]
    corrections: tuple[Example, ...]


class Remembering:
    """An embedder that embeds each text once: two heads are fitted from nearly the same messages."""

    def __init__(self, inner: Embed) -> None:
        self._inner, self.name = inner, inner.name
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        """See rag.embed.Embedder.embed."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._known.update(zip(new, self._inner.embed(new), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32)


class Corrections:
    """The corrections of one data home."""

    def __init__(self, home: Path) -> None:
        self.path = home / NAME

    def add(self, text: str, label: str) -> None:
        """Keep one. Raises SettingsError when it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(json.dumps({"label": label, "text": _bare(text)}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise SettingsError(
                f"The correction could not be kept ({type(error).__name__}).", "Check the disk and the data folder."
            ) from error

    def all(self) -> tuple[Example, ...]:
        """In the order in which they were made; the last word on a message counts."""
        if not self.path.is_file():
            return ()
        return tuple({example.text: example for example in load_examples((self.path,))}.values())

    def take(self, into: Path, taken: Sequence[Example]) -> None:
        """Make them examples of the user's own: appended to `into`, and gone from here."""
        lines = "".join(json.dumps({"label": one.label, "text": _bare(one.text)}, ensure_ascii=False) + "\n" for one in taken)
        with into.open("a", encoding="utf-8") as file:
            file.write(lines)
        self.path.unlink(missing_ok=True)


def _bare(text: str) -> str:
    """Without braces: in an example they would be a slot to fill."""
    return text.replace("{", "(").replace("}", ")")
