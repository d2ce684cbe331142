"""One process owns the library; this is how another of the same user hands it work over the loopback.

The owner writes owner.json (address, token, process) into the library folder, readable by the user alone, and serves an
ASGI app. Knows the library's methods and their values, and no more of HTTP than it needs: one POST, JSON lines back.

Whoever holds the token is the operating system's user to whom the library's files belong, and so may name any scopes: this
is no way in for the people of the chat, whose scopes the page works out on the server (agents.access).
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2

from base.errors import KnowledgeError, LibraryInUse, RelayError
from base.files import write_atomic
from base.progress import Progress, silent
from base.settings import Settings
from rag.library import Embeds, FolderInfo, Library, Report
from rag.manifest import DocumentInfo
from rag.retrieve import Found, Passage
from rag.sync import full_path

NOTE = "owner.json"
MOST_BYTES = 1_000_000
PATIENCE = 5.0
"""Seconds to wait for a library that a short command holds, or whose owner is starting."""
NAMES = "documents document_text folders forget_folder ingest likeness neighbours opening passage"
MORE = "ping rebuild remove remove_scope search sync watch"
METHODS = frozenset(f"{NAMES} {MORE}".split())


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def announce(library: Library, url: str) -> None:
    """Tell other processes of the user where this one serves its library; the note goes when the library is closed."""
    note = library.settings.library / NOTE
    # On a full disk the chat goes on; other processes are refused until it is opened anew.
    with suppress(OSError):
        write_atomic(note, json.dumps({"url": url, "token": library.token, "pid": os.getpid()}), private=True)

    def withdraw() -> None:
        # A later opener of the same process may have written its own.
        if _note(library.settings.library).get("token") == library.token:
            note.unlink(missing_ok=True)

    library.at_close.append(withdraw)


def serve(library: Library) -> ASGIApp:
    """The ASGI app to mount under the announced address."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given, f"Bearer {library.token}".encode()):
            await _plain(send, 401, {"what": "The token is missing or wrong.", "remedy": ""})
        elif scope["method"] != "POST":
            await _plain(send, 405, {"what": "Only POST is served here.", "remedy": ""})
        elif (body := await _body(receive)) is None:
            await _plain(send, 413, {"what": "The request is too large.", "remedy": ""})
        else:
            await _answer(library, body, receive, send)

    return app


async def _body(receive: Receive) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BYTES:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body


