"""Which files Relay reads, by the ending of their name. Knows no format's inside."""

from __future__ import annotations

from pathlib import PurePath

from base.errors import Unreadable

KINDS: dict[str, str] = {
    **dict.fromkeys((".md", ".markdown", ".mdx"), "md"),
    **dict.fromkeys((".txt", ".text", ".log", ".rst"), "txt"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    ".pdf": "pdf",
    ".docx": "docx",
    **dict.fromkeys((".pptx", ".pptm"), "pptx"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "xlsx"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    ".eml": "eml",
    **dict.fromkeys(
        (".py", ".pyi", ".js", ".jsx", ".mjs", ".ts", ".tsx", ".java", ".kt", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs"),
        "code",
    ),
    **dict.fromkeys((".rb", ".php", ".swift", ".scala", ".sh", ".bash", ".ps1", ".sql", ".lua", ".r", ".jl"), "code"),
    **dict.fromkeys((".css", ".json", ".yaml", ".yml", ".toml", ".ini", ".xml", ".tf"), "code"),
}


OLD = {".doc": ".docx", ".dot": ".docx", ".ppt": ".pptx", ".pps": ".pptx", ".xlsb": ".xlsx"}
"""Endings of the old Office, and the ending to save under. They are refused by their name, as every kind without a reader."""


def readable(name: str) -> bool:
    """Whether Relay has a reader for a file of this name."""
    return PurePath(name).suffix.lower() in KINDS


def kind_of(name: str) -> str:
    """md, txt, html, pdf, docx, pptx, xlsx, csv, eml or code. Raises Unreadable for any other."""
    suffix = PurePath(name).suffix.lower()
    if suffix in OLD:
        raise Unreadable(f"{name} is in the old {suffix} format.", f"Save it as {OLD[suffix]}, and add that.")
    if suffix not in KINDS:
        known = "It reads md, txt, html, pdf, docx, pptx, xlsx, xls, ods, csv, eml and source code."
        raise Unreadable(f"{name} is of a kind that Relay does not read.", known)
    return KINDS[suffix]
