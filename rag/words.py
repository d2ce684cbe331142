"""Which words of a text carry its meaning. English stop words only: elsewhere every word counts. Knows nothing else."""

from __future__ import annotations

import re
from functools import lru_cache

MOST_TERMS = 48
STOP_WORDS = (
    "a an and are as at be been but by can could did do does for from had has have how i if in into is it its me my no not of on or our"
    " should so than that the their them then there these they this to was we were what when where which who whom whose why will with"
    " would you your"
)
STOP = frozenset(STOP_WORDS.split())


def terms(query: str) -> list[str]:
    """The words to look for, each once: without stop words, unless nothing else is there."""
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))
    return ([word for word in words if word not in STOP] or words)[:MOST_TERMS]


def content(text: str) -> frozenset[str]:
    """Words to compare texts by: without stop words and the commonest endings ("days" is "day", "reported" is "report")."""
    return frozenset(_stem(word) for word in re.findall(r"\w+", text.lower()) if word not in STOP)


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > 4 else word
