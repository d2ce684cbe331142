"""Citations on their way back: lets [n] through when passage n exists, and finds the sentence that supports it.

Pure: knows passages and text, no model and no library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.chunk import sentences
from rag.retrieve import Passage
from rag.words import content

LOOK_AHEAD = 16
"""Characters between [ and ] after which it is no citation."""
LARGEST = 99
"""A larger number in brackets is a year or a code, not a citation."""
FILLER = content("answer question correct yes no total only up take takes there")
"""What a short answer says around what it tells."""
ASKED = 0.3
"""Share of the question's words that must stand beside what the answer adds."""
SUPPORT = 0.5
"""Share of an answer sentence's content words that a passage must hold to be attached by Relay."""
SHARED = 3
"""… and at least so many of them."""
ATTACHED = 3
"""Passages that Relay attaches to one answer at most."""
MARK = re.compile(r"\[(\d{1,2})\](?![(:])")
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.S)
LATE_MARK = re.compile(r"([.!?]['\"”’)]*)((?:\s*\[\d{1,2}\])+)")


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a sentence of the answer comes from: passage `n` of the prompt, and the sentence in it that says so."""

    n: int
    passage_id: str
    document: str
    heading: str
    page: int | None
    lines: tuple[int, int] | None
    quote: str
    by: Literal["model", "relay"]
    """relay: the model cited nothing, and Relay found this."""


class CitationFilter:
    """A stream's filter: feed it pieces, show what it gives. Cut anywhere, the pieces give the same text in all.

    It holds back from [ to the character after ], and a space in front. [n] stays when 1 <= n <= count, [1, 2] becomes
    [1][2], others go with their space. Code, links, "[x]" and "array[0]" are left alone.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._used: dict[int, None] = {}
        self._held = ""
        self._before = ""
        self._ticks = 0
        self._code = 0

    @property
    def used(self) -> tuple[int, ...]:
        """Numbers that were let through, in the order of their first use."""
        return tuple(self._used)

    def feed(self, text: str) -> str:
        """The part of what came so far that can be shown now."""
        return "".join(self._step(character) for character in text)

    def flush(self) -> str:
        """What is still held back, when the stream has ended."""
        out = self._decide("") if self._held.endswith("]") else self._held
        self._held = ""
        return out

    def _step(self, character: str) -> str:
        if not self._held:
            return self._free(character)
        if self._held.endswith("]"):
            return self._decide(character) + self._free(character)
        if self._held == " ":
            if character == "[":
                self._held += character
                return ""
            return self._release() + self._free(character)
        inside = len(self._held.lstrip()) - 1
        if character in "0123456789,;- " and inside < LOOK_AHEAD:
            self._held += character
            return ""
        if character == "]":
            self._held += character
            return ""
        return self._release() + self._free(character)

    def _free(self, character: str) -> str:
        """A character while nothing is held: watch for code, begin to hold at a space or a bracket."""
        if character == "`":
            self._ticks += 1
        else:
            self._close_ticks(character)
            if not self._code and character in " [":
                self._held = character
                return ""
        self._before = character
        return character

    def _close_ticks(self, character: str) -> None:
        """A run of backticks has ended: it opens code, or closes code that a run of its length opened."""
        ticks, self._ticks = self._ticks, 0
        if ticks and self._code:
            self._code = 0 if ticks == self._code or ticks >= 3 <= self._code else self._code
        elif ticks:
            self._code = ticks
        if character == "\n" and self._code < 3:
            self._code = 0

    def _release(self) -> str:
        out, self._held = self._held, ""
        self._before = out[-1]
        return out

    def _decide(self, after: str) -> str:
        """What becomes of a held "[…]", now that the character after it is known."""
        held = self._held
        space, inside = (" ", held[2:-1]) if held.startswith(" ") else ("", held[1:-1])
        numbers = _numbers(inside)
        code = not space and (self._before.isalnum() or self._before in "_])") and numbers == [0]
        if not numbers or max(numbers) > LARGEST or after in ("(", ":") or code:
            return self._release()
        good = [number for number in dict.fromkeys(numbers) if 1 <= number <= self.count]
        self._used.update(dict.fromkeys(good))
        self._held = ""
        if good:
            self._before = "]"
            return space + "".join(f"[{number}]" for number in good)
        return space if after.isalnum() else ""


