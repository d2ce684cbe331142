"""PDF to a document. Knows bytes and names, never a path or a limit; runs in the child that may be killed."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

from rag.document import Builder, Document, check_size, clean, flat
from rag.unfit import broken, encrypted, too_much

BULLET = re.compile(r"^\s*(?:[•◦▪‣·*-]|\d{1,3}[.)])\s+")
PAGE_NUMBER = re.compile(
    r"[-–—|\s]*(?:page|seite|página|pagina|p\.|s\.)?\s*(\d{1,5})(?:\s*(?:of|von|de|/|\|)\s*\d{1,5})?[-–—|\s]*", re.IGNORECASE
)
"""A line that is nothing else; "Step 3" and "Annual report 3" may be what the page is about."""
MAX_PAGES = 20_000
"""Pages of a document; a number far beyond what the file can hold is a bomb."""
MAX_MARKS = 5_000
"""Bookmarks that are looked at."""
EDGE = 2
"""Lines at the top and at the bottom of a page where running heads and page numbers stand."""
FEWEST = 4
"""Pages from which a line at the edge is one that runs through all."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A bookmark: a heading, and how deep it stands (1 is the outermost)."""

    title: str
    level: int


@dataclass
class Pages:
    """What a reader of PDFs found: the text of each page, the bookmarks by their page (0-based), the title."""

    texts: list[str] = field(default_factory=list)
    marks: dict[int, list[Mark]] = field(default_factory=dict)
    title: str = ""


def parse_pdf(data: bytes, name: str, stem: str) -> Document:
    """Paragraphs with their page, under the bookmarks. pypdfium2 first, pypdf when that fails or finds no text."""
    try:
        pages = _pdfium(data, name)
    except (RuntimeError, ValueError, OSError):
        pages = Pages()
    if not any(text.strip() for text in pages.texts):
        pages.texts = _pypdf(data, name)
    builder = Builder("pdf", title=pages.title or stem)
    texts = _without_running_lines([_lines(text) for text in pages.texts])
    for number, lines in enumerate(texts, 1):
        _page(lines, pages.marks.get(number - 1, ()), number, builder)
    return builder.done(stem)


def _pdfium(data: bytes, name: str) -> Pages:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise encrypted(name) from None
        raise
    if len(pdf) > MAX_PAGES:
        raise too_much(name, f"declares more than {MAX_PAGES // 1000},000 pages")
    pages, characters = Pages(), 0
    for number in range(len(pdf)):
        pages.texts.append(_pdfium_page(pdf, number))
        check_size(characters := characters + len(pages.texts[-1]), 0)
    title = flat(pdf.get_metadata_dict().get("Title") or "")
    # Word processors leave their own file name as the title of what they print.
    pages.title = "" if "." in title[-5:] else title[:120]
    pages.marks = _marks(pdf)
    return pages


def _pdfium_page(pdf: Any, number: int) -> str:
    """One broken page does not lose the others."""
    import pypdfium2

    try:
        page = pdf[number]
        try:
            return str(page.get_textpage().get_text_bounded())
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return ""


def _marks(pdf: Any) -> dict[int, list[Mark]]:
    """Bookmarks by the page they lead to; those that lead nowhere are passed over."""
    import pypdfium2

    marks: dict[int, list[Mark]] = {}
    try:
        for bookmark in islice(pdf.get_toc(), MAX_MARKS):
            target = bookmark.get_dest()
            page = target.get_index() if target is not None else None
            title = flat(bookmark.get_title())
            if page is not None and title:
                marks.setdefault(page, []).append(Mark(title, bookmark.level + 1))
    except (pypdfium2.PdfiumError, ValueError):
        return marks
    return marks


def _pypdf(data: bytes, name: str) -> list[str]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    errors = (
        PyPdfError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        RecursionError,
        NotImplementedError,
        OSError,
    )
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise encrypted(name)
        return [page.extract_text() for page in islice(reader.pages, MAX_PAGES)]
    except errors:
        # pypdf reports broken files by whatever its code ran into.
        raise broken(name, data) from None


def _lines(page: str) -> list[str]:
    return [line.strip() for line in clean(page).split("\n")]


def _without_running_lines(pages: Sequence[list[str]]) -> list[list[str]]:
    """Pages without the lines that run through most of them (heads, page numbers), but for the first time such a line stands
    and where a page would have nothing left."""
    counted = Counter(key for number, lines in enumerate(pages) for key in {k for at in _edges(lines) for k in _keys(lines[at], number)})
    running = {key for key, count in counted.items() if count >= max(FEWEST, len(pages) / 2)}
    seen: set[str] = set()
    kept = []
    for number, lines in enumerate(pages):
        drop = set()
        for at in _edges(lines):
            if keys := running.intersection(_keys(lines[at], number)):
                drop |= {at} if keys & seen else set()
                seen |= keys
        rest = [line for at, line in enumerate(lines) if at not in drop]
        kept.append(rest if any(rest) else lines)
    return kept


def _edges(lines: Sequence[str]) -> list[int]:
    """Where the first and the last lines with text are."""
    filled = [at for at, line in enumerate(lines) if line]
    return sorted({*filled[:EDGE], *filled[-EDGE:]})


def _keys(line: str, page: int) -> Iterator[str]:
    """The line itself; for a page number what stands around it, and how far it is from the page's place in the file."""
    yield line
    if found := PAGE_NUMBER.fullmatch(line):
        yield f"{line[: found.start(1)]}\0{int(found[1]) - page}\0{line[found.end(1) :]}"


def _page(lines: Sequence[str], marks: Sequence[Mark], number: int, builder: Builder) -> None:
    """A page's paragraphs. A bookmark whose words stand in a line of their own makes it a heading; of the others the first holds
    from the page's top."""
    standing = {_bare(line): line for line in reversed(lines) if line} if marks else {}
    named = {_bare(mark.title): mark for mark in marks if _bare(mark.title) in standing}
    if marks and _bare(marks[0].title) not in named:
        builder.under(marks[0].title, marks[0].level)
    for text, mark in _paragraphs(lines, named):
        if mark is None:
            builder.add(text, page=number)
        else:
            builder.heading(text, mark.level, page=number)
    for mark in marks:
        builder.under(standing.get(_bare(mark.title), mark.title), mark.level)


def _bare(title: str) -> str:
    """A title without its number, its case and its dots: bookmarks often leave them out."""
    return re.sub(r"^(?:(?:chapter|section|part)\s+)?\d+(?:\.\d+)*[.):]?\s+(?=\w)", "", title.casefold()).strip(" .")


def _paragraphs(lines: Sequence[str], named: Mapping[str, Mark]) -> Iterator[tuple[str, Mark | None]]:
    """Join a page's lines: a paragraph ends at a blank line, before a bullet and a heading, and after a short line that ends a sentence."""
    usual = median([len(line) for line in lines if line] or [0])
    left = dict(named)
    parts: list[str] = []
    for line in lines:
        mark = left.pop(_bare(line), None) if left else None
        if parts and (not line or mark or BULLET.match(line)):
            yield "".join(parts), None
            parts = []
        if mark:
            yield line, mark
        elif line:
            _join(parts, line)
            if len(line) < 0.75 * usual and line[-1] in ".:!?":
                yield "".join(parts), None
                parts = []
    if parts:
        yield "".join(parts), None


def _join(parts: list[str], line: str) -> None:
    """Put a line behind the others, a word that was cut between them together again."""
    if parts and re.search(r"[a-z]-$", parts[-1]) and line[:1].islower():
        parts[-1] = parts[-1][:-1]
    elif parts:
        parts.append(" ")
    parts.append(line)
