"""Several hundred files that mean harm or were harmed, through the real child: each is read or refused by a plain sentence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import worst

from base.errors import Unreadable
from rag.chunk import chunk
from rag.document import Document
from rag.read import Limits, Reader
from rag.read_child import parser_of

LIMITS = Limits(megabytes=25, seconds=8, memory_mb=600)
KNOWN = [
    r"is empty",
    r"is not a text file(?: but an? [\w ]+)?",
    r"is not in UTF-8",
    r"is encrypted",
    r"is encrypted, or in an old Office format",
    r"is in the old \.\w+ format",
    r"is not an? (?:[A-Z]+ file|e-mail)(?: but an? [\w ]+)?",
    r"is a broken (?:[A-Z]+|table|e-mail)",
    r"is too deeply nested to read",
    r"unpacks to more than \d+ MB",
    r"holds more than [\d,]+ (?:parts|million characters|paragraphs or rows)",
    r"declares more than [\d,]+ pages",
    r"has \d+ MB, and [\d.]+ MB are allowed",
    r"took longer than [\d.]+ s to read",
    r"needs too much memory to read: it is too large or too deeply nested",
]
SENTENCE = re.compile(rf"(?:{'|'.join(KNOWN)})\.")
GROWTH = 400_000_000
"""Bytes by which this process may grow over all of it; the largest documents are held for a moment."""


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    return worst.seeds()


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader(LIMITS) as one:
        yield one


def complaint(document: Document | None, error: Unreadable | None, name: str, wanted: str) -> str:
    """What is wrong with what the reader made of it; "" for nothing."""
    if error is not None:
        plain = error.what.startswith(name) and SENTENCE.fullmatch(error.what[len(name) :].strip()) and error.remedy.endswith(".")
        fits = not wanted.isupper() and not wanted.startswith("TEXT") and re.search(wanted, error.what)
        return "" if plain and fits else f"refused by {str(error)!r}"
    assert document is not None
    if any(document.text[block.start : block.end] != block.text or not block.text.strip() for block in document.blocks):
        return "spans are off"
    if wanted == "NO TEXT":
        return f"text was found: {document.text[:50]!r}" if document.blocks else ""
    if wanted.startswith("TEXT"):
        return "" if wanted[5:] in document.text else f"not read: {document.text[:50]!r}"
    return f"read, but should be refused: {document.text[:50]!r}" if wanted else ""


async def through(reader: Reader, files: Iterator[worst.File], folder: Path) -> list[str]:
    """Every file through the reader; what is wrong."""
    wrong = []
    good = folder / "good.md"
    good.write_text("# Leave\n\nThirty days.")
    before = psutil.Process().memory_info().rss
    for number, (name, data, wanted) in enumerate(files):
        path = folder / name
        path.write_bytes(data)
        document = error = None
        began = time.monotonic()
        try:
            document = await reader.read(path)
        except Unreadable as refused:
            error = refused
        took = time.monotonic() - began
        if said := complaint(document, error, name, wanted):
            wrong.append(f"{name}: {said}")
        if took > 2 * LIMITS.seconds + 3:
            wrong.append(f"{name}: took {took:.0f} s")
        if number % 10 == 0 or error is not None:
            assert (await reader.read(good)).text == "Leave\n\nThirty days."
        path.unlink()
    grown = psutil.Process().memory_info().rss - before
    return wrong + ([f"grown by {grown / 1e6:.0f} MB"] if grown > GROWTH else [])


FAMILIES: dict[str, Callable[[dict[str, bytes]], Iterator[worst.File]]] = {
    "accidents": lambda whole: worst.accidents(whole, 25),
    "strangers": worst.strangers,
    "packages": worst.packages,
    "sheets": worst.sheets,
    "pdfs": worst.pdfs,
    "texts": lambda whole: worst.texts(),
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_each_is_read_or_refused_by_a_plain_sentence(family: str, reader: Reader, whole: dict[str, bytes], tmp_path: Path) -> None:
    assert await through(reader, FAMILIES[family](whole), tmp_path) == []


async def test_good_files_of_each_kind_are_read(reader: Reader, whole: dict[str, bytes], tmp_path: Path) -> None:
    for ending, data in whole.items():
        (tmp_path / f"a.{ending}").write_bytes(data)
        document = await reader.read(tmp_path / f"a.{ending}")
        assert "days" in document.text or ending == "py", ending
        made = parser_of(document.kind)(data, f"a.{ending}", "a")
        assert made == document and all(made.text[one.start : one.end] == one.text for one in made.blocks), "the way from the child"
        assert chunk(document, lambda text: len(text.split()))
