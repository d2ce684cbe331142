"""What a message wants: ordered rules over its words. Knows no model and no document; pure once the rules are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import SettingsError
from base.yamls import read_mapping

SHIPPED = Path(__file__).with_name("intents.yaml")
GENERAL = "general"
HEAD, TAIL = 1_500, 500
"""Characters from the start and the end of a long message that the rules read: the request stands there."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What the message wants, and why we think so."""

    name: str
    confidence: float
    """0 to 1."""
    runner_up: str
    stage: str
    """Who decided: rules, default or pinned."""
    evidence: tuple[str, ...] = ()
    """The words that decided."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern that speaks for an intent with a weight of 0 to 1."""

    intent: str
    pattern: re.Pattern[str]
    weight: float


@dataclass(frozen=True, slots=True)
class Rules:
    """The ordered rules, and the patterns that flag a message for the large model."""

    rules: tuple[Rule, ...]
    flags: tuple[tuple[str, re.Pattern[str]], ...]


def load_rules(path: Path = SHIPPED) -> Rules:
    """Read the rules. Raises SettingsError that names the line."""
    written = read_mapping(path)
    rules: list[Rule] = []
    flags: list[tuple[str, re.Pattern[str]]] = []
    for key, value in written.items():
        where = f"{path.name}, line {key.line}"
        if not isinstance(value, dict):
            raise SettingsError(f"{where}: '{key}' should hold names with patterns.", "Correct the file.")
        if key == "flags":
            flags += [(str(name), _pattern(text, f"{path.name}, line {name.line}")) for name, text in value.items()]
        elif key == "intents":
            for intent, items in value.items():
                rules += [_rule(str(intent), item, f"{path.name}, line {intent.line}") for item in items]
        else:
            raise SettingsError(f"{where}: unknown key '{key}'.", "Known: flags, intents.")
    return Rules(tuple(rules), tuple(flags))


def _rule(intent: str, item: Any, where: str) -> Rule:
    if not isinstance(item, dict) or set(item) != {"pattern", "weight"} or not isinstance(item["weight"], int | float):
        raise SettingsError(f"{where}: a rule of '{intent}' needs a pattern and a weight of 0 to 1.", "Correct the file.")
    return Rule(intent, _pattern(item["pattern"], where), float(item["weight"]))


def _pattern(text: Any, where: str) -> re.Pattern[str]:
    try:
        return re.compile(str(text), re.IGNORECASE | re.MULTILINE)
    except re.error as error:
        raise SettingsError(f"{where}: not a regular expression ({error}).", "Correct the file.") from None


def detect(text: str, rules: Rules) -> Intent:
    """The intent by ordered rules: the heaviest match decides, the earlier one on a tie; else general."""
    read = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"
    best: dict[str, float] = {}
    evidence: dict[str, list[str]] = {}
    for rule in rules.rules:
        if match := rule.pattern.search(read):
            evidence.setdefault(rule.intent, []).append(" ".join(match.group(0).split())[:60])
            best[rule.intent] = max(best.get(rule.intent, 0.0), rule.weight)
    ranked = sorted(best, key=lambda name: -best[name])
    if not ranked:
        return Intent(GENERAL, 0.6, "", "default", ())
    first = ranked[0]
    second = ranked[1] if len(ranked) > 1 else GENERAL
    # A close second takes confidence away: two intents that speak equally loud leave it at half.
    rival = best[second] if len(ranked) > 1 else 0.0
    confidence = best[first] * (1 - 0.5 * rival / best[first]) if rival else best[first]
    return Intent(first, round(confidence, 3), second, "rules", tuple(evidence[first]))


def flagged(text: str, rules: Rules) -> tuple[str, ...]:
    """The flags that the message raises, such as 'security'."""
    return tuple(name for name, pattern in rules.flags if pattern.search(text))
