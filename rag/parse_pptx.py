"""PPTX to a document: a heading a slide. Knows bytes and names, never a path or a limit; runs in the child that may be killed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from rag.document import Builder, Document, flat
from rag.package import ERRORS, check_package
from rag.unfit import broken

LINES = 40
"""Shapes whose tops differ by less than this part of a slide's height stand in one line, and are read from left to right."""
PROGRAMS_WORD = "PowerPoint Presentation"
"""The title of a presentation that was given none."""


def parse_pptx(data: bytes, name: str, stem: str) -> Document:
    """A heading such as "Slide 3 · Budget", then what the slide shows from top to bottom, its tables row by row, its notes."""
    from lxml.etree import LxmlError
    from pptx import Presentation

    check_package(data, name, "pptx")
    errors = (*ERRORS, LxmlError, *_errors())
    lost = 0
    try:
        file = Presentation(io.BytesIO(data))
        title = flat(file.core_properties.title or "")
        builder = Builder("pptx", title=stem if title in ("", PROGRAMS_WORD) else title)
        slides, height = file.slides, int(file.slide_height or 0) or 6_858_000
        count = len(slides)
    except errors:
        raise broken(name, data) from None
    for number in range(1, count + 1):
        try:
            _slide(slides[number - 1], number, height // LINES, builder)
        except errors:
            lost += 1  # One broken slide does not lose the others.
    if lost == count > 0:
        raise broken(name, data)
    return builder.done(stem)


def _errors() -> tuple[type[Exception], ...]:
    from pptx.exc import InvalidXmlError, PythonPptxError

    return PythonPptxError, InvalidXmlError


def _slide(slide: Any, number: int, line: int, builder: Builder) -> None:
    """A slide that is not shown stays in, and says so."""
    title = slide.shapes.title
    words = flat(title.text_frame.text) if title is not None else ""
    hidden = " (hidden)" if slide.element.get("show") in ("0", "false") else ""
    head = f"Slide {number} · {words}" if words else f"Slide {number}"
    parts = list(_parts(slide, None if title is None else title.shape_id, line))
    if words or parts:
        builder.heading(head + hidden, 2)
    for text, tight in parts:
        builder.add(text, tight=tight)


def _parts(slide: Any, title: int | None, line: int) -> Iterator[tuple[str, bool]]:
    """(text, whether it stands on the next line)"""
    for shape in _shapes(slide.shapes, line):
        if shape.shape_id == title and shape.is_placeholder:
            continue
        if getattr(shape, "has_table", False):
            rows = (" | ".join(filter(None, (" ".join(cell.text.split()) for cell in row.cells))) for row in shape.table.rows)
            yield from ((row, at > 0) for at, row in enumerate(filter(None, rows)))
        elif shape.has_text_frame:
            yield from _paragraphs(shape.text_frame)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        yield "Notes: " + frame.text.replace("\v", "\n").strip(), False


def _shapes(shapes: Iterable[Any], line: int) -> Iterator[Any]:
    """Shapes with text, line by line from the left; a group is read as a whole, where it stands. No recursion: groups nest."""
    waiting = list(reversed(_ordered(shapes, line)))
    while waiting:
        shape = waiting.pop()
        if hasattr(shape, "shapes"):
            waiting += reversed(_ordered(shape.shapes, line))
        else:
            yield shape


def _ordered(shapes: Iterable[Any], line: int) -> list[Any]:
    return sorted(shapes, key=lambda shape: (int(shape.top or 0) // line, int(shape.left or 0)))


def _paragraphs(frame: Any) -> Iterator[tuple[str, bool]]:
    """The paragraphs of a text box; what stands below the first level is a list."""
    for paragraph in frame.paragraphs:
        text = paragraph.text.replace("\v", "\n").strip()
        if text:
            yield (f"- {text}", True) if paragraph.level else (text, False)
