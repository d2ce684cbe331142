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
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    ".eml": "eml",
    **dict.fromkeys(
        (".py", ".pyi", ".js", ".jsx", ".mjs", ".ts", ".tsx", ".java", ".kt", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs"),
        "code",
    ),
    **dict.fromkeys((".rb", ".php", ".swift", ".scala", ".sh", ".bash", ".ps1", ".sql", ".lua", ".r", ".jl"), "code"),
    **dict.fromkeys((".css", ".json", ".yaml", ".yml", ".toml", ".ini", ".xml", ".tf"), "code"),
}


def readable(name: str) -> bool:
    """Whether Relay has a reader for a file of this name."""
    return PurePath(name).suffix.lower() in KINDS


def kind_of(name: str) -> str:
    """md, txt, html, pdf, docx, csv, eml or code. Raises Unreadable for any other."""
    suffix = PurePath(name).suffix.lower()
    if suffix not in KINDS:
        raise Unreadable(f"{name} is of a kind that Relay does not read.", "It reads md, txt, html, pdf, docx, csv, eml and source code.")
    return KINDS[suffix]
