"""Where a model's weights are on this machine, and the runtime that runs them: the in-process place of the catalog.

Three sources: a folder of one's own (`path:`), the prepared starters, and downloads that `relay models` recorded. Never
asks the network: what is not here is simply not here.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

import httpx2

from base.files import write_atomic
from base.memory import give_back
from router import starter
from router.backends import Messages
from router.catalog import Entry
from router.foundry import Foundry, Weights


class Local:
    """Implements backends.Runtime. The native runtime starts when a model is first asked for."""

    def __init__(self, home: Path, models: Path) -> None:
        self._home, self._models = home, models
        self._started: Foundry | None = None
        self._used: dict[str, float] = {}

    @property
    def foundry(self) -> Foundry:
        """The process's one runtime."""
        self._started = self._started or Foundry.shared(self._home)
        return self._started

    def folder(self, entry: Entry) -> Path | None:
        """The ONNX folder, or None when the model is not on this machine."""
        if entry.starter and not entry.path:
            return None if entry.name in starter.missing(self._models) else starter.folder(self._models, entry.name)
        found = Path(entry.path).expanduser() if entry.path else self._downloads().get(entry.name)
        return found if found and (found / "genai_config.json").is_file() else None

    def record(self, name: str, folder: Path) -> None:
        """Remember where a download went, so that chatting never needs the public catalog."""
        known = {key: str(path) for key, path in self._downloads().items()}
        write_atomic(self._register, json.dumps({**known, name: str(folder)}, indent=1))

    def forget(self, name: str) -> bool:
        """Drop a download's record and its files; whether there was one."""
        known = self._downloads()
        folder = known.pop(name, None)
        write_atomic(self._register, json.dumps({key: str(path) for key, path in known.items()}, indent=1))
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return folder is not None

    @property
    def _register(self) -> Path:
        return self._models / "downloads.json"

    def _downloads(self) -> dict[str, Path]:
        try:
            return {str(key): Path(str(path)) for key, path in json.loads(self._register.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def is_loaded(self, entry: Entry) -> bool:
        """Whether it is in memory."""
        return self._started is not None and entry.name in self._started.loaded()

    async def load(self, entry: Entry) -> None:
        """Bring it into memory."""
        self._used[entry.name] = time.monotonic()
        await self.foundry.load(self._weights(entry))

    async def warm(self, entry: Entry) -> None:
        """Load it and let it answer once, so that the first real token is quick."""
        weights = self._weights(entry)
        await self.foundry.load(weights)
        await self.foundry.warm(weights)

    async def count(self, entry: Entry, messages: Messages) -> int:
        """Exact prompt tokens, by the runtime's preflight. Every request asks for them, so this is when a model was used."""
        self._used[entry.name] = time.monotonic()
        return await self.foundry.tokens(entry.name, [dict(message) for message in messages])

    async def rest(self, idle_s: float, keep: str) -> None:
        """Let go of models that nobody used for so long, but for `keep`; and of memory that is free anyway."""
        if self._started is None:
            return
        for name in self._started.loaded():
            if name != keep and time.monotonic() - self._used.get(name, 0.0) > idle_s:
                await self._started.unload(name)
        await asyncio.to_thread(give_back)

    def transport(self) -> httpx2.AsyncBaseTransport:
        """Answers the OpenAI API from this process."""
        return _Late(self)

    def _weights(self, entry: Entry) -> Weights:
        folder = self.folder(entry)
        assert folder is not None, f"{entry.name} was chosen though it is not on this machine"
        return Weights(entry.name, folder, entry.limits.concurrent, entry.limits.waiting)


class _Late(httpx2.AsyncBaseTransport):
    """The runtime's transport, made when the first request comes, so that opening a place starts nothing."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._made: httpx2.AsyncBaseTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._made = self._made or self._local.foundry.transport()
        return await self._made.handle_async_request(request)
