"""The knowledge page: what the library holds, why something is found, and what may be done about it.

Knows the library's values and says them in words; no Chainlit but its log. Every answer is a dict of plain values for
public/elements/RelayKnowledge.jsx, an error is its sentence. An id from the page is no right: each is looked up within the
scopes of the session's user, which the caller gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chainlit.logger import logger

from agents.access import SHARED
from agents.assistant import Assistant
from agents.grounding import SEARCHED
from base.errors import KnowledgeError, RelayError
from base.progress import Progress
from rag.kinds import KINDS
from rag.library import Library
from rag.manifest import DocumentInfo
from rag.overview import Wanted
from rag.report import Report, total
from rag.retrieve import NEAR, Passage, pack
from rag.support import best_sentence
from rag.walk import UPLOAD
from router.call import estimate
from ui import added, citations, pages, shelf
from ui.steps import count

PAGE, HITS = 50, 20
"""Documents on a page; passages of a search that are shown."""
GONE = ("This document is no longer in the library.", "Look at the list again.")


@dataclass(slots=True)
class Job:
    """Reading that takes a while; the page asks how far it is."""

    label: str
    fraction: float | None = None
    done: bool = False
    sentence: str = ""
    failed: bool = False
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Desk:
    """What one chat keeps for its knowledge page."""

    files: dict[str, Path] = field(default_factory=dict)
    """Where the documents that came with a message are, while their page is open."""
    job: Job | None = None
    click: object = None
    """The last press of the button that opened it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question of the page."""

    desk: Desk
    assistant: Assistant
    seen: tuple[str, ...]
    """The scopes in which this user may look and search."""
    payload: Mapping[str, Any]
    uploads: Mapping[str, Mapping[str, Any]]
    """Files that this session's browser has sent, by Chainlit's id."""

    @property
    def library(self) -> Library:
        """The open library; a chat always owns it."""
        assert isinstance(self.assistant.library, Library)
        return self.assistant.library

    @property
    def own(self) -> tuple[str, ...]:
        """Those in which this user may also change something; new files go into the first."""
        return shelf.changeable(self.seen)

    def file(self, document: str) -> Path | None:
        """The file of a document that has no path of its own, if it is still here."""
        return self.desk.files.get(document) or added.find(self.assistant.settings.home, document)

    def text(self, name: str) -> str:
        """A word of the payload, '' when it is none."""
        value = self.payload.get(name)
        return value[:2_000] if isinstance(value, str) else ""


async def answer(call: Call) -> dict[str, Any]:
    """What the page asked for; `error` is a sentence."""
    handler = HANDLERS.get(call.text("do"))
    try:
        if not call.seen:
            raise RelayError("Nobody is signed in here.", "Reload the page.")
        if handler is None:
            raise RelayError("The page asked for something that this Relay does not know.", "Reload the page.")
        return await handler(call)
    except RelayError as error:
        return {"error": str(error)}
    except Exception as error:
        logger.exception("The knowledge page failed")
        return {"error": f"Something in Relay broke ({type(error).__name__}). The terminal in which it runs tells more."}


async def _list(call: Call) -> dict[str, Any]:
    """Sums, collections, folders, and one page of documents."""
    scope = call.text("scope")
    scopes = (scope,) if scope in call.seen else call.seen
    offset = call.payload.get("offset")
    wanted = Wanted(
        words=tuple(call.text("filter").split()[:8]),
        problems=bool(call.payload.get("problems")),
        newest=bool(call.payload.get("newest")),
        offset=offset if isinstance(offset, int) and 0 <= offset < 10**9 else 0,
        limit=PAGE,
    )
    whole, page = await call.library.overview(call.seen), await call.library.listing(scopes, wanted)
    held = whole.collections
    return {
        "state": "ready",
        "summary": [count(sum(one.documents for one in held), "document"), count(sum(one.passages for one in held), "passage")],
        # The library's size is everybody's: it is told to whoever has it alone.
        "disk": f"{shelf.size(whole.disk)} on disk" if SHARED in call.own else "",
        "index": whole.notes or shelf.index(whole.state),
        "ok": whole.state == "ready" and not whole.notes,
        "collections": [shelf.collection(one) for one in held],
        "problems": sum(one.failed + one.no_text for one in held),
        "folders": await _folders(call),
        "documents": [shelf.document(one, one.scope in call.own, call.file(one.id) is not None) for one in page.documents],
        "total": page.total,
        "offset": wanted.offset,
        "into": shelf.name_of(call.own[0]) if call.own else "",
        "kinds": sorted(KINDS),
        "job": _progress(call.desk.job),
    }


async def _folders(call: Call) -> list[dict[str, Any]]:
    found = [one for scope in call.seen for one in await call.library.folders(scope)]
    return [
        {
            "path": one.path,
            "collection": shelf.name_of(one.scope),
            "watched": one.watched,
            "synced": one.synced or None,
            "mayRead": one.scope in call.own,
            "report": shelf.told(one.report) if one.report else "",
        }
        for one in found
    ]


async def _search(call: Call) -> dict[str, Any]:
    """Every score of a search, and what Relay would make of it."""
    query, floor = call.text("query").strip(), call.assistant.settings.floor
    if not query:
        raise RelayError("There is nothing to search for.", "Write a question or some words.")
    found = await call.library.search(query, call.seen, -1.0, SEARCHED)
    near = [one for one in found.passages if found.by_words or max(one.dense, one.sentence) >= NEAR]
    kept, _ = pack(near, call.assistant.settings.passage_tokens, estimate) if found.best >= floor else ((), 0)
    used = {one.id for one in kept}
    shown = [one for at, one in enumerate(found.passages) if at < HITS or one.id in used]
    return {
        "query": query,
        "used": bool(used),
        "verdict": shelf.verdict(found.best, floor, len(used), len(found.passages)),
        "confidence": found.best,
        "floor": floor,
        "ms": round(found.ms),
        "hits": [shelf.hit(one, query, one.id in used, found.best >= floor) for one in shown],
    }


async def _open(call: Call) -> dict[str, Any]:
    """A found passage with what stands around it."""
    passage, info = await _passage(call)
    before, after = citations.around(passage, await call.library.neighbours(passage.id, call.seen))
    quote = best_sentence(call.text("query"), passage.text)
    pdf = info.kind == "pdf" and bool(passage.page)
    facts = {"document": passage.document, "where": shelf.spot(passage), "collection": shelf.name_of(info.scope), "pdf": pdf}
    return {
        **facts,
        "before": before,
        "text": passage.text,
        "after": after,
        "quote": quote,
        "pdf": info.kind == "pdf" and bool(passage.page),
    }


async def _picture(call: Call) -> dict[str, Any]:
    passage, info = await _passage(call)
    return await pages.picture(info, passage, best_sentence(call.text("query"), passage.text), call.file(info.id))


async def _passage(call: Call) -> tuple[Passage, DocumentInfo]:
    """The passage that the payload names, within what this user may see."""
    passage = await call.library.passage(call.text("passage"), call.seen)
    info = await call.library.document(passage.document_id, call.seen)
    if info is None:
        raise KnowledgeError("This passage is no longer in the library.", "Search again: its document was changed or removed.")
    return passage, info


async def _mine(call: Call) -> DocumentInfo:
    """The document that the payload names, within what this user may change."""
    info = await call.library.document(call.text("document"), call.own)
    if info is None:
        raise KnowledgeError(*GONE)
    return info


async def _remove(call: Call) -> dict[str, Any]:
    info = await _mine(call)
    await call.library.remove(info.id)
    call.desk.files.pop(info.id, None)
    held = {one.id for one in await call.library.documents()}
    await asyncio.to_thread(added.sweep, call.assistant.settings.home, held)
    return {"sentence": f"{info.name} was deleted from the library."}


async def _again(call: Call) -> dict[str, Any]:
    """Read a document again, as its file is now."""
    info = await _mine(call)
    upload = info.source.startswith(UPLOAD)
    path = call.file(info.id) if upload else Path(info.source)
    if path is None:
        raise KnowledgeError(f"The file of {info.name} is not kept here.", "Add it again.")
    names = [info.name] if upload else None
    return _start(call.desk, f"Reading {info.name}", lambda tell: call.library.ingest([path], info.scope, tell, names, delete=False))


async def _sync(call: Call) -> dict[str, Any]:
    """Read a folder again: one that the library knows, never one that the page thought of."""
    known = [one for scope in call.own for one in await call.library.folders(scope)]
    one = next((one for one in known if one.path == call.text("path")), None)
    if one is None:
        raise KnowledgeError("This folder is not one of the library's.", "Look at the list again.")
    return _start(call.desk, f"Reading {Path(one.path).name}", lambda tell: call.library.sync(one.path, one.scope, tell))


async def _add(call: Call) -> dict[str, Any]:
    """Take in files that this browser has just sent."""
    ids = call.payload.get("files")
    files = [call.uploads[id] for id in ids if id in call.uploads] if isinstance(ids, list) else []
    if not files or not call.own:
        raise KnowledgeError("No file arrived.", "Choose it again.")
    home, scope = call.assistant.settings.home, call.own[0]

    async def work(tell: Progress) -> Report:
        reports = []
        for one in files:
            # One by one: a report does not say which file became which document.
            path, name = Path(one["path"]), str(one["name"])
            reports.append(await call.library.ingest([path], scope, tell, [name]))
            for document in reports[-1].documents:
                await asyncio.to_thread(added.keep, home, document, path)
        return total(reports)

    return _start(call.desk, f"Reading {count(len(files), 'file')}", work)


def _start(desk: Desk, label: str, work: Callable[[Progress], Awaitable[Report]]) -> dict[str, Any]:
    if desk.job and not desk.job.done:
        raise KnowledgeError(f"{desk.job.label} is not finished yet.", "Wait until it is.")
    job = desk.job = Job(label)

    def tell(label: str, fraction: float | None = None, /) -> None:
        job.label, job.fraction = label, fraction

    async def run() -> None:
        try:
            report = await work(tell)
            job.sentence, job.failed = shelf.told(report), bool(report.failed or report.no_text)
        except RelayError as error:
            job.sentence, job.failed = str(error), True
        except Exception as error:
            logger.exception("A document could not be read")
            job.sentence, job.failed = f"Something in Relay broke ({type(error).__name__}). The terminal in which it runs tells more.", True
        finally:
            job.done = True

    job.task = asyncio.create_task(run())
    return {"job": _progress(job)}


async def _job(call: Call) -> dict[str, Any]:
    return {"job": _progress(call.desk.job)}


def _progress(job: Job | None) -> dict[str, Any] | None:
    names = ("label", "fraction", "done", "sentence", "failed")
    return {name: getattr(job, name) for name in names} if job else None


HANDLERS: Mapping[str, Callable[[Call], Awaitable[dict[str, Any]]]] = {
    "list": _list,
    "search": _search,
    "open": _open,
    "picture": _picture,
    "remove": _remove,
    "again": _again,
    "sync": _sync,
    "add": _add,
    "job": _job,
}
