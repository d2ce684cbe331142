"""Spreadsheets to a document: a heading a sheet. Knows bytes and names, never a path or a limit; runs in the child that may be killed.

openpyxl first: it reads row by row and knows how a number is shown. python-calamine where that fails (it forgives more), and for
the formats of old; it is ten times as fast, but a single cell in the far corner of a sheet makes it ask for all the cells before.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import PurePath

from rag.cells import shown
from rag.document import Builder, Document, check_size, flat
from rag.package import ERRORS, check_package
from rag.parse_plain import add_rows
from rag.unfit import OLE, alien, broken, encrypted, sealed

LAST_ROW = 1_048_576
"""Of a sheet in any program; a row beyond it is a bomb."""
Rows = list[tuple[int, list[str]]]


def parse_xlsx(data: bytes, name: str, stem: str) -> Document:
    """Every sheet, each row by itself: "column: value | …" under "Sheet Budget › Rows 2-21". Formulas give what they last came to.

    Hidden sheets stay in: they often hold the lists that the others use. Their heading says that they are hidden.
    """
    ending = PurePath(name).suffix.lower()
    if ending == ".xls" and not data.startswith((OLE, b"PK")):
        raise alien(name, data)
    if ending != ".xls" or data.startswith(b"PK") or sealed(data):
        check_package(data, name, "ods" if ending == ".ods" else "xlsx")
    builder = Builder("xlsx", title=stem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for title, hidden, rows in _sheets(data, name, ending in (".xls", ".ods")):
            if rows:
                builder.heading(f"Sheet {title} (hidden)" if hidden else f"Sheet {title}", 2)
                add_rows(builder, rows, 3)
    return builder.done(stem)


def _sheets(data: bytes, name: str, old: bool) -> list[tuple[str, bool, Rows]]:
    from xml.etree.ElementTree import ParseError

    from lxml.etree import LxmlError

    if not old:
        try:
            return list(_openpyxl(data))
        except (*ERRORS, LxmlError, ParseError):
            pass
    return list(_calamine(data, name))


def _openpyxl(data: bytes) -> Iterator[tuple[str, bool, Rows]]:
    from openpyxl.reader.excel import ExcelReader

    reader = ExcelReader(io.BytesIO(data), read_only=True, keep_vba=False, data_only=True, keep_links=False)
    # A sheet that is a chart holds no rows, and read row by row it makes openpyxl fail.
    reader.read_chartsheet = lambda *_: None
    reader.read()
    size = blocks = 0
    for sheet in reader.wb.worksheets:
        sheet.reset_dimensions()  # What a file says of its size may be wrong; its cells tell.
        rows: Rows = []
        for number, cells in enumerate(sheet.iter_rows(), 1):
            if number > LAST_ROW:
                break
            row = [flat(shown(cell.value, cell.number_format)) if cell.value is not None else "" for cell in cells]
            if any(row):
                rows.append((number, row))
                size, blocks = size + sum(map(len, row)) + len(row), blocks + 1
                check_size(size, blocks)
        yield sheet.title, sheet.sheet_state != "visible", rows


def _calamine(data: bytes, name: str) -> Iterator[tuple[str, bool, Rows]]:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

    errors: tuple[type[Exception], ...] = (CalamineError, *ERRORS)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        for about in book.sheets_metadata:
            if about.typ != SheetTypeEnum.WorkSheet:
                continue
            sheet = book.get_sheet_by_name(about.name)
            first = (sheet.start or (0, 0))[0] + 1
            rows = [(first + at, [flat(shown(cell)) for cell in row]) for at, row in enumerate(sheet.iter_rows())]
            yield about.name, about.visible != SheetVisibleEnum.Visible, [row for row in rows if any(row[1])]
    except PasswordError:
        raise encrypted(name) from None
    except errors:
        raise broken(name, data) from None
