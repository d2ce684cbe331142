"""What a message wants by ordered rules over its words. Knows no embedding, model or document; pure once the rules are read.

`detect.py` asks these rules first, and the fitted head (`head.py`) when they are not sure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import SettingsError
from base.yamls import read_mapping

SHIPPED = Path(__file__).with_name("intents.yaml")
GENERAL = "general"
HEAD, TAIL = 320, 200
"""Characters from the start and the end of a long message that the rules read: the request stands there."""
HEARD = 0.55
"""The weight from which a rule decides when there is no fitted head to ask."""
COMMANDS = {"sum": "summarize", "summarise": "summarize", "tldr": "summarize", "classify": "classification", "label": "classification"}
"""Slash commands beside the intents' own names."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What the message wants, and why we think so."""

    name: str
    confidence: float
    """0 to 1."""
    runner_up: str
    stage: str
    """Who decided: rules, head or default (nothing spoke for a specialist loud enough)."""
    evidence: tuple[str, ...] = ()
    """The words that decided, and the nearest examples in quotes when the head was asked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that speaks for an intent with a weight of 0 to 1."""

    intent: str
    pattern: re.Pattern[str]
    weight: float


@dataclass(frozen=True, slots=True)
class Rules:
    """The ordered rules, the head's further cues, what makes a follow-up, and the flags for the large model."""

    rules: tuple[Rule, ...]
    flags: tuple[tuple[str, re.Pattern[str]], ...]
    cues: tuple[tuple[str, re.Pattern[str]], ...] = ()
    follows: tuple[re.Pattern[str], ...] = ()

    @property
    def mark(self) -> str:
        """A short hash of what a fitted head depends on: it is of no use with other rules or cues."""
        parts = [f"{r.intent} {r.weight} {r.pattern.pattern}" for r in self.rules]
        parts += [f"{name} {pattern.pattern}" for name, pattern in self.cues]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the rules heard in one message: per rule the words or '', and whether each cue is there."""

    words: tuple[str, ...]
    cues: tuple[bool, ...]


def load_rules(path: Path = SHIPPED) -> Rules:
    """Read the rules. Raises SettingsError that names the line."""
    rules: list[Rule] = []
    named: dict[str, list[tuple[str, re.Pattern[str]]]] = {"flags": [], "cues": []}
    follows: list[re.Pattern[str]] = []
    for key, value in read_mapping(path).items():
        where = f"{path.name}, line {key.line}"
        if key == "follows" and isinstance(value, list):
            follows += [_pattern(text, where) for text in value]
        elif key not in ("flags", "cues", "intents", "follows"):
            raise SettingsError(f"{where}: unknown key '{key}'.", "Known: cues, flags, follows, intents.")
        elif not isinstance(value, dict):
            raise SettingsError(f"{where}: '{key}' should hold names with patterns.", "Correct the file.")
        elif key == "intents":
            for intent, items in value.items():
                rules += [_rule(str(intent), item, f"{path.name}, line {intent.line}") for item in items]
        else:
            named[key] += [(str(name), _pattern(text, f"{path.name}, line {name.line}")) for name, text in value.items()]
    return Rules(tuple(rules), tuple(named["flags"]), tuple(named["cues"]), tuple(follows))


def _rule(intent: str, item: Any, where: str) -> Rule:
    if not isinstance(item, dict) or set(item) != {"pattern", "weight"} or not isinstance(item["weight"], int | float):
        raise SettingsError(f"{where}: a rule of '{intent}' needs a pattern and a weight of 0 to 1.", "Correct the file.")
    return Rule(intent, _pattern(item["pattern"], where), float(item["weight"]))


def _pattern(text: Any, where: str) -> re.Pattern[str]:
    try:
        return re.compile(str(text), re.IGNORECASE | re.MULTILINE)
    except re.error as error:
        raise SettingsError(f"{where}: not a regular expression ({error}).", "Correct the file.") from None


def read(text: str) -> str:
    """What the rules read of a message: all of it, or the start and the end of a long one."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:].lstrip()}"


def hear(text: str, rules: Rules) -> Heard:
    """Ask every rule and every cue once."""
    part = read(text)
    return Heard(_words(part, rules), tuple(pattern.search(part) is not None for _, pattern in rules.cues))


def _words(part: str, rules: Rules) -> tuple[str, ...]:
    found = [rule.pattern.search(part) for rule in rules.rules]
    return tuple(" ".join(match.group(0).split())[:60] or "…" if match else "" for match in found)


def detect(text: str, rules: Rules, heard: Heard | None = None) -> Intent:
    """The intent by the rules alone: the heaviest match decides, the earlier one on a tie; else general."""
    said = heard.words if heard else _words(read(text), rules)
    best: dict[str, float] = {}
    evidence: dict[str, list[str]] = {}
    for rule, words in zip(rules.rules, said, strict=True):
        if words:
            evidence.setdefault(rule.intent, []).append(words)
            best[rule.intent] = max(best.get(rule.intent, 0.0), rule.weight)
    ranked = sorted(best, key=lambda name: -best[name])
    if not ranked or best[ranked[0]] < HEARD:
        return Intent(GENERAL, 0.85, ranked[0] if ranked else "", "default", ())
    first = ranked[0]
    second = ranked[1] if len(ranked) > 1 else GENERAL
    # A close second takes confidence away: two intents that speak equally loud leave it at half.
    rival = best[second] if len(ranked) > 1 else 0.0
    confidence = best[first] * (1 - 0.5 * rival / best[first]) if rival else best[first]
    return Intent(first, round(confidence, 3), second, "rules", tuple(dict.fromkeys(evidence[first])))


def command(text: str, names: Iterable[str]) -> Intent | None:
    """The intent that the user's own slash command names, such as '/code'; None without one."""
    if match := re.match(r"\s*/(\w+)(?=\s|$)", text):
        said = match.group(1).lower()
        name = COMMANDS.get(said, said)
        return Intent(name, 1.0, "", "rules", (f"/{said}",)) if name in names else None
    return None


def following(text: str, rules: Rules) -> str:
    """The words by which a short message goes on from the answer before; '' when it stands for itself."""
    found = next((m for pattern in rules.follows if (m := pattern.search(text))), None) if len(text) <= 120 else None
    return " ".join(found.group(0).split())[:60] if found else ""


def flagged(text: str, rules: Rules) -> tuple[str, ...]:
    """The flags that the message raises, such as 'security'."""
    return tuple(name for name, pattern in rules.flags if pattern.search(text))
