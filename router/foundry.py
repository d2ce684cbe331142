"""Foundry Local in this process: load, count, queue, and a transport through which an OpenAI client speaks to it.

The only file that knows foundry_local_sdk. Knows folders and names, not the catalog's entries, roles or prompts.

A request runs on a thread of its own, for the native call blocks; it ends by itself or by `_Run.stop`. The native runtime
cannot be interrupted while it reads a prompt (about 1 s for 700 tokens of the starter on 2 cores): whoever stops is let go
at once, but the model's place stays taken until that prompt is read.

Three native libraries send telemetry. ORT_DISABLE_TELEMETRY silences onnxruntime and onnxruntime-genai, which read it at
various moments, so it stays set; Foundry's own "ProcessInfo" is held back only under CI, read once, in initialize().
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from base.errors import BackendError, FetchError, Refused, Unfit, Unreachable
from base.progress import Progress
from router.inprocess import Transport, Weights, closing, environment, plain
from router.queues import Line

__all__ = ["Foundry", "PublicModel", "Weights"]

DEFAULT_TOKENS = 512
"""Output of a request that names no bound; the runtime would reserve the whole context and refuse."""
LEAST_TOKENS = 16
"""A prompt that leaves less room than this for the answer does not fit."""
FIELDS = ("messages", "temperature", "top_p", "top_k", "seed", "stop", "tools", "tool_choice")
"""What the runtime understands of a request. It refuses penalties, so all the rest is dropped."""


@dataclass(frozen=True, slots=True)
class PublicModel:
    """A model that the public catalog offers. `megabytes` is 0 when it does not say."""

    alias: str
    megabytes: int
    cached: bool


@dataclass(slots=True)
class _State:
    """All that must outlive a reload of this module; it hangs on the SDK's manager, which reloads never touch."""

    manager: Any
    models: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)
    unreachable: bool = False


_starting = threading.Lock()


def _failures() -> tuple[type[Exception], ...]:
    """What a native call may raise."""
    return (_sdk().FoundryLocalException, RuntimeError, OSError, ValueError)


def _sdk() -> Any:
    """The SDK, imported late: its native libraries must find telemetry forbidden."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import foundry_local_sdk

    return foundry_local_sdk


def _state(home: Path) -> _State:
    """The process's one state; started in `home / "foundry"` by whoever comes first (~0.05 s)."""
    sdk, folder = _sdk(), home / "foundry"
    with _starting:
        if sdk.FoundryLocalManager.instance is None:
            folder.mkdir(parents=True, exist_ok=True)
            places = {"app_data_dir": folder, "model_cache_dir": folder / "models", "logs_dir": folder / "logs"}
            with environment(CI="true", XDG_CACHE_HOME=str(folder / "cache")):
                settings = {name: str(path) for name, path in places.items()}
                config = sdk.Configuration(app_name="relay", log_level=sdk.LogLevel.FATAL, disable_nonessential_telemetry=True, **settings)
                sdk.FoundryLocalManager.initialize(config)
        manager = sdk.FoundryLocalManager.instance
        if not hasattr(manager, "relay"):
            manager.relay = _State(manager)
        state: _State = manager.relay
        return state


