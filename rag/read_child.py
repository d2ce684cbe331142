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
from rag.document import MAX_CHARACTERS, Document
from rag.kinds import kind_of

Parser = Callable[[bytes, str, str], Document]


def parser_of(kind: str) -> Parser:
    """The parser of a kind; its libraries are imported only now."""
    from rag import parse, parse_binary, parse_plain

    parsers: dict[str, Parser] = {
        "md": parse.parse_markdown,
        "txt": parse.parse_text,
        "html": parse.parse_html,
        "code": parse.parse_code,
        "pdf": parse_binary.parse_pdf,
        "docx": parse_binary.parse_docx,
        "csv": parse_plain.parse_csv,
        "eml": parse_plain.parse_eml,
    }
    return parsers[kind]


def read_file(path: Path, name: str) -> Document:
    """Read and parse. Raises Unreadable with a sentence for each way a file can be unfit."""
    kind = kind_of(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{name} cannot be opened ({type(error).__name__}).", "Check that it exists and that you may read it.") from None
    if not data.strip():
        raise Unreadable(f"{name} is empty.", "Add a file with text in it.")
    document = parser_of(kind)(data, name, PurePath(name).stem)
    if len(document.text) > MAX_CHARACTERS:
        raise Unreadable(f"{name} holds more than {MAX_CHARACTERS // 1_000_000} million characters.", "Split it into parts.")
    return document


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
    """One request to one answer: a document, or the two sentences of what is wrong."""
    request = json.loads(line)
    name = request["name"]
    try:
        return json.dumps({"document": read_file(Path(request["path"]), name).to_json()}).encode()
    except Unreadable as error:
        return json.dumps({"what": error.what, "remedy": error.remedy}).encode()
    except (MemoryError, RecursionError):
        sentence = {"what": f"{name} is too large or too deeply nested to read.", "remedy": "Split it into parts."}
        return json.dumps(sentence).encode()


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
