"""CSV tables and e-mail to documents, with the standard library alone. Knows bytes and names, never a path or a limit."""

from __future__ import annotations

import csv
import email
import email.policy
import io
from collections.abc import Iterator, Sequence
from email.errors import MessageError
from email.message import EmailMessage

from base.errors import Unreadable
from rag.document import Builder, Document, clean
from rag.parse import decode, parse_html

ROWS = 20
"""Rows of a table that share a heading, so that a passage can say which rows it shows."""
WIDEST = 1_000_000
"""Characters in a field."""
HEADERS = ("From", "To", "Cc", "Date", "Subject")


def parse_csv(data: bytes, name: str, stem: str) -> Document:
    """A line a row, "column: value | …", so that a row says by itself what it tells; headings name the rows."""
    text = decode(data, name)
    csv.field_size_limit(WIDEST)
    try:
        lines = [[" ".join(clean(cell).split()) for cell in row] for row in csv.reader(io.StringIO(text, newline=""), _dialect(text, name))]
    except csv.Error:
        raise Unreadable(f"{name} is a broken table.", "Open it in a spreadsheet, save it as CSV anew, and add that.") from None
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

    The first row with text names the columns, when every cell of it is text; else the rows stand as they are.
    """
    held = [(number, row) for number, row in rows if any(row)]
    names: Sequence[str] = ()
    if len(held) > 1 and all(not _number(cell) for cell in held[0][1]):
        names, held = held[0][1], held[1:]
    for at in range(0, len(held), ROWS):
        part = held[at : at + ROWS]
        builder.heading(f"Rows {part[0][0]}-{part[-1][0]}", level)
        for number, (_, row) in enumerate(part):
            builder.add(" | ".join(_cells(names, row)), tight=number > 0)


def _cells(names: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    for at, cell in enumerate(row):
        if cell:
            name = names[at] if at < len(names) else ""
            yield f"{name}: {cell}" if name else cell


def _number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").lstrip("+-").isdigit()


def parse_eml(data: bytes, name: str, stem: str) -> Document:
    """Subject as title; who, to whom and when; the plain body, or the words of the HTML one; the names of attachments."""
    try:
        message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
        heads = {key: " ".join(clean(str(message[key])).split()) for key in HEADERS if message[key]}
        body = message.get_body(("plain", "html"))
        words = _body(body, name) if isinstance(body, EmailMessage) else ""
        attached = [str(part.get_filename() or "") for part in message.iter_attachments()] if message.is_multipart() else []
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, IndexError):
        # The parser of the standard library reports broken headers by whatever its code ran into.
        raise Unreadable(f"{name} is a broken e-mail.", "Open it in a mail program, save it anew, and add that.") from None
    if not heads:
        raise Unreadable(f"{name} is not an e-mail.", "Save it from a mail program as .eml, and add that.")
    builder = Builder("eml", title=heads.get("Subject", ""))
    for at, (key, value) in enumerate(heads.items()):
        builder.add(f"{key}: {value}", tight=at > 0)
    for paragraph in clean(words).split("\n\n"):
        builder.add(paragraph)
    if names := ", ".join(filter(None, attached)):
        builder.add(f"Attached: {names}")
    return builder.done(stem)


def _body(part: EmailMessage, name: str) -> str:
    content = part.get_content()
    text = content if isinstance(content, str) else ""
    return parse_html(text.encode(), name, "").text if part.get_content_type() == "text/html" else text
