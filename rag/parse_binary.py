"""PDF and DOCX to documents. Knows bytes and names, never a path or a limit; runs in the child that may be killed."""

from __future__ import annotations

import io
import re
import zipfile
from statistics import median

from base.errors import Unreadable
from rag.document import Builder, Document, clean

MAX_UNPACKED = 200_000_000
"""Bytes a DOCX may unpack to."""
BULLET = re.compile(r"^\s*(?:[•◦▪‣·*-]|\d{1,3}[.)])\s+")


def parse_pdf(data: bytes, name: str, stem: str) -> Document:
    """Paragraphs with their page. pypdfium2 first, pypdf when that fails or finds no text."""
    try:
        pages, title = _pdfium(data, name)
    except RuntimeError:
        pages, title = [], ""
    if not any(page.strip() for page in pages):
        pages = _pypdf(data, name)
    builder = Builder("pdf", title=title or stem)
    for number, page in enumerate(pages, 1):
        for paragraph in _paragraphs(clean(page)):
            builder.add(paragraph, page=number)
    return builder.done(stem)


def _encrypted(name: str) -> Unreadable:
    return Unreadable(f"{name} is encrypted.", "Save a copy without a password, and add that.")


def _pdfium(data: bytes, name: str) -> tuple[list[str], str]:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise _encrypted(name) from None
        raise
    title = " ".join(clean(pdf.get_metadata_dict().get("Title") or "").split())
    # Word processors leave their own file name as the title of what they print.
    return [page.get_textpage().get_text_bounded() for page in pdf], "" if "." in title[-5:] else title[:120]


def _pypdf(data: bytes, name: str) -> list[str]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise _encrypted(name)
        return [page.extract_text() for page in reader.pages]
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, NotImplementedError, OSError):
        # pypdf reports broken files by whatever its code ran into.
        raise Unreadable(f"{name} is a broken PDF.", "Open it in a PDF viewer, print it to a new PDF, and add that.") from None


def _paragraphs(page: str) -> list[str]:
    """Join a page's lines: a paragraph ends at a blank line, before a bullet, and after a short line that ends a sentence."""
    lines = [line.strip() for line in page.split("\n")]
    usual = median([len(line) for line in lines if line] or [0])
    paragraphs: list[str] = []
    open_ = False
    for line in lines:
        if not line:
            open_ = False
            continue
        if open_ and not BULLET.match(line):
            last = paragraphs[-1]
            hyphenated = re.search(r"[a-z]-$", last) and line[:1].islower()
            paragraphs[-1] = last[:-1] + line if hyphenated else f"{last} {line}"
        else:
            paragraphs.append(line)
        open_ = not (len(line) < 0.75 * usual and line[-1] in ".:!?")
    return paragraphs


def parse_docx(data: bytes, name: str, stem: str) -> Document:
    """Headings by their style, paragraphs, list items, table rows."""
    import docx
    from docx.oxml.exceptions import InvalidXmlError
    from docx.table import Table
    from lxml.etree import LxmlError  # type: ignore[import-untyped]

    _check_zip(data, name)
    try:
        file = docx.Document(io.BytesIO(data))
        title = " ".join(clean(file.core_properties.title or "").split())
        builder = Builder("docx", title="" if title == "Word Document" else title)  # python-docx's word for none
        for item in file.iter_inner_content():
            if isinstance(item, Table):
                for row in item.rows:
                    cells = dict.fromkeys(" ".join(cell.text.split()) for cell in row.cells)
                    builder.add(" | ".join(filter(None, cells)), tight=True)
                continue
            style = (item.style.name if item.style is not None else "") or ""
            if style == "Title" or (level := re.fullmatch(r"Heading (\d)", style)):
                builder.heading(item.text, 1 if style == "Title" or level is None else int(level[1]))
            elif item.text.strip():
                builder.add(f"- {item.text.strip()}" if style.startswith("List") else item.text, tight=style.startswith("List"))
    except (zipfile.BadZipFile, KeyError, ValueError, LxmlError, InvalidXmlError, AttributeError):
        raise Unreadable(f"{name} is a broken DOCX.", "Open it in a word processor, save it anew, and add that.") from None
    return builder.done(stem)


def _check_zip(data: bytes, name: str) -> None:
    """Refuse what is no zip, and what would unpack to more than a document holds."""
    if data[:4] == b"\xd0\xcf\x11\xe0":
        raise Unreadable(f"{name} is encrypted, or in the old .doc format.", "Save it as .docx without a password, and add that.")
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except (zipfile.BadZipFile, ValueError, OSError):
        raise Unreadable(f"{name} is not a DOCX file.", "Open it in a word processor, save it as .docx, and add that.") from None
    if any(entry.flag_bits & 1 for entry in entries):
        raise _encrypted(name)
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise Unreadable(f"{name} unpacks to more than {MAX_UNPACKED // 1_000_000} MB.", "Split it, or leave out what is not text.")
