"""The zip that a DOCX, a PPTX or an XLSX is: refused when it is none, is another's, or would unpack to a bomb. Knows no inside."""

from __future__ import annotations

import io
import zipfile
import zlib

from rag.unfit import FOLDERS, OLE, alien, broken, encrypted, old_office, too_much

MAX_UNPACKED = 200_000_000
"""Bytes a package may unpack to. The standard library never unpacks more of an entry than its declared size."""
MAX_PARTS = 20_000
"""Entries; a book of a thousand pictures has two thousand."""
ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    # A package whose parts do not fit together is reported by whatever the libraries' code ran into.
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    NotImplementedError,
)
"""What a broken package makes the libraries raise."""


def check_package(data: bytes, name: str, kind: str) -> None:
    """Raises Unreadable."""
    if data.startswith(OLE):
        raise old_office(name, data)
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except ERRORS:
        raise (broken if data.startswith(b"PK") else alien)(name, data) from None
    if data.startswith(b"PK") and entries and min(entry.header_offset for entry in entries):
        raise broken(name)  # It is cut off: what was found is the directory of a package inside it.
    if any(entry.flag_bits & 1 for entry in entries):
        raise encrypted(name)
    if len(entries) > MAX_PARTS:
        raise too_much(name, f"holds more than {MAX_PARTS // 1000},000 parts")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise too_much(name, f"unpacks to more than {MAX_UNPACKED // 1_000_000} MB")
    own = next((folder for folder, _, ending in FOLDERS if ending == f".{kind}"), "content.xml")
    if not any(entry.filename.startswith(own) for entry in entries):
        others = tuple(folder for folder, _, _ in FOLDERS)
        raise (alien(name, data) if any(entry.filename.startswith(others) for entry in entries) else broken(name))
