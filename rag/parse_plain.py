"""CSV tables and e-mail to documents, with the standard library alone. Knows bytes and names, never a path or a limit."""

from __future__ import annotations

import csv
import email
import io
import re
from collections.abc import Iterator, Sequence
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import cast

from rag.document import LONGEST_HEADING, Builder, Document, clean, flat
from rag.parse import decode, html_document
from rag.unfit import alien, broken

ROWS = 20
"""Rows of a table that share a heading, so that a passage can say which rows it shows."""
WIDEST = 1_000_000
"""Characters in a field."""
FIGURE = re.compile(r"[-+(]?\s?[$€£¥]?\s?\d[\d.,' ]*\s?[%$€£¥)]?|\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?")
"""A number, a sum of money, a share, a date."""
YEAR = re.compile(r"(?:19|20)\d\d")
LONGEST_HEADER = 10_000
"""Characters of a header that are looked at (300 addresses): the standard library takes the square of the length."""
HEADERS = ("From", "To", "Cc", "Date", "Subject")


def parse_csv(data: bytes, name: str, stem: str) -> Document:
    """A line a row, "column: value | …", so that a row says by itself what it tells; headings name the rows."""
    text = clean(decode(data, name))
    csv.field_size_limit(WIDEST)
    try:
        lines = [[flat(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""), _dialect(text, name))]
    except csv.Error:
        raise broken(name) from None
    builder = Builder("csv", title=stem)
    add_rows(builder, list(enumerate(lines, 1)))
    return builder.done(stem)


def _dialect(text: str, name: str) -> type[csv.Dialect]:
    """Commas, semicolons or tabs: whichever splits the first line most."""
    first = text.lstrip("\n").split("\n", 1)[0]

    class Found(csv.excel):
        delimiter = "\t" if name.lower().endswith(".tsv") else max(",;\t", key=first.count)

    return Found


def add_rows(builder: Builder, rows: Sequence[tuple[int, Sequence[str]]], level: int = 2) -> None:
    """Numbered rows (1-based, as a spreadsheet shows them) under headings such as "Rows 2-21".

    Rows of a single cell above the table are its caption. The first row of it names the columns, when every cell is text or a
    year; else the rows stand as they are.
    """
    held = [(number, row) for number, row in rows if any(row)]
    if any(_filled(row) > 1 for _, row in held):
        while _filled(held[0][1]) == 1:
            builder.add(" ".join(filter(None, held.pop(0)[1])))
    names: Sequence[str] = ()
    if len(held) > 1 and _names(held[0][1], held[1][1]):
        names, held = held[0][1], held[1:]
    for at in range(0, len(held), ROWS):
        part = held[at : at + ROWS]
        builder.heading(f"Rows {part[0][0]}-{part[-1][0]}", level)
        for number, (_, row) in enumerate(part):
            builder.add(" | ".join(_cells(names, row)), tight=number > 0)


def _filled(row: Sequence[str]) -> int:
    return sum(map(bool, row))


def _names(row: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a row names the columns of the one below. A year does, unless the cell below is one as well."""
    figures = [at for at, cell in enumerate(row) if FIGURE.fullmatch(cell)]
    years = all(YEAR.fullmatch(row[at]) and not YEAR.fullmatch(below[at] if at < len(below) else "") for at in figures)
    shared = any(name and cell for name, cell in zip(row, below, strict=False))
    return shared and years and len(figures) < _filled(row)


def _cells(names: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    for at, cell in enumerate(row):
        if cell:
            name = names[at][:LONGEST_HEADING] if at < len(names) else ""
            yield f"{name}: {cell}" if name else cell


class _Short(EmailPolicy):
    """The standard policy, with headers that are not too long."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """(name, value)"""
        name, value = super().header_source_parse(sourcelines)
        return name, value[:LONGEST_HEADER]


def parse_eml(data: bytes, name: str, stem: str) -> Document:
    """Subject as title; who, to whom and when; the plain body, or the words of the HTML one; the names of attachments."""
    try:
        message = cast(EmailMessage, email.message_from_bytes(data, policy=_Short()))
        heads = {key: value for key in HEADERS if (value := _head(message, key))}
        body = message.get_body(("plain", "html"))
        words = _body(body) if isinstance(body, EmailMessage) else ""
        attached = [str(part.get_filename() or "") for part in message.iter_attachments()] if message.is_multipart() else []
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, AssertionError):
        # The parser of the standard library reports broken headers by whatever its code ran into.
        raise broken(name, data) from None
    if not heads:
        raise alien(name, data)
    builder = Builder("eml", title=heads.get("Subject", "")[:LONGEST_HEADING])
    for at, (key, value) in enumerate(heads.items()):
        builder.add(f"{key}: {value}", tight=at > 0)
    for paragraph in clean(words).split("\n\n"):
        builder.add(paragraph)
    if names := ", ".join(filter(None, attached)):
        builder.add(f"Attached: {names}")
    return builder.done(stem)


def _head(message: EmailMessage, key: str) -> str:
    """A header; one whose brackets nest a thousand deep says nothing."""
    try:
        return flat(str(message[key] or ""))
    except (RecursionError, LookupError, AttributeError, ValueError):
        return ""


def _body(part: EmailMessage) -> str:
    """The words of a part; a character set that nobody knows is taken for UTF-8."""
    try:
        content = part.get_content()
    except (LookupError, UnicodeError):
        content = part.get_payload(decode=True)
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    return html_document(text, "").text if part.get_content_type() == "text/html" else text