async def _plain(send: Send, status: int, content: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def _answer(library: Library, body: bytes, receive: Receive, send: Send) -> None:
    """Run the call and stream its lines; when the asker goes away, the call is cancelled."""
    call = _call(library, body)
    if call is None:
        return await _plain(send, 400, {"what": "The request is not understood.", "remedy": "Use the same version of Relay for both."})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})

    async def stream() -> None:
        async for line in _lines(call):
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    tasks = {asyncio.create_task(stream()), asyncio.create_task(gone())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    return None


def _call(library: Library, body: bytes) -> Callable[[Progress], Awaitable[Any]] | None:
    """The library's method with its arguments, waiting for a progress; None for what it does not have."""
    try:
        request = json.loads(body)
        name, arguments = str(request["call"]), dict(request["arguments"])
        if name not in METHODS:
            return None
        if name == "ping":
            return _ping
        method = getattr(library, name)
        inspect.signature(method).bind(**arguments)
        if name == "ingest":
            arguments["paths"] = [Path(path) for path in arguments["paths"]]
    except (ValueError, KeyError, TypeError):
        return None
    if name in ("ingest", "sync"):
        return lambda progress: method(**arguments, progress=progress)
    return lambda _progress: method(**arguments)


async def _ping(_progress: Progress) -> int:
    return os.getpid()


async def _lines(call: Callable[[Progress], Awaitable[Any]]) -> AsyncIterator[bytes]:
    """Progress as it comes, then the result or the error, each a line of JSON."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run() -> None:
        try:
            result = await call(lambda label, fraction=None: queue.put_nowait({"progress": [label, fraction]}))
            queue.put_nowait({"result": result})
        except RelayError as error:
            queue.put_nowait({"error": [error.what, error.remedy]})

    task = asyncio.create_task(run())
    task.add_done_callback(lambda _: queue.put_nowait({}))
    try:
        while line := await queue.get():
            yield json.dumps(line, default=asdict).encode() + b"\n"
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


class RemoteLibrary:
    """The library of another process of the same user. The methods of Library that callers use."""

    def __init__(self, settings: Settings, url: str, token: str) -> None:
        self.settings = settings
        self._url = url
        # Proxy settings of the environment must not see the token.
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=httpx2.Timeout(300, connect=3), trust_env=False
        )

    async def _ask(self, name: str, progress: Progress = silent, **arguments: Any) -> Any:
        try:
            async with self._client.stream("POST", self._url, json={"call": name, "arguments": arguments}) as response:
                if response.status_code != 200:
                    raise KnowledgeError(
                        f"The Relay that owns the library refused (HTTP {response.status_code}).", "Restart it, and try again."
                    )
                async for text in response.aiter_lines():
                    line = json.loads(text)
                    if "progress" in line:
                        progress(*line["progress"])
                    elif "error" in line:
                        raise KnowledgeError(*line["error"])
                    elif "result" in line:
                        return line["result"]
        except (httpx2.HTTPError, ValueError) as error:
            raise KnowledgeError("The Relay that owns the library does not answer.", "Restart it, or end it and try again.") from error
        raise KnowledgeError("The Relay that owns the library broke off.", "Try again; what was taken in stays.")

    async def ingest(
        self,
        paths: Sequence[Path],
        scope: str = "shared",
        progress: Progress = silent,
        names: Sequence[str] | None = None,
        delete: bool = True,
        full: bool = False,
        watched: bool | None = None,
    ) -> Report:
        """See Library.ingest; the owner reads the files itself."""
        more = {"names": list(names) if names else None, "delete": delete, "full": full, "watched": watched}
        return Report.from_json(await self._ask("ingest", progress, paths=list(map(full_path, paths)), scope=scope, **more))

    async def folders(self, scope: str | None = None) -> tuple[FolderInfo, ...]:
        """See Library.folders."""
        return tuple(map(FolderInfo.from_json, await self._ask("folders", scope=scope)))

    async def sync(self, path: str | Path, scope: str, progress: Progress = silent, delete: bool = True, full: bool = False) -> Report:
        """See Library.sync."""
        return Report.from_json(await self._ask("sync", progress, path=full_path(path), scope=scope, delete=delete, full=full))

    async def watch(self, path: str | Path, scope: str, on: bool) -> None:
        """See Library.watch."""
        await self._ask("watch", path=full_path(path), scope=scope, on=on)

    async def forget_folder(self, path: str | Path, scope: str, documents: bool = True) -> None:
        """See Library.forget_folder."""
        await self._ask("forget_folder", path=full_path(path), scope=scope, documents=documents)

    async def search(self, query: str, scopes: Sequence[str], floor: float, limit: int = 20) -> Found:
        """See Library.search."""
        return Found.from_json(await self._ask("search", query=query, scopes=list(scopes), floor=floor, limit=limit))

    async def likeness(self, texts: Sequence[str], ids: Sequence[str], scopes: Sequence[str]) -> list[list[tuple[float, int]]]:
        """See Library.likeness."""
        rows = await self._ask("likeness", texts=list(texts), ids=list(ids), scopes=list(scopes))
        return [[(float(cosine), int(number)) for cosine, number in row] for row in rows]

    async def documents(self, scope: str | Sequence[str] | None = None) -> tuple[DocumentInfo, ...]:
        """See Library.documents."""
        scope = scope if isinstance(scope, str | None) else list(scope)
        return tuple(DocumentInfo(**info) for info in await self._ask("documents", scope=scope))

    async def document_text(self, document_id: str, scopes: Sequence[str]) -> str:
        """See Library.document_text."""
        return str(await self._ask("document_text", document_id=document_id, scopes=list(scopes)))

    async def passage(self, id: str, scopes: Sequence[str]) -> Passage:
        """See Library.passage."""
        return Passage.from_json(await self._ask("passage", id=id, scopes=list(scopes)))

    async def neighbours(self, id: str, scopes: Sequence[str], around: int = 1) -> tuple[Passage, ...]:
        """See Library.neighbours."""
        return tuple(map(Passage.from_json, await self._ask("neighbours", id=id, scopes=list(scopes), around=around)))

    async def opening(self, documents: Sequence[str], limit: int, scopes: Sequence[str]) -> tuple[Passage, ...]:
        """See Library.opening."""
        return tuple(map(Passage.from_json, await self._ask("opening", documents=list(documents), limit=limit, scopes=list(scopes))))

    async def remove(self, document_id: str) -> None:
        """See Library.remove."""
        await self._ask("remove", document_id=document_id)

    async def remove_scope(self, scope: str) -> None:
        """See Library.remove_scope."""
        await self._ask("remove_scope", scope=scope)

    async def rebuild(self) -> None:
        """See Library.rebuild."""
        await self._ask("rebuild")

    async def ping(self) -> int:
        """The owner's process id. Raises KnowledgeError when nobody answers."""
        return int(await self._ask("ping"))

    async def close(self) -> None:
        """Close the connection; the owner keeps the library."""
        await self._client.aclose()


async def open_library(settings: Settings, embedder_factory: Callable[[], Embeds], patience: float = PATIENCE) -> Library | RemoteLibrary:
    """The library itself, or when another process owns it and answers, that one's. Raises LibraryInUse otherwise, after a
    while: a short command may hold it, or its owner may be starting."""
    embedder = await asyncio.to_thread(embedder_factory)
    end = time.monotonic() + patience
    while True:
        try:
            return await Library.open(settings, embedder)
        except LibraryInUse as error:
            owner = await _owner(settings, error, patience)
        if isinstance(owner, RemoteLibrary):
            return owner
        if time.monotonic() >= end:
            raise owner
        await asyncio.sleep(0.1)


async def _owner(settings: Settings, refused: LibraryInUse, patience: float) -> RemoteLibrary | LibraryInUse:
    """The library of the process that owns it, or why there is none."""
    note = await asyncio.to_thread(_note, settings.library)
    if not {"url", "token"} <= note.keys():
        return refused
    remote = RemoteLibrary(settings, str(note["url"]), str(note["token"]))
    try:
        await asyncio.wait_for(remote.ping(), patience)
    except (KnowledgeError, TimeoutError):
        await remote.close()
        return LibraryInUse(
            f"Another Relay process (number {note.get('pid')}) owns this library and does not answer.",
            "Wait a moment if it is starting; else end it and try again.",
        )
    return remote


def _note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
