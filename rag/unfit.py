"""The plain sentences for files that cannot be read, and what their first bytes betray. Knows names and bytes, no parser."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePath

from base.errors import Unreadable

ANEW = {
    "pdf": "Open it in a PDF viewer, print it to a new PDF, and add that.",
    "docx": "Open it in a word processor, save it as .docx, and add that.",
    "pptx": "Open it in a presentation program, save it as .pptx, and add that.",
    "xlsx": "Open it in a spreadsheet, save it as .xlsx, and add that.",
    "xls": "Open it in a spreadsheet, save it as .xlsx, and add that.",
    "ods": "Open it in a spreadsheet, save it as .xlsx, and add that.",
    "pptm": "Open it in a presentation program, save it as .pptx, and add that.",
    "xlsm": "Open it in a spreadsheet, save it as .xlsx, and add that.",
    "tsv": "Open it in a spreadsheet, save it as CSV, and add that.",
    "csv": "Open it in a spreadsheet, save it as CSV anew, and add that.",
    "eml": "Open it in a mail program, save it as .eml, and add that.",
}
"""How a file of a kind is made whole."""
ELSE = "Open it in the program it was made with, save it anew, and add that."
NOUNS = {"csv": "table", "tsv": "table", "eml": "e-mail"}
"""What a kind is called where its letters are no name."""
MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF", ".pdf"),
    (b"\x89PNG", "a PNG picture", ""),
    (b"\xff\xd8\xff", "a JPEG picture", ""),
    (b"GIF8", "a GIF picture", ""),
    (b"II*\0", "a TIFF picture", ""),
    (b"MM\0*", "a TIFF picture", ""),
    (b"{\\rtf", "an RTF document", ""),
    (b"\x1f\x8b", "a gzip archive", ""),
    (b"7z\xbc\xaf", "a 7z archive", ""),
    (b"Rar!", "a RAR archive", ""),
    (b"BZh", "a bzip2 archive", ""),
    (b"\xfd7zXZ", "an xz archive", ""),
    (b"SQLite format 3\0", "a database", ""),
    (b"\x7fELF", "a program", ""),
)
FOLDERS = (
    ("word/", "a Word document", ".docx"),
    ("ppt/", "a presentation", ".pptx"),
    ("xl/", "a spreadsheet", ".xlsx"),
    ("content.xml", "an OpenDocument file", ""),
)
"""What the names in a zip say it is."""
OLE = b"\xd0\xcf\x11\xe0"
"""How a container of the old Office begins; an encrypted file of the new one stands in such a container too."""
OLD = (
    ("WordDocument", ".doc", "Save it as .docx, and add that."),
    ("PowerPoint Document", ".ppt", "Save it as .pptx, and add that."),
    ("Workbook", ".xls", "Give it the ending .xls, and add it again."),
    ("Book", ".xls", "Give it the ending .xls, and add it again."),
)
"""What the names in such a container say it is, and what to do."""
PAGE = re.compile(rb"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html)", re.I)


def broken(name: str, data: bytes = b"") -> Unreadable:
    """It is damaged; or, when its first bytes say so, something else than its name says."""
    kind = PurePath(name).suffix.lower().lstrip(".")
    if what := _other(name, data):
        return what
    what_it_is = {"tsv": "table"}.get(kind) or NOUNS.get(kind) or kind.upper()
    return Unreadable(
        f"{name} is a broken {what_it_is}.", ANEW.get(kind, "Open it in the program it was made with, save it anew, and add that.")
    )


def alien(name: str, data: bytes) -> Unreadable:
    """It is not at all what its name says."""
    kind = PurePath(name).suffix.lower().lstrip(".")
    what = "an e-mail" if kind == "eml" else f"{_article(kind)} file"
    return _other(name, data) or Unreadable(f"{name} is not {what}.", ANEW.get(kind, ELSE))


def _other(name: str, data: bytes) -> Unreadable | None:
    """A sentence of its own when the content is known and does not go with the name."""
    kind = PurePath(name).suffix.lower().lstrip(".")
    what, ending = content(data)
    if not what or ending == f".{kind}" or (kind == "ods" and what == "an OpenDocument file"):
        return None
    said = f"{name} is not {_article(kind)} file but {what}."
    return Unreadable(
        said, f"Give it the ending {ending}, and add it again." if ending else "Add its text in a file of a kind that Relay reads."
    )


def _article(kind: str) -> str:
    """As the letters are spoken: an XLSX, a PDF."""
    return f"{'an' if kind[:1] in tuple('aefhilmnorsx') else 'a'} {kind.upper()}"


def content(data: bytes) -> tuple[str, str]:
    """("a PNG picture", ending that Relay reads or "") by the first bytes; ("", "") when they say nothing."""
    for magic, what, ending in MAGIC:
        if data.startswith(magic):
            return what, ending
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "a WebP picture", ""
    if data.startswith(b"PK\x03\x04"):
        return _in_zip(data)
    return ("a web page", ".html") if PAGE.match(data[:1000]) else ("", "")


def _in_zip(data: bytes) -> tuple[str, str]:
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "", ""
    if not entries or min(entry.header_offset for entry in entries):
        return "", ""  # It is cut off: what was found is a file inside it.
    names = [entry.filename for entry in entries]
    for folder, what, ending in FOLDERS:
        if any(name.startswith(folder) for name in names):
            # The first entry of an OpenDocument file says in plain letters which it is.
            return ("an OpenDocument spreadsheet", ".ods") if b"opendocument.spreadsheet" in data[:200] else (what, ending)
    return "a ZIP archive", ""


def encrypted(name: str) -> Unreadable:
    """A password would be needed."""
    return Unreadable(f"{name} is encrypted.", "Save a copy without a password, and add that.")


def sealed(data: bytes) -> bool:
    """Whether it is a container of the old Office around an encrypted file of the new one."""
    return data.startswith(OLE) and "EncryptedPackage".encode("utf-16-le") in data


def old_office(name: str, data: bytes) -> Unreadable:
    """A container of the old Office. The names in its directory tell what it holds."""
    if sealed(data):
        return encrypted(name)
    for stream, ending, remedy in OLD:
        if stream.encode("utf-16-le") in data:
            return Unreadable(f"{name} is in the old {ending} format.", remedy)
    return Unreadable(f"{name} is encrypted, or in an old Office format.", "Save it in the new format without a password, and add that.")


def too_much(name: str, what: str) -> Unreadable:
    """It unpacks or grows to more than a document holds."""
    return Unreadable(f"{name} {what}.", "Split it into parts, or leave out what is not text.")


def memory(name: str) -> Unreadable:
    """Reading it took more memory than a document may take, or went too deep."""
    return Unreadable(f"{name} needs too much memory to read: it is too large or too deeply nested.", "Split it into parts.")


def deep(name: str) -> Unreadable:
    """Its parts stand within one another, further than a reader follows."""
    return Unreadable(f"{name} is too deeply nested to read.", "Save it in a simpler format, or split it into parts.")


def late(name: str, seconds: float) -> Unreadable:
    """It took longer than a document may take."""
    return Unreadable(f"{name} took longer than {seconds:g} s to read.", "Split it, or save it in a simpler format.")
