"""Citations on their way back: lets [n] through when passage n exists, and names the sentence that supports it.

Pure: knows passages and text, no model and no library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.retrieve import Passage
from rag.support import Backed, Grounding, best_sentence, cited_sentences, nth_sentence

LOOK_AHEAD = 16
"""Characters between [ and ] after which it is no citation."""
LARGEST = 99
"""A larger number in brackets is a year or a code, not a citation."""
ATTACHED = 3
"""Passages that Relay attaches to one answer at most."""


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
    by: Literal["model", "relay", "nearest"]
    """relay: the model cited nothing, and Relay found this. nearest: no answer, this came closest."""


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


def citations(answer: str, passages: Sequence[Passage], grounding: Grounding) -> tuple[Citation, ...]:
    """The answer's citations in order, each number with the passage's sentence that supports the citing sentence best.

    When the model cited nothing at all, the passages that carry the answer's claims best are attached, if any do.
    """
    found: dict[tuple[int, str], Citation] = {}
    carried = {(claim.start, claim.n): claim.quote for claim in grounding.claims}
    for sentence in cited_sentences(answer):
        for n in sentence.marks:
            if 1 <= n <= len(passages):
                quote = carried.get((sentence.start, n)) or best_sentence(f"{sentence.text} {grounding.asked}", passages[n - 1].text)
                _cite(found, n, quote, passages[n - 1], "model")
    if not found:
        for claim in _attached(grounding):
            _cite(found, claim.n, claim.quote, passages[claim.n - 1], "relay")
    return tuple(found.values())


def nearest(passages: Sequence[Passage], question: str, alike: Sequence[tuple[float, int]] = ()) -> tuple[Citation, ...]:
    """What came closest to a question that is not answered, in the shape of citations; `alike` is rag.support.Likeness of it."""
    found: dict[tuple[int, str], Citation] = {}
    for n, passage in enumerate(passages, 1):
        cosine, sentence = alike[n - 1] if n <= len(alike) else (0.0, -1)
        quote = nth_sentence(passage.text, sentence) if cosine > 0 else ""
        _cite(found, n, quote or best_sentence(question, passage.text), passage, "nearest")
    return tuple(found.values())


def _cite(found: dict[tuple[int, str], Citation], n: int, quote: str, passage: Passage, by: Literal["model", "relay", "nearest"]) -> None:
    place = (passage.document, passage.heading, passage.page, passage.lines)
    found.setdefault((n, quote), Citation(n, passage.id, *place, quote, by))


def _attached(grounding: Grounding) -> Iterator[Backed]:
    """The best-carried claims, each passage once."""
    seen: set[int] = set()
    for claim in sorted(grounding.claims, key=lambda one: -one.score):
        if claim.n and claim.n not in seen and len(seen) < ATTACHED:
            seen.add(claim.n)
            yield claim
