"""A document to passages of 150-200 tokens along its structure, with exact spans. Knows no model: it is given a counter.

Sizes: span recall within 1,000 tokens of context is best at 100-200 tokens, and MiniLM cuts at 256 (measured, RAG.md).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rag.document import Block, Document

Count = Callable[[str], int]
MOST = 200
"""Tokens in a passage; headings come on top when it is embedded."""
ENOUGH = 70
"""Tokens from which a section's end closes the passage; smaller sections share one."""
SENTENCE_END = re.compile(r"""(?<=[.!?…。！？])["'”’)\]]*\s+(?=["'“‘(\[]?[^\sa-z])|\n+""")
SHORT = r"[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nr|p|pp|vs|etc|Inc|Ltd|Co|Fig|Sec|cf|approx|e\.g|i\.e|U\.S"
NOT_AN_END = re.compile(rf"(?:\b(?:{SHORT})\.)[\"'”’)\]]*\s+$")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage-to-be: `document.text[start:end] == text`."""

    text: str
    heading: tuple[str, ...]
    page: int | None
    lines: tuple[int, int] | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unit:
    """What is never cut: a sentence, a line of code or of a list, a heading."""

    start: int
    end: int
    tokens: int
    block: Block

    @property
    def place(self) -> tuple[tuple[str, ...], int | None]:
        """Where it stands."""
        return self.block.heading, self.block.page


def chunk(document: Document, count: Count) -> tuple[Chunk, ...]:
    """The document's passages in reading order; none for a document without text."""
    units = [unit for block in document.blocks for unit in _units(block, count)]
    breaks = [found.start() for found in re.finditer("\n", document.text)] if document.kind == "code" else []
    return tuple(_chunk(document, group, breaks) for section in _sections(units) for group in _packed(section))


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of `text`; line ends end them too."""
    start = 0
    for match in SENTENCE_END.finditer(text):
        if "\n" not in match[0] and NOT_AN_END.search(text, max(0, match.start() - 12), match.end()):
            continue
        if text[start : match.start()].strip():
            # What closes a sentence (a quote, a bracket) belongs to it.
            end = match.start() + len(match[0].rstrip())
            yield start, end
        start = match.end()
    if text[start:].strip():
        yield start, len(text.rstrip())


def _units(block: Block, count: Count) -> Iterator[Unit]:
    spans = _lines(block.text) if block.kind == "code" else sentences(block.text)
    for start, end in spans:
        yield from _fitting(block, start, end, count)


def _lines(text: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"[^\n]*\S", text):
        yield match.span()


def _fitting(block: Block, start: int, end: int, count: Count) -> Iterator[Unit]:
    """One unit, or several when it alone is longer than a passage: cut at a space near the middle, else in the middle."""
    tokens = count(block.text[start:end])
    if tokens <= MOST or end - start < 2:
        yield Unit(block.start + start, block.start + end, tokens, block)
        return
    # A text of a hundred passages is cut by estimate first, so that it is not counted again and again.
    parts = -(-tokens // MOST)
    middle = start + (end - start) * (parts // 2) // parts
    space = block.text.rfind(" ", start + 1, middle)
    cut = space if space > start + (middle - start) // 2 else middle
    left, right = block.text[start:cut].rstrip(), block.text[cut:end].lstrip()
    if left:
        yield from _fitting(block, start, start + len(left), count)
    if right:
        yield from _fitting(block, end - len(right), end, count)


def _sections(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Units under one heading and on one page together; a section too small for a passage takes the next one in."""
    section: list[Unit] = []
    for unit in units:
        if section and unit.place != section[-1].place and _tokens(section) >= ENOUGH and _has_body(section):
            yield section
            section = []
        section.append(unit)
    if section:
        yield section


def _tokens(units: Sequence[Unit]) -> int:
    return sum(unit.tokens for unit in units)


def _has_body(units: Sequence[Unit]) -> bool:
    return any(unit.block.kind != "heading" for unit in units)


def _packed(units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
    """Groups of at most MOST tokens and of similar size: 210 tokens are two halves, not 200 and 10."""
    left = _tokens(units := _without_outer_headings(units))
    share = _share(left)
    group: list[Unit] = []
    size = 0
    for unit in units:
        if group and (size + unit.tokens > MOST or size + unit.tokens / 2 > share):
            yield _without_outer_headings(group)
            left -= size
            share, group, size = _share(left), [], 0
        group.append(unit)
        size += unit.tokens
    if group:
        yield _without_outer_headings(group)


def _share(tokens: int) -> float:
    """Tokens per passage when as few passages as possible share them equally."""
    return tokens / max(1, -(-tokens // MOST))


def _without_outer_headings(units: Sequence[Unit]) -> Sequence[Unit]:
    """Headings in front are in the passage's heading path, one at the end belongs to the next. Only headings: all stay."""
    body = [i for i, unit in enumerate(units) if unit.block.kind != "heading"]
    return units[body[0] : body[-1] + 1] if body else units


def _chunk(document: Document, units: Sequence[Unit], breaks: Sequence[int]) -> Chunk:
    start, end = units[0].start, units[-1].end
    heading, page = _main_place(units)
    lines = None
    if document.kind == "code":
        lines = (bisect_left(breaks, start) + 1, bisect_left(breaks, end) + 1)
    return Chunk(document.text[start:end], heading, page, lines, start, end)


def _main_place(units: Sequence[Unit]) -> tuple[tuple[str, ...], int | None]:
    """The heading and page that hold most of the passage's tokens."""
    weights: dict[tuple[tuple[str, ...], int | None], int] = {}
    for unit in units:
        weights[unit.place] = weights.get(unit.place, 0) + unit.tokens
    return max(weights, key=weights.__getitem__)
