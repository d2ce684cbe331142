"""Labelled messages from which the head is fitted: examples.jsonl, and the user's own beside their catalog.

Knows the file's form and how its slots are filled; no embedding and no head. A line is {"label", "text"}, where the
text may hold slots such as {passage}, or {"slot", "text"}: one filling of a slot. Every example was written for Relay
(MIT, like its code); nothing was taken from a data set, and none that routers are compared on may enter.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from base.errors import SettingsError

SHIPPED = Path(__file__).with_name("examples.jsonl")
VARIANTS = 4
"""How many messages an example with slots becomes."""
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Example:
    """A message and its intent. `group` counts the written examples: the variants of one share it, and its weight."""

    text: str
    label: str
    group: int
    weight: float = 1.0


def load_examples(paths: Sequence[Path] = (SHIPPED,)) -> tuple[Example, ...]:
    """Every example with its slots filled, the same on every machine. Raises SettingsError that names the line."""
    slots: dict[str, list[str]] = {}
    written: list[tuple[str, str]] = []
    for path in paths:
        for row in _rows(path):
            if "slot" in row:
                slots.setdefault(row["slot"], []).append(row["text"])
            else:
                written.append((row["label"], row["text"]))
    return tuple(example for group, (label, text) in enumerate(written) for example in _variants(text, label, group, slots))


def _rows(path: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read ({type(error).__name__}).", "Check that it is a UTF-8 text file.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            fine = isinstance(row["text"], str) and isinstance(row.get("label", row.get("slot")), str)
        except (ValueError, KeyError, TypeError, AttributeError):
            fine = False
        if not fine:
            raise SettingsError(f"{path.name}, line {number}: not an example.", 'Write {"text": "…", "label": "…"}, one a line.')
        rows.append(row)
    return rows


def _variants(text: str, label: str, group: int, slots: dict[str, list[str]]) -> list[Example]:
    chance = random.Random(f"{label} {text}")  # noqa: S311 - the same fillings on every machine
    known = [name for name in _SLOT.findall(text) if name in slots]
    count = VARIANTS if known else 1
    filled = {_SLOT.sub(lambda found: _fill(found, slots, chance), text) for _ in range(count)}
    return [Example(item, label, group, 1 / len(filled)) for item in sorted(filled)]


def _fill(found: re.Match[str], slots: dict[str, list[str]], chance: random.Random) -> str:
    fillings = slots.get(found.group(1))
    return chance.choice(fillings) if fillings else found.group(0)
