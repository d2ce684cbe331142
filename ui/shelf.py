"""The knowledge page's words and rows: documents, collections, found passages and reports as plain values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.access import CHAT, DEMO_SCOPE, SHARED
from agents.people import LOCAL
from rag.manifest import DocumentInfo
from rag.overview import Collection
from rag.report import Report
from rag.retrieve import NEAR, Passage
from rag.support import best_sentence
from rag.walk import UPLOAD
from rag.words import content
from ui.steps import count, place


def name_of(scope: str) -> str:
    """A collection's name for people."""
    kind, _, rest = scope.partition(":")
    names = {"shared": "Shared documents", DEMO_SCOPE: "Demo handbook", "chat": "This chat", "user": "Your documents"}
    return names.get(kind) or (f"Group {rest}" if rest else scope)


def changeable(scopes: Sequence[str]) -> tuple[str, ...]:
    """Those of the scopes that one may read in which one may also add, read again and delete.

    What several people share is kept by whoever keeps this Relay; the one person at their own machine keeps all of it.
    """
    alone = f"user:{LOCAL}" in scopes
    return tuple(scope for scope in scopes if scope.startswith(("user:", CHAT)) or (alone and scope == SHARED))


def index(state: str) -> str:
    """The indexes' state in a sentence."""
    word, _, rest = state.partition(" ")
    sentences = {
        "ready": "The index is in order.",
        "checking": "The index is being checked. Searching works meanwhile.",
        "rebuilding": f"The index is being rebuilt, {rest}. Searching works meanwhile.",
        "waiting:": f"The index cannot be written now: {rest}",
    }
    return sentences.get(word, "The index is being loaded. Searching works meanwhile.")


def collection(one: Collection) -> dict[str, Any]:
    """A collection with its sums."""
    notes = {DEMO_SCOPE: "Comes with Relay.", "chat": "Forgotten when this page is closed."}
    facts = f"{count(one.documents, 'document')}, {count(one.passages, 'passage')}, {size(one.size)}"
    return {
        "scope": one.scope,
        "name": name_of(one.scope),
        "documents": one.documents,
        "about": f"{facts}. {notes.get(one.scope.split(':')[0], '')}",
    }


def document(info: DocumentInfo, mine: bool, kept: bool) -> dict[str, Any]:
    """A document as a row of the list. `mine`: it may be changed; `kept`: its uploaded file is still here."""
    return {
        "id": info.id,
        "name": info.name,
        "title": info.title if info.title not in (info.name, Path(info.name).stem) else "",
        "kind": info.kind or Path(info.name).suffix.lstrip(".").lower(),
        "collection": name_of(info.scope),
        "facts": [count(info.passages, "passage"), size(info.size)],
        "state": info.state,
        "problem": info.error,
        "added": info.added,
        "changed": info.changed,
        "mayRemove": mine,
        "mayRead": mine and (not info.source.startswith(UPLOAD) or kept),
        "stays": not info.source.startswith(UPLOAD),
    }


def verdict(confidence: float, floor: float, used: int, found: int) -> str:
    """What Relay would do with a search, in one sentence."""
    if not found:
        return "Nothing was found: there are no documents here yet."
    asked = f"confidence {confidence:.2f}, {floor:.2f} is asked for"
    if confidence < floor:
        return f"Relay would say the documents do not tell: {asked}."
    if not used:
        return f"Relay finds this likely ({asked}), but no passage is close enough to be used."
    return f"Relay would use {'this passage' if used == 1 else f'these {used} passages'}: {asked}."


def hit(one: Passage, query: str, used: bool, sure: bool) -> dict[str, Any]:
    """A found passage with its scores, and whether it would be used. `sure`: the search as a whole is."""
    far = max(one.dense, one.sentence) < NEAR
    return {
        "id": one.id,
        "document": one.document,
        "where": spot(one),
        "quote": best_sentence(query, one.text)[:300],
        "used": used,
        "why": "" if used or not sure else ("too far from the question" if far else "no room beside the others"),
        "scores": {"score": one.score, "meaning": one.dense, "sentence": one.sentence, "words": _shared(query, one)},
    }


def _shared(query: str, one: Passage) -> str:
    """'3 of 5'. Not BM25: that weighs a word by all documents that hold it, other people's among them."""
    asked = content(query)
    return f"{len(asked & content(f'{one.place} {one.text}'))} of {len(asked)}"


def spot(one: Passage) -> str:
    """Where a passage stands in its document, whose name is said beside it."""
    return place(one).removeprefix(one.document).removeprefix(" › ")


def told(report: Report) -> str:
    """What an ingest did, in a sentence or two; of what failed the first, and how many more."""
    done = [f"{count(number, 'document')} {verb}" for verb in ("added", "changed", "moved", "deleted") if (number := getattr(report, verb))]
    parts = [f"{', '.join(done)}." if done else ("Nothing has changed." if report.unchanged else "")]
    troubles = (*report.failed, *report.no_text)
    if troubles:
        parts.append(troubles[0][1])
    if len(troubles) > 1:
        parts.append(f"{count(len(troubles) - 1, 'more file')} could not be read; the list says why.")
    return " ".join(filter(None, parts)) or "There was nothing to read."


def size(bytes_: float) -> str:
    """'340 bytes', '12 kB', '3.4 MB'."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes_ >= factor:
            value = bytes_ / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return count(int(bytes_), "byte")
