"""The child that reads files: requests as JSON lines on standard input, answers with a length in front on standard output.

Runs as `python -m rag.read_child MEGABYTES`. Knows formats and its own limits; it never opens the network or the
library, and whatever a hostile file does to it ends with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import IO

from base.errors import Unreadable
from rag.document import Document, TooLong
from rag.kinds import kind_of
from rag.unfit import deep, too_much

Parser = Callable[[bytes, str, str], Document]


def parser_of(kind: str) -> Parser:
    """The parser of a kind; its libraries are imported only now."""
    from rag import parse, parse_docx, parse_pdf, parse_plain, parse_pptx, parse_xlsx

    parsers: dict[str, Parser] = {
        "md": parse.parse_markdown,
        "txt": parse.parse_text,
        "html": parse.parse_html,
        "code": parse.parse_code,
        "pdf": parse_pdf.parse_pdf,
        "docx": parse_docx.parse_docx,
        "pptx": parse_pptx.parse_pptx,
        "xlsx": parse_xlsx.parse_xlsx,
        "csv": parse_plain.parse_csv,
        "eml": parse_plain.parse_eml,
    }
    return parsers[kind]


def read_file(path: Path, name: str, most: int) -> Document:
    """Read and parse at most `most` bytes. Raises Unreadable with a sentence for each way a file can be unfit."""
    kind = kind_of(name)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Unreadable(f"{name} cannot be opened ({type(error).__name__}).", "Check that it exists and that you may read it.") from None
    if len(data) > most:
        raise Unreadable(f"{name} grew while it was read.", "Add it again when nothing writes to it.")
    if not data.strip():
        raise Unreadable(f"{name} is empty.", "Add a file with text in it.")
    try:
        return parser_of(kind)(data, name, PurePath(name).stem)
    except TooLong as error:
        raise too_much(name, str(error)) from None


def limit_memory(megabytes: int) -> None:
    """Bound the address space where the platform can (Linux; macOS accepts and ignores it, Windows has no such call)."""
    if sys.platform != "win32":
        import resource

        try:
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        except (ValueError, OSError):
            return


def answer(line: str) -> bytes:
    """One request to one answer: a document, the two sentences of what is wrong, or that this child's memory is spent."""
    request = json.loads(line)
    try:
        return json.dumps({"document": read_file(Path(request["path"]), request["name"], request["most"]).to_json()}).encode()
    except Unreadable as error:
        return _refused(error)
    except RecursionError:
        return _refused(deep(request["name"]))
    except MemoryError:
        return b'{"spent": true}'


def _refused(error: Unreadable) -> bytes:
    return json.dumps({"what": error.what, "remedy": error.remedy}).encode()


def serve(requests: IO[str], answers: IO[bytes]) -> None:
    """Until standard input ends."""
    for line in requests:
        body = answer(line)
        answers.write(len(body).to_bytes(8, "big") + body)
        answers.flush()


if __name__ == "__main__":
    limit_memory(int(sys.argv[1]))
    # Libraries print; the answers keep standard output to themselves.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin, pipe)
