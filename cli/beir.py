"""Labelled data in BEIR layout, and a temporary library made of it by the product's own ingest. Knows no measure.

DIR holds corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and qrels/test.tsv (query-id, corpus-id, score).
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.setup import prepare_chosen
from base.errors import KnowledgeError, SetupError
from base.progress import Progress
from base.settings import Settings
from rag import embed
from rag.library import Library, Report

SCOPE = "shared"
EVERYTHING = -1.0
"""A floor that no question is under."""
REMEDY = "DIR needs corpus.jsonl, queries.jsonl and qrels/test.tsv, as BEIR lays them out."


@dataclass(frozen=True, slots=True)
class Labelled:
    """Documents, the queries that are judged, and which documents are relevant to each."""

    corpus: Mapping[str, Mapping[str, str]]
    queries: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Shelf:
    """The open temporary library, the corpus id of each of its documents, and how its ingest went."""

    library: Library
    ids: Mapping[str, str]
    report: Report
    seconds: float


def load(folder: Path) -> Labelled:
    """Read DIR; queries without a relevant document are left out. Raises KnowledgeError that names the file and line."""
    corpus = {str(row["_id"]): row for row in rows(folder / "corpus.jsonl", "_id", "text")}
    texts = {str(row["_id"]): str(row["text"]) for row in rows(folder / "queries.jsonl", "_id", "text")}
    judged: dict[str, dict[str, int]] = {}
    for query, document, score in _judgements(folder / "qrels" / "test.tsv"):
        if query in texts and score > 0:
            judged.setdefault(query, {})[document] = score
    if not corpus or not judged:
        raise KnowledgeError(f"{folder.name} holds no judged query.", REMEDY)
    return Labelled(corpus, {query: texts[query] for query in judged}, judged)


def rows(file: Path, *keys: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON lines file; each must have `keys`."""
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            missing = [key for key in keys if key not in row]
        except (ValueError, TypeError):
            row, missing = {}, list(keys)
        if missing:
            raise KnowledgeError(f"{file.name}, line {number}: no JSON object with {', '.join(missing)}.", REMEDY)
        yield row


def _judgements(file: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in enumerate(_lines(file), 1):
        fields = line.rstrip("\n").split("\t")
        if number == 1 and fields[-1:] == ["score"]:
            continue
        if len(fields) != 3 or not re.fullmatch(r"-?\d+", fields[2]):
            raise KnowledgeError(f"{file.name}, line {number}: not query, document and score with tabs between.", REMEDY)
        yield fields[0], fields[1], int(fields[2])


def _lines(file: Path) -> list[str]:
    try:
        # Not splitlines(): a JSON string may hold U+2028.
        return file.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KnowledgeError(f"{file.name} cannot be read ({type(error).__name__}).", REMEDY) from None


@asynccontextmanager
async def shelf(corpus: Mapping[str, Mapping[str, str]], settings: Settings, progress: Progress) -> AsyncIterator[Shelf]:
    """The corpus in a library of its own, which goes away at the end. Documents are read, cut and stored as a user's are."""
    if embed.missing(settings.models):
        await asyncio.to_thread(embed.prepare, settings.models, progress, settings.offline)
    if failed := await prepare_chosen(settings, progress):
        raise SetupError(failed[0])
    embedder = await asyncio.to_thread(embed.serving, settings.models, settings.embedder)
    with tempfile.TemporaryDirectory(prefix="relay-eval-") as work:
        home, documents = Path(work, "home"), Path(work, "documents")
        sources = await asyncio.to_thread(write, corpus, documents)
        library = await Library.open(replace(settings, home=home, models_dir=str(settings.models), demo=False), embedder)
        try:
            began = time.perf_counter()
            report = await library.ingest([documents], SCOPE, progress)
            seconds = time.perf_counter() - began
            ids = {info.id: sources[info.source] for info in await library.documents(SCOPE)}
            yield Shelf(library, ids, report, seconds)
        finally:
            await library.close()


def write(corpus: Mapping[str, Mapping[str, str]], folder: Path) -> dict[str, str]:
    """Each document as a file; corpus ids by path. A folder each: a document without a title must not be named by a number."""
    sources: dict[str, str] = {}
    for number, (id, row) in enumerate(corpus.items()):
        file = folder.resolve() / f"{number:07}" / "document.html"
        file.parent.mkdir(parents=True)
        file.write_text(page(str(row.get("title") or ""), str(row["text"])), encoding="utf-8", errors="replace")
        sources[file.as_posix()] = id
    return sources


def page(title: str, text: str) -> str:
    """Title and text as HTML, the plainest format that can say which is which. A title alone is text too."""
    paragraphs = [part for part in (text.strip() or title).replace("\0", "").split("\n") if part.strip()]
    return f"<title>{html.escape(title)}</title><body>" + "".join(f"<p>{html.escape(part)}</p>\n" for part in paragraphs)