class Foundry:
    """The runtime. One per process, however many of these objects there are."""

    def __init__(self, state: _State) -> None:
        self._state = state

    @staticmethod
    def shared(home: Path) -> Foundry:
        """The process's runtime. Raises Unreachable when the native library does not start."""
        try:
            failures: tuple[type[Exception], ...] = (ImportError, OSError)
            failures += _failures()
            return Foundry(_state(home))
        except failures as error:
            raise Unreachable(f"Foundry Local does not start: {plain(error)}.", "Run `relay doctor`.") from None

    def loaded(self) -> tuple[str, ...]:
        """Names of the models in memory."""
        return tuple(self._state.models)

    async def load(self, weights: Weights) -> None:
        """Bring a model into memory; callers at the same time share one load. Raises Unreachable."""
        self._line(weights)
        if weights.name not in self._state.models:
            await asyncio.to_thread(self._load, weights)

    def _load(self, weights: Weights) -> None:
        with self._state.locks.setdefault(weights.name, threading.Lock()):
            if weights.name in self._state.models:
                return
            try:
                model = _registered(self._state.manager, weights)
                model.load()
            except _failures() as error:
                what = f"{weights.name} cannot be loaded from {weights.folder.name}: {plain(error)}."
                raise Unreachable(what, "Run `relay models` to prepare it again.") from None
            self._state.models[weights.name] = model

    async def unload(self, name: str) -> None:
        """Let go of a model's memory; nothing happens if it is not loaded. Waits for the requests that run."""
        if (model := self._state.models.pop(name, None)) is not None:
            await asyncio.to_thread(_unload, model, self._state.lines[name])

    async def warm(self, weights: Weights) -> None:
        """Load, and spend the first request's extra time now."""
        await self.load(weights)
        run = await self._start(weights.name, {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 1})
        async for _ in run.chunks():
            pass

    async def tokens(self, name: str, messages: list[dict[str, str]]) -> int:
        """Exact prompt tokens, by the model's own tokenizer and template (~1 ms). Raises Refused for an unknown name."""
        return await asyncio.to_thread(_count, self._model(name), messages)

    def transport(self) -> httpx2.AsyncBaseTransport:
        """Answers an OpenAI client from the models loaded here."""
        return Transport(self.loaded, self._start)

    async def public_models(self) -> tuple[PublicModel, ...]:
        """What the public catalog offers. Empty and remembered (`unreachable`) when it cannot be asked; ~4 s then."""
        found: list[Any] = await asyncio.to_thread(self._state.manager.catalog.list_models)
        self._state.unreachable = not found
        return tuple(PublicModel(model.alias, model.info.file_size_mb or 0, bool(model.is_cached)) for model in found)

    @property
    def unreachable(self) -> bool:
        """Whether the public catalog did not answer when it was last asked."""
        return self._state.unreachable

    async def download(self, aliases: Sequence[str], progress: Progress, cancel: threading.Event) -> Path:
        """Fetch the first of `aliases` that the public catalog has; its folder. Raises FetchError."""
        return await asyncio.to_thread(self._download, aliases, progress, cancel)

    def _download(self, aliases: Sequence[str], progress: Progress, cancel: threading.Event) -> Path:
        try:
            models = ((alias, self._state.manager.catalog.get_model(alias)) for alias in aliases)
            alias, model = next(((alias, model) for alias, model in models if model is not None), ("", None))
            if model is None:
                remedy = "Check the connection, or give the model's folder as `path:` in the catalog."
                raise FetchError(f"The public catalog offers none of {', '.join(aliases)}, or cannot be reached.", remedy)
            model.download(lambda percent: progress(f"downloading {alias}", percent / 100), cancel)
            return Path(model.get_path())
        except _failures() as error:
            what = "The download was cancelled." if cancel.is_set() else f"The download failed: {plain(error)}."
            raise FetchError(what, "Start it again; what has arrived is kept.") from None

    def _line(self, weights: Weights) -> Line:
        line = self._state.lines.setdefault(weights.name, Line(weights.name, weights.concurrent, weights.waiting))
        line.concurrent, line.room = weights.concurrent, weights.waiting  # a reloaded catalog may say otherwise
        return line

    def _model(self, name: str) -> Any:
        if (model := self._state.models.get(name)) is None:
            raise Refused(f"No model named '{name}' is loaded.", "Load it first.")
        return model

    async def _start(self, name: str, body: dict[str, Any]) -> _Run:
        """Wait for a place and begin. Raises Refused, Busy."""
        self._model(name)
        line = self._state.lines[name]
        await line.enter()
        with contextlib.ExitStack() as undo:
            undo.callback(line.leave)
            run = _Run(self._model(name), name, body, line.leave)
            undo.pop_all()
        return run


def _unload(model: Any, line: Line) -> None:
    while line.running:
        time.sleep(0.02)
    model.unload()


