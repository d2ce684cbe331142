"""What a read file is: its normalised text and the blocks in it. Values only; knows no format, no passage, no store."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffe\uffff\u200b\u00ad]")
MARKS = re.compile("([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{30})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]+")
"""More accents on one letter than any language has; NFC takes the square of their number (Unicode Annex 15, stream-safe text)."""
SEEN = re.compile(
    "[^\\s\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
"""A character that shows: not blank, not zero-width, not the mark of a character that was lost."""
MAX_CHARACTERS = 20_000_000
"""Text beyond this is a bomb, not a document (the Bible has 4 million)."""
MAX_BLOCKS = 400_000
"""Paragraphs and rows beyond this are one too (the Bible has 31,000 verses)."""
LONGEST_HEADING = 200
"""Characters of a heading that its blocks repeat."""


class TooLong(Exception):
    """More text or more blocks than a document holds; `str` says which."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table row, heading or piece of code: `document.text[start:end] == text`."""

    text: str
    start: int
    end: int
    heading: tuple[str, ...] = ()
    """The headings it stands under, outermost first, without the document's title."""
    kind: str = "text"
    """text, heading or code"""
    page: int | None = None
    """1-based, of a PDF."""
    lines: tuple[int, int] | None = None
    """1-based, both ends included, of source code."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file as text. `blocks` is empty when the file holds no text (a scan)."""

    title: str
    kind: str
    """md, txt, html, pdf, docx, pptx, xlsx, csv, eml or code"""
    text: str
    blocks: tuple[Block, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the way from the child that reads. Each heading path is sent once, and no text twice."""
        paths: dict[tuple[str, ...], int] = {}
        blocks = [[b.start, b.end, paths.setdefault(b.heading, len(paths)), b.kind, b.page, b.lines] for b in self.blocks]
        return {"title": self.title, "kind": self.kind, "text": self.text, "headings": list(paths), "blocks": blocks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Document:
        """The opposite of `to_json`."""
        text, paths = data["text"], [tuple(path) for path in data["headings"]]
        blocks = [
            Block(text[start:end], start, end, paths[path], kind, page, tuple(lines) if lines else None)
            for start, end, path, kind, page, lines in data["blocks"]
        ]
        return cls(data["title"], data["kind"], text, tuple(blocks))


def clean(text: str) -> str:
    """One form for equal texts: NFC, \\n line ends, no control or zero-width characters, no lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\u2028", "\n").replace("\xa0", " ")
    if text.isascii():
        return CONTROL.sub("", text)
    text = MARKS.sub(r"\1", text).encode("utf-8", "replace").decode("utf-8")
    return CONTROL.sub("", unicodedata.normalize("NFC", text))


def flat(text: str) -> str:
    """A cell or a title: clean, in one line, "" when nothing of it shows."""
    text = " ".join(clean(text).split())
    return text if SEEN.search(text) else ""


def check_size(characters: int, blocks: int) -> None:
    """Raises TooLong."""
    if characters > MAX_CHARACTERS:
        raise TooLong(f"holds more than {MAX_CHARACTERS // 1_000_000} million characters")
    if blocks > MAX_BLOCKS:
        raise TooLong(f"holds more than {MAX_BLOCKS // 1000},000 paragraphs or rows")


@dataclass
class Builder:
    """Collects blocks in reading order and keeps their spans exact. Raises TooLong as soon as they are too many."""

    kind: str
    title: str = ""
    path: list[tuple[int, str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    length: int = 0

    def heading(self, text: str, level: int, page: int | None = None) -> None:
        """A heading: closes those of its level and deeper. The first of level 1 names a document without a title."""
        text = flat(text)
        if not text:
            return
        if not self.title and level == 1 and not self.blocks:
            self.title = text[:LONGEST_HEADING]
        self.under(text, level)
        self.add(text, "heading", page=page)

    def under(self, text: str, level: int) -> None:
        """What follows stands under this heading, which the text itself does not hold."""
        self.path = [entry for entry in self.path if entry[0] < level]
        self.path.append((level, text[:LONGEST_HEADING]))

    def add(self, text: str, kind: str = "text", *, page: int | None = None, tight: bool = False) -> None:
        """A block of text. `tight`: on the next line (list items, rows), not after a blank line."""
        text = clean(text).strip("\n").rstrip() if kind == "code" else clean(text).strip()
        if not SEEN.search(text):
            return
        gap = "" if not self.parts else "\n" if tight else "\n\n"
        start = self.length + len(gap)
        self.parts += [gap, text]
        self.length = start + len(text)
        self.blocks.append(Block(text, start, self.length, self._heading(), kind, page))
        check_size(self.length, len(self.blocks))

    def _heading(self) -> tuple[str, ...]:
        return tuple(text for _, text in self.path if text != self.title)

    def done(self, fallback: str) -> Document:
        """The document; `fallback` names it when nothing else did."""
        return Document(self.title or fallback, self.kind, "".join(self.parts), tuple(self.blocks))
