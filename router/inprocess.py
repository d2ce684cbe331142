"""OpenAI's protocol for a model in this process. Knows no runtime: foundry.py brings the runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2

from base.errors import BackendError, Busy, Refused


@dataclass(frozen=True, slots=True)
class Weights:
    """What the runtime needs to know of a model. `folder` holds genai_config.json; `name` is the request's `model`."""

    name: str
    folder: Path
    concurrent: int = 1
    waiting: int = 8


class Run(Protocol):
    """One request under way."""

    def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """OpenAI chunks as they come, the last with usage. Raises BackendError."""

    def stop(self) -> None:
        """End it and return at once."""


class Transport(httpx2.AsyncBaseTransport):
    """POST …/chat/completions and GET …/models, without a network."""

    def __init__(self, loaded: Callable[[], tuple[str, ...]], start: Callable[[str, dict[str, Any]], Awaitable[Run]]) -> None:
        self._loaded, self._start = loaded, start

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        route = (request.method, request.url.path.rstrip("/").rpartition("/v1")[2])
        if route == ("GET", "/models"):
            data = [{"id": name, "object": "model", "created": 0, "owned_by": "foundry"} for name in self._loaded()]
            return httpx2.Response(200, json={"object": "list", "data": data})
        if route != ("POST", "/chat/completions"):
            return _error(404, "Only /chat/completions and /models are answered here.", "not_found")
        try:
            body: dict[str, Any] = json.loads(await request.aread())
            return await self._complete(body)
        except Busy as error:
            return _error(429, str(error), "busy")
        except Refused as error:
            known = body.get("model") in self._loaded()
            return _error(400, str(error), "context_length_exceeded") if known else _error(404, str(error), "model_not_found")
        except BackendError as error:
            return _error(500, str(error), "backend_error")
        except (ValueError, TypeError) as error:
            return _error(400, f"The request cannot be read: {error}.", "invalid_request")

    async def _complete(self, body: dict[str, Any]) -> httpx2.Response:
        run = await self._start(str(body.get("model")), body)
        chunks = run.chunks()
        with contextlib.ExitStack() as undo:
            undo.callback(run.stop)
            # The first chunk comes with the first token: an error before it still gets its HTTP status.
            first = await anext(chunks)
            if not body.get("stream"):
                return httpx2.Response(200, json=_whole([first, *[chunk async for chunk in chunks]]))
            undo.pop_all()
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Events(run, first, chunks, usage))


class _Events(httpx2.AsyncByteStream):
    """Server-sent events of one run; closing it ends the run."""

    def __init__(self, run: Run, first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], usage: bool) -> None:
        self._run, self._first, self._rest, self._usage = run, first, rest, usage

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield _event(self._first)
            async for chunk in self._rest:
                if chunk["choices"] or self._usage:
                    yield _event(chunk)
        except BackendError as error:
            yield _event({"error": {"message": str(error), "type": "backend_error", "code": "cut_short"}})
        yield b"data: [DONE]\n\n"

    async def aclose(self) -> None:
        self._run.stop()


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _error(status: int, message: str, code: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"message": message, "type": "invalid_request_error", "code": code}})


def _whole(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chat.completion that a list of chunks amounts to."""
    *spoken, last = chunks
    deltas = [chunk["choices"][0]["delta"] for chunk in spoken]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(delta.get("content") or "" for delta in deltas)}
    if calls := [call for delta in deltas for call in delta.get("tool_calls") or ()]:
        message["tool_calls"] = calls
    reason = next(reason for chunk in reversed(spoken) if (reason := chunk["choices"][0].get("finish_reason")))
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return last | {"object": "chat.completion", "choices": [choice]}


def closing(chunk: dict[str, Any], reason: str, usage: Any) -> list[dict[str, Any]]:
    """What follows a run's last chunk: a finish reason if it has none, and the usage, which the runtime does not stream."""
    ended = chunk.get("choices") and chunk["choices"][0].get("finish_reason")
    finish = [] if ended else [chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}]
    counted = {name: getattr(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return [*finish, chunk | {"choices": [], "usage": counted}]


def plain(error: Exception) -> str:
    """The last words of a native message, without the source file and signature before them."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"^\S+\.cc:\d+ .*?\)\s+(?=[\w'])", "", line)[:200].rstrip(".")


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """These variables for a moment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