def _numbers(inside: str) -> list[int]:
    """The numbers of "1", "1, 2" or "1-3"; none when it is anything else."""
    numbers: list[int] = []
    for part in re.split(r"[,;]", inside):
        if not (match := re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)):
            return []
        first, last = int(match[1]), int(match[2] or match[1])
        numbers += range(first, min(last, first + LARGEST) + 1) if last >= first else [first, last]
    return numbers


def citations(answer_text: str, passages: Sequence[Passage], used: Sequence[int] = (), question: str = "") -> tuple[Citation, ...]:
    """The answer's citations in order, each number with the passage's sentence that supports the citing sentence best.

    "The answer is: 12." says little by itself, so the `question` helps to find what it was said of.

    `used` names numbers whose mark is no longer in the text. When the model cited nothing at all, the passages that
    support the answer by their words are attached, if any do.
    """
    text = CODE.sub(" ", answer_text)
    # "… 20 days. [1]": the mark belongs to the sentence before it.
    text = LATE_MARK.sub(lambda match: f" {match[2].strip()}{match[1]}", text)
    found: dict[tuple[int, str], Citation] = {}
    for start, end in sentences(text):
        sentence = text[start:end]
        for mark in MARK.finditer(sentence):
            _cite(found, int(mark[1]), f"{MARK.sub('', sentence)} {question}", passages, "model")
    for number in used:
        if not any(number == n for n, _ in found):
            _cite(found, number, MARK.sub("", text), passages, "model")
    if not found:
        for number, sentence in _supported(text, passages, question):
            _cite(found, number, f"{sentence} {question}", passages, "relay")
    return tuple(found.values())


def _cite(
    found: dict[tuple[int, str], Citation], n: int, sentence: str, passages: Sequence[Passage], by: Literal["model", "relay"]
) -> None:
    if 1 <= n <= len(passages):
        passage = passages[n - 1]
        quote = best_sentence(sentence, passage.text)
        place = (passage.document, passage.heading, passage.page, passage.lines)
        found.setdefault((n, quote), Citation(n, passage.id, *place, quote, by))


def best_sentence(sentence: str, text: str) -> str:
    """The sentence of `text` that shares most content words with `sentence` (Jaccard decides between equals)."""
    wanted = content(sentence)

    def rank(candidate: str) -> tuple[int, float]:
        words = content(candidate)
        return len(wanted & words), len(wanted & words) / max(1, len(wanted | words))

    return max((text[start:end] for start, end in sentences(text)), key=rank, default=text)


def _supported(text: str, passages: Sequence[Passage], question: str) -> Iterator[tuple[int, str]]:
    """(n, answer sentence) of the best-supported sentences, each passage once."""
    scored: list[tuple[float, int, str]] = []
    for start, end in sentences(text):
        sentence = text[start:end]
        weights = ((max(support(sentence, p.text), answers(sentence, question, p.text)), -n) for n, p in enumerate(passages, 1))
        best = max(weights, default=(0.0, 0))
        if best[0] >= SUPPORT:
            scored.append((best[0], -best[1], sentence))
    seen: set[int] = set()
    for _, number, sentence in sorted(scored, key=lambda entry: -entry[0]):
        if number not in seen and len(seen) < ATTACHED:
            seen.add(number)
            yield number, sentence


def support(sentence: str, text: str) -> float:
    """Share of the sentence's content words that `text` holds; 0 for fewer than SHARED, or for a number it does not hold."""
    wanted, there = content(sentence), content(text)
    shared = wanted & there
    numbers = {word for word in wanted if word.isdigit()}
    if len(shared) < SHARED or not numbers <= there:
        return 0.0
    return len(shared) / len(wanted)


def answers(sentence: str, question: str, text: str) -> float:
    """How sure one sentence of `text` says what the answer adds to the question: all of it, beside words of the question.

    0 when the answer adds nothing, or no sentence holds it; else SUPPORT and up, by the share of the question's words.
    """
    asked = content(question)
    added = content(sentence) - asked - FILLER
    holding = (asked & there for start, end in sentences(text) if added <= (there := content(text[start:end])))
    share = (
        max((len(shared) / len(asked) for shared in holding if len(shared) >= min(2, len(asked))), default=0.0) if added and asked else 0.0
    )
    return SUPPORT + (1 - SUPPORT) * share if share >= ASKED else 0.0
