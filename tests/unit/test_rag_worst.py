"""Several hundred files that mean harm or were harmed, through the real child: each is read or refused by a plain sentence."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import whole
import worst

from base.errors import Unreadable
from base.settings import Settings
from rag.chunk import chunk
from rag.document import Document
from rag.embed import Embedder
from rag.library import Library
from rag.read import Limits, Reader
from rag.read_child import parser_of

LIMITS = Limits(megabytes=25, seconds=5, memory_mb=600)
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
def good() -> dict[str, bytes]:
    return whole.seeds()


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
    control = folder / "good.md"
    control.write_text("# Leave\n\nThirty days.")
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
            assert (await reader.read(control)).text == "Leave\n\nThirty days."
        path.unlink()
    grown = psutil.Process().memory_info().rss - before
    return wrong + ([f"grown by {grown / 1e6:.0f} MB"] if grown > GROWTH else [])


FAMILIES: dict[str, Callable[[dict[str, bytes]], Iterator[worst.File]]] = {
    "accidents": lambda good: worst.accidents(good, 25),
    "strangers": worst.strangers,
    "packages": worst.packages,
    "sheets": worst.sheets,
    "pdfs": worst.pdfs,
    "texts": lambda good: worst.texts(),
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_each_is_read_or_refused_by_a_plain_sentence(family: str, reader: Reader, good: dict[str, bytes], tmp_path: Path) -> None:
    assert await through(reader, FAMILIES[family](good), tmp_path) == []


async def test_good_files_of_each_kind_are_read(reader: Reader, good: dict[str, bytes], tmp_path: Path) -> None:
    for ending, data in good.items():
        (tmp_path / f"a.{ending}").write_bytes(data)
        document = await reader.read(tmp_path / f"a.{ending}")
        assert "days" in document.text or ending == "py", ending
        made = parser_of(document.kind)(data, f"a.{ending}", "a")
        assert made == document and all(made.text[one.start : one.end] == one.text for one in made.blocks), "the way from the child"
        assert chunk(document, lambda text: len(text.split()))


async def test_what_is_no_file(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("fine")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "link.md").symlink_to(tmp_path / "good.md")
    (tmp_path / "dangling.md").symlink_to(tmp_path / "absent.md")
    (tmp_path / "own.md").symlink_to(tmp_path / "own.md")
    (tmp_path / "endless.md").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.md")
    assert (await reader.read(tmp_path / "link.md")).text == "fine"
    wanted = {"folder": "regular file", "pipe": "regular file", "endless": "regular file", "dangling": "opened", "own": "opened"}
    for name, sentence in wanted.items():
        with pytest.raises(Unreadable, match=rf"{name}\.md .*{sentence}") as caught:
            await reader.read(tmp_path / f"{name}.md")
        assert caught.value.remedy


MAIN = {"docx": "word/document.xml", "pptx": "ppt/slides/slide1.xml", "xlsx": "xl/sharedStrings.xml"}


@pytest.mark.parametrize("ending", MAIN)
async def test_nothing_outside_a_file_is_read_for_it(ending: str, reader: Reader, good: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret word")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        places = ((tmp_path / "secret.txt").as_uri(), f"http://127.0.0.1:{server.getsockname()[1]}/x.dtd")
        for number, place in enumerate(places):
            made = whole.edit(good[ending], MAIN[ending], b"?>", f"?><!DOCTYPE a SYSTEM '{place}' [<!ENTITY e SYSTEM '{place}'>]>".encode())
            path = tmp_path / f"{number}.{ending}"
            path.write_bytes(whole.edit(made, MAIN[ending], b"days</", b"days&e;</"))
            try:
                assert "secret" not in (await reader.read(path)).text
            except Unreadable as error:
                assert "secret" not in str(error)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_late_large_and_broken_are_three_sentences(good: dict[str, bytes], tmp_path: Path) -> None:
    large, slow, broken = tmp_path / "large.pdf", tmp_path / "slow.md", tmp_path / "broken.xls"
    large.write_bytes(next(data for name, data, _ in worst.pdfs(good) if name == "stream.pdf"))
    slow.write_bytes(b"> " * 500_000)
    broken.write_bytes(next(data for name, data, _ in worst.accidents({"xls": good["xls"]}, 25) if name == "harmed 3.xls"))
    with Reader(Limits(seconds=60, memory_mb=350)) as reader:
        for path, sentence in ((large, "needs too much memory"), (broken, "is a broken XLS")):
            with pytest.raises(Unreadable, match=sentence):
                await reader.read(path)
    with Reader(Limits(seconds=0.05)) as reader, pytest.raises(Unreadable, match="took longer"):
        await reader.read(slow)


async def test_a_child_that_died_between_files_costs_none(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("fine")
    await reader.read(tmp_path / "good.md")
    assert reader._child is not None
    reader._child.kill()  # and not waited for: the next request may still find its pipe open
    assert (await reader.read(tmp_path / "good.md")).text == "fine"


async def test_names_of_no_alphabet_do_not_stop_an_ingest(settings: Settings, embedder: Embedder, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "docs")
    Path(os.fsdecode(folder)).mkdir()
    for name in (b"caf\xe9.md", b"two\nlines.md", b"good.md"):
        Path(os.fsdecode(folder + b"/" + name)).write_text(f"# Leave\n\nThirty days for {name!r}.")
    Path(os.fsdecode(folder + b"/bad\xe9.pdf")).write_bytes(b"junk")
    library = await Library.open(settings, embedder)
    try:
        report = await library.ingest([tmp_path / "docs"], "shared")
        assert report.added == 3 and [name for name, _ in report.failed] == ["bad\\xe9.pdf"]
        assert (await library.ingest([tmp_path / "docs"], "shared")).unchanged == 3
    finally:
        await library.close()
