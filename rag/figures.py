"""Numbers in texts as values, however they are written: "$5,000.00", "5 000", "five" … Pure; knows no passage and no claim."""

from __future__ import annotations

import re

WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
TENS = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
SPELLED = {**{word: at for at, word in enumerate(WORDS) if at > 1}, **TENS}
"""Not "one", which is a pronoun more often."""
_SPELLED = re.compile(rf"\b(?:{'|'.join(SPELLED)})\b", re.I)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[,.\u00a0\u202f ]\d{3})+(?![\d])")
_SHARP = re.compile(r"(?<=\d):00\b")
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
ITEM = re.compile(r"^\W*\d{1,2}[.)](?:\s|$)")
"""A list's own number is none."""


def plain(text: str) -> str:
    """The text with its numbers in one form: digits, no grouping, % as a word, 9:00 as 9."""
    text = _SPELLED.sub(lambda found: str(SPELLED[found[0].lower()]), ITEM.sub("", text))
    text = _GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    return _SHARP.sub("", text).replace("%", " percent ")


def numbers(text: str) -> set[str]:
    """The values in a text that is `plain`: "5000.00" and "05000" are "5000", "1,5" is "1.5"."""
    return {_value(found) for found in NUMBER.findall(text)}


def _value(digits: str) -> str:
    whole, _, part = digits.replace(",", ".").partition(".")
    return f"{whole.lstrip('0') or '0'}{'.' + part.rstrip('0') if part.rstrip('0') else ''}"


def near(text: str, around: int = 4) -> list[tuple[str, str]]:
    """(number, the few words before and after it) for every number of a `plain` text."""
    words = re.findall(r"\d+(?:[.,]\d+)?|\w+", text)
    spots = [at for at, word in enumerate(words) if NUMBER.fullmatch(word)]
    return [(_value(words[at]), " ".join(words[max(0, at - around) : at] + words[at + 1 : at + 1 + around])) for at in spots]