def _registered(manager: Any, weights: Weights) -> Any:
    """The model in the runtime's local list, which persists: looked up first, renewed if the folder moved or was rebuilt."""
    sdk = _sdk()
    catalog = manager.get_catalog(sdk.CatalogType.LOCAL)
    identity = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', weights.name)}-generic-cpu:1"
    config = json.loads((weights.folder / "genai_config.json").read_text(encoding="utf-8"))
    if (model := catalog.get_model_variant(identity)) is not None:
        same = model.context_length == config["model"]["context_length"]
        if same and Path(model.get_path()).resolve() == weights.folder.resolve():
            return model
        catalog.unregister_model(identity)
    with sdk.ModelInfoBuilder() as facts:
        facts.set_string_property("task", "chat-completion")
        return catalog.register_model(str(weights.folder.resolve()), identity, facts)


@contextlib.contextmanager
def _request(body: dict[str, Any]) -> Iterator[Any]:
    sdk = _sdk()
    with sdk.Request() as request:
        request.add_item(sdk.TextItem(json.dumps(body), sdk.TextItemType.OPENAI_JSON))
        yield request


def _count(model: Any, messages: list[dict[str, str]]) -> int:
    try:
        with _sdk().ChatSession(model) as session, _request({"model": "x", "messages": messages, "max_tokens": 1}) as request:
            return int(session.preflight_request(request).prompt_tokens)
    except _failures() as error:
        raise Unfit(f"This text cannot be counted: {plain(error)}.", "Send it in other words.") from None


class _Run:
    """One request on its own thread. Chunks arrive on the loop that began it; `stop` may be called from anywhere."""

    def __init__(self, model: Any, name: str, body: dict[str, Any], done: Callable[[], None]) -> None:
        self._model, self._name, self._done = model, name, done
        self._body = {key: body[key] for key in FIELDS if body.get(key) is not None} | {"model": name}
        self._wanted = int(body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_TOKENS)
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[dict[str, Any] | BackendError | None] = asyncio.Queue()
        self._request: Any = None
        self._guard = threading.Lock()
        self._stopped, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._work, name=f"foundry {name}", daemon=True).start()

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """OpenAI chunks as they come, the last with usage. Raises BackendError."""
        while (item := await self._arrived.get()) is not None:
            if isinstance(item, BackendError):
                raise item
            yield item

    def stop(self) -> None:
        """End it and return at once; the place is free when the native call has ended."""
        if not self._stopped.is_set() and not self._ended.is_set():
            self._stopped.set()
            threading.Thread(target=self._reap, daemon=True).start()

    def _reap(self) -> None:
        # Cancelling does nothing before the native call has begun, hence again and again.
        while not self._ended.wait(0.01):
            with self._guard, contextlib.suppress(*_failures()):
                if self._request is not None:
                    self._request.cancel()

    def _put(self, item: dict[str, Any] | BackendError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)

    def _work(self) -> None:
        try:
            self._converse()
        except BackendError as error:
            self._put(error)
        except _failures() as error:
            self._put(BackendError(f"{self._name} stopped: {plain(error)}.", "Ask again, or pick another model."))
        finally:
            self._ended.set()
            self._done()
            self._put(None)

    def _converse(self) -> None:
        with _sdk().ChatSession(self._model) as session:
            self._body["max_tokens"] = self._room(session)
            session.set_streaming(True)
            with _request(self._body) as request:
                self._request = request
                try:
                    self._stream(session, request)
                finally:
                    with self._guard:
                        self._request = None

    def _room(self, session: Any) -> int:
        """The output bound that fits; raises Refused with the numbers when the prompt leaves no room."""
        with _request(self._body | {"max_tokens": 1}) as request:
            budget = session.preflight_request(request)
        left = budget.context_limit_tokens - budget.prompt_tokens
        if left < min(self._wanted, LEAST_TOKENS):
            what = f"The prompt has {budget.prompt_tokens} tokens, and {self._name} takes {budget.context_limit_tokens} with the answer."
            raise Refused(what, "Shorten the message, or start a new chat.")
        return min(self._wanted, int(left))

    def _stream(self, session: Any, request: Any) -> None:
        if self._stopped.is_set():
            return
        chunk: dict[str, Any] = {}
        with session.process_streaming_request(request) as stream:
            for item in stream:
                chunk = json.loads(item.text)
                self._put(chunk)
            with stream.final_response as final:
                usage = final.get_usage()
                reason = "length" if int(final.finish_reason) == 3 else "stop"
        for last in closing(chunk, reason, usage):
            self._put(last)
