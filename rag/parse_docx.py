"""DOCX to a document. Knows bytes and names, never a path or a limit; runs in the child that may be killed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rag.document import Builder, Document, flat
from rag.package import ERRORS, check_package
from rag.unfit import broken

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
TEXT = {f"{W}t": "", f"{W}tab": " ", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
"""Nodes that add to a paragraph, and what; text adds itself. Deleted text (w:delText) and field codes are none of them."""
DEEPEST = 12
"""Styles that stand on one another."""


def parse_docx(data: bytes, name: str, stem: str) -> Document:
    """Headings by their style, paragraphs, list items, table rows, text boxes; what content controls hold, too."""
    import docx
    from docx.oxml.exceptions import InvalidXmlError
    from lxml.etree import LxmlError

    check_package(data, name, "docx")
    try:
        file = docx.Document(io.BytesIO(data))
        title = flat(file.core_properties.title or "")
        builder = Builder("docx", title="" if title == "Word Document" else title)  # python-docx's word for none
        _walk(file.element.body, _style_names(file.styles.element), builder)
    except (*ERRORS, LxmlError, InvalidXmlError):
        raise broken(name, data) from None
    return builder.done(stem)


def _style_names(styles: Any) -> Mapping[str, str]:
    """Style id to the name of the built-in style that it is or stands on; ids are in the language of the program, names are not."""
    names, base = {}, {}
    for style in styles.iter(f"{W}style"):
        key = style.get(f"{W}styleId") or ""
        names[key] = _value(style, f"{W}name").lower()
        base[key] = _value(style, f"{W}basedOn")
    found = {}
    for key in names:
        at, steps = key, 0
        while at in names and not _known(names[at]) and steps < DEEPEST:
            at, steps = base[at], steps + 1
        found[key] = names.get(at, "")
    return found


def _known(style: str) -> bool:
    return style == "title" or style.startswith("list") or re.fullmatch(r"heading \d", style) is not None


def _value(node: Any, tag: str) -> str:
    child = node.find(tag)
    return "" if child is None else child.get(f"{W}val") or ""


def _walk(body: Any, styles: Mapping[str, str], builder: Builder) -> None:
    for fallback in list(body.iter(FALLBACK)):
        # A second form of what stands beside it.
        fallback.getparent().remove(fallback)
    boxes = list(body.iter(f"{W}txbxContent"))
    for box in reversed(boxes):
        # A text box is anchored inside a paragraph: it is read after it.
        if (anchor := next(box.iterancestors(f"{W}p"), None)) is not None:
            anchor.addnext(box)
    for node in _blocks(body):
        if node.tag == f"{W}tbl":
            for row in _rows(node):
                builder.add(row, tight=True)
        else:
            _paragraph(node, styles, builder)


def _blocks(body: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those inside content controls and text boxes too; no recursion."""
    waiting = [body]
    while waiting:
        node = waiting.pop()
        if node.tag in (f"{W}p", f"{W}tbl"):
            yield node
        else:
            waiting.extend(reversed([child for child in node if isinstance(child.tag, str)]))


def _paragraph(node: Any, styles: Mapping[str, str], builder: Builder) -> None:
    properties = node.find(f"{W}pPr")
    style = styles.get(_value(properties, f"{W}pStyle"), "") if properties is not None else ""
    text = _text(node)
    if style == "title":
        builder.heading(text, 1)
    elif level := re.fullmatch(r"heading (\d)", style):
        builder.heading(text, int(level[1]))
    elif text.strip():
        listed = style.startswith("list") or (properties is not None and properties.find(f"{W}numPr") is not None)
        builder.add(f"- {text.strip()}" if listed else text, tight=listed)


def _text(node: Any) -> str:
    return "".join(TEXT[part.tag] or part.text or "" for part in node.iter(*TEXT))


def _rows(table: Any) -> Iterator[str]:
    """A line a row; a cell that goes on from the row above says again what stands there."""
    above: dict[int, str] = {}
    for row in table.iter(f"{W}tr"):
        if next(row.iterancestors(f"{W}tbl"), None) is not table:
            continue  # of a table inside a cell: that cell holds its text
        at, cells = 0, []
        for cell in _cells(row):
            properties = cell.find(f"{W}tcPr")
            merge = properties.find(f"{W}vMerge") if properties is not None else None
            text = " ".join(" ".join(map(_text, cell.iter(f"{W}p"))).split())
            if merge is not None and merge.get(f"{W}val") != "restart":
                text = text or above.get(at, "")
            above[at] = text
            cells.append(text)
            at += _span(properties)
        yield " | ".join(filter(None, cells))


def _cells(row: Any) -> Iterator[Any]:
    for node in row:
        if node.tag == f"{W}tc":
            yield node
        elif node.tag in (f"{W}sdt", f"{W}ins", f"{W}customXml"):
            yield from (cell for cell in node.iter(f"{W}tc") if next(cell.iterancestors(f"{W}tr"), None) is row)


def _span(properties: Any) -> int:
    value = _value(properties, f"{W}gridSpan") if properties is not None else ""
    return int(value) if re.fullmatch(r"[1-9]\d{0,2}", value) else 1
