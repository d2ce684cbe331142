"""What a read file is: its normalised text and the blocks in it. Values only; knows no format, no passage, no store."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufeff\u200b\u00ad]")
MAX_CHARACTERS = 20_000_000
"""Text beyond this is a bomb, not a document (the Bible has 4 million)."""


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
    """md, txt, html, pdf, docx, csv, eml or code"""
    text: str
    blocks: tuple[Block, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the way from the child that reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Document:
        """The opposite of `to_json`."""
        blocks = [
            Block(**{**block, "heading": tuple(block["heading"]), "lines": tuple(block["lines"]) if block["lines"] else None})
            for block in data["blocks"]
        ]
        return cls(data["title"], data["kind"], data["text"], tuple(blocks))


def clean(text: str) -> str:
    """One form for equal texts: NFC, \\n line ends, no control or zero-width characters, no lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\u2028", "\n").replace("\xa0", " ")
    return CONTROL.sub("", unicodedata.normalize("NFC", text)).encode("utf-8", "replace").decode("utf-8")


@dataclass
class Builder:
    """Collects blocks in reading order and keeps their spans exact."""

    kind: str
    title: str = ""
    path: list[tuple[int, str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    length: int = 0

    def heading(self, text: str, level: int, page: int | None = None) -> None:
        """A heading: closes those of its level and deeper. The first of level 1 names a document without a title."""
        text = " ".join(clean(text).split())
        if not text:
            return
        self.path = [entry for entry in self.path if entry[0] < level]
        if not self.title and level == 1 and not self.blocks:
            self.title = text
        self.path.append((level, text))
        self.add(text, "heading", page=page)

    def add(self, text: str, kind: str = "text", *, page: int | None = None, tight: bool = False) -> None:
        """A block of text. `tight`: on the next line (list items, rows), not after a blank line."""
        text = clean(text).strip("\n").rstrip() if kind == "code" else clean(text).strip()
        if not text.strip():
            return
        gap = "" if not self.parts else "\n" if tight else "\n\n"
        start = self.length + len(gap)
        self.parts += [gap, text]
        self.length = start + len(text)
        self.blocks.append(Block(text, start, self.length, self._heading(), kind, page))

    def _heading(self) -> tuple[str, ...]:
        return tuple(text for _, text in self.path if text != self.title)

    def done(self, fallback: str) -> Document:
        """The document; `fallback` names it when nothing else did."""
        return Document(self.title or fallback, self.kind, "".join(self.parts), tuple(self.blocks))
