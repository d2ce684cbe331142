"""Speaking to models: one openai client per place, whether it is a server or the runtime in this process.

Knows how each place is reached and how its errors are said in Relay's own words. Knows no route and no recipe; a
Backend makes one request and streams it, `call.py` decides what happens when that fails.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx2
import openai

with suppress(ImportError):
    # The SDK looks for httpx among the loaded modules at every request, and fails when it finds half of it: the library's
    # keeper imports chromadb, and httpx with it, in a thread. So it is loaded before either begins.
    import httpx  # noqa: F401

from base.errors import BackendError, CutShort, Limited, Refused, TimedOut, Unfit, Unreachable
from router.catalog import Catalog, Entry, Place
from router.choose import ABSENT
from router.queues import Line

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Delta:
    """What a stream brings: some text, or how it ended, or the provider's own token counts."""

    text: str = ""
    finish: str = ""
    tokens: tuple[int, int] | None = None
    """Prompt and completion tokens, when the provider counted."""


@dataclass(frozen=True, slots=True)
class Params:
    """What may be set on a request."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 7
    connect_s: float = 5.0
    total_s: float = 600.0


class Runtime(Protocol):
    """What an in-process place needs of the runtime (router/foundry.py); so that this file needs no SDK."""

    def folder(self, entry: Entry) -> Any | None:
        """Where the model's weights are on this machine, or None."""

    def is_loaded(self, entry: Entry) -> bool:
        """Whether a request can start at once."""

    async def load(self, entry: Entry) -> None:
        """Bring the model into memory."""

    async def count(self, entry: Entry, messages: Messages) -> int:
        """Exact prompt tokens."""

    def transport(self) -> httpx2.AsyncBaseTransport:
        """Answers the OpenAI API."""


class Backend:
    """One place. The base class is a server somewhere; subclasses say what differs in process."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._key = os.environ.get(place.key_env, "") if place.key_env else ""
        self._names: dict[str, str] = {}
        self.client = openai.AsyncOpenAI(
            base_url=place.url or "http://nowhere.invalid/v1",
            api_key=self._key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(600.0, connect=5.0),
            http_client=self._http(),
        )

        # What the environment says of the user's OpenAI account is no other server's business.
        self.client.organization = self.client.project = None

    def _http(self) -> httpx2.AsyncClient | None:
        """A server on this machine is never asked through a proxy, which would read along."""
        return httpx2.AsyncClient(timeout=httpx2.Timeout(600.0, connect=5.0), trust_env=not self.place.local)

    def blocked(self, entry: Entry) -> str:
        """Why the model cannot be used now, known without asking anybody; '' when it can."""
        if not self.place.url:
            return f"{self.place.base_url_env or 'base_url'} is not set to an address"
        if self.place.key_env and not self._key:
            return f"the key {self.place.key_env} is not set"
        return ""

    def is_loaded(self, entry: Entry) -> bool:
        """Whether a request can start at once, as far as we know."""
        return True

    async def load(self, entry: Entry) -> None:
        """Bring the model into memory, where that is ours to do."""

    async def count(self, entry: Entry, messages: Messages) -> int | None:
        """Exact prompt tokens, or None when nobody here can know."""
        return None

    async def model_name(self, entry: Entry) -> str:
        """What the place calls the model: its deployment, else the first alias that it lists, else the first alias."""
        if deployed := self.place.deployments.get(entry.name):
            return deployed
        names = entry.aliases or (entry.name,)
        if entry.name not in self._names and (listed := await self._listed()):
            self._names[entry.name] = _first_listed(names, listed)
        return self._names.get(entry.name, names[0])

    async def _listed(self) -> tuple[str, ...]:
        """The models that the place lists; nothing when it does not say."""
        try:
            page = await self.client.models.list(timeout=3.0)
            return tuple(str(item.id) for item in page.data or ())
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError):
            return ()

    async def stream(self, entry: Entry, messages: Messages, params: Params) -> AsyncIterator[Delta]:
        """One request. Raises BackendError; a stream that ends without a finish reason is CutShort."""
        name = await self.model_name(entry)
        body: list[Any] = [dict(message) for message in messages]
        finished = False
        try:
            async with await self._ask(name, body, params) as stream:
                async for chunk in stream:
                    delta = _delta(chunk)
                    finished = finished or bool(delta.finish)
                    yield delta
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
            raise self._said(entry, error) from error
        if not finished:
            raise CutShort(f"{entry.name} stopped in the middle of its answer.", "Send the message again.")

    async def _ask(self, name: str, body: list[Any], params: Params) -> openai.AsyncStream[Any]:
        """The stream, open. A server that closed a kept connection in that very moment answered nothing, so it is asked again."""

        async def ask() -> openai.AsyncStream[Any]:
            return await self.client.chat.completions.create(
                model=name,
                messages=body,
                stream=True,
                stream_options={"include_usage": True},
                max_tokens=params.max_tokens,
                temperature=params.temperature,
                seed=params.seed,
                timeout=httpx2.Timeout(params.total_s, connect=params.connect_s),
            )

        try:
            return await ask()
        except openai.APIConnectionError as error:
            if not isinstance(error.__cause__, httpx2.RemoteProtocolError):
                raise
            return await ask()

    def _said(self, entry: Entry, error: Exception) -> BackendError:
        """The SDK's error in Relay's own words; never the key, never a whole body."""
        where = f"{entry.name} at {self.place.name}"
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
            return TimedOut(f"{where} did not answer in time.", "Try again, or choose another model.")
        if isinstance(error, openai.APIStatusError):
            return _status(where, error.status_code, _reason(error, self._key), self.place, _retry_after(error.response.headers))
        if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
            return Unreachable(f"{where} cannot be reached.", f"Is it running at {_shown(self.place.url)}?")
        return CutShort(f"{where} sent something that is not an answer ({type(error).__name__}).", "Check that it speaks the OpenAI API.")

    async def close(self) -> None:
        """Let go of the connections."""
        await self.client.close()


class InProcess(Backend):
    """The runtime in this process, spoken to through a transport."""

    def __init__(self, place: Place, runtime: Runtime) -> None:
        self._runtime = runtime
        super().__init__(Place(place.name, place.kind, base_url="http://in-process.invalid/v1"))

    def _http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=self._runtime.transport(), timeout=None)

    def blocked(self, entry: Entry) -> str:
        return "" if self._runtime.folder(entry) else ABSENT

    def is_loaded(self, entry: Entry) -> bool:
        return self._runtime.is_loaded(entry)

    async def load(self, entry: Entry) -> None:
        await self._runtime.load(entry)

    async def count(self, entry: Entry, messages: Messages) -> int | None:
        return await self._runtime.count(entry, messages)

    async def model_name(self, entry: Entry) -> str:
        return entry.name


class Scripted(Backend):
    """The fake that ships with Relay: a transport that answers from a script."""

    def __init__(self, place: Place, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport
        super().__init__(Place(place.name, "fake", base_url="http://fake.invalid/v1"))

    def _http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=self._transport)

    async def model_name(self, entry: Entry) -> str:
        return entry.name


class Backends:
    """Every place of the catalog in use, opened when first needed, and the queue of every model."""

    def __init__(self, runtime: Runtime, fake: httpx2.AsyncBaseTransport | None = None) -> None:
        self._runtime = runtime
        self._fake = fake
        self._open: dict[Place, Backend] = {}
        self._lines: dict[tuple[str, int, int], Line] = {}

    def of(self, catalog: Catalog, entry: Entry) -> Backend:
        """The place that runs the model."""
        place = catalog.place(entry)
        key = Place(place.name, place.kind, place.url, place.base_url_env, place.key_env, _Frozen(place.deployments))
        if key not in self._open:
            self._open[key] = self._make(key)
        return self._open[key]

    def _make(self, place: Place) -> Backend:
        if self._fake is not None:
            return Scripted(place, self._fake)
        if place.kind == "fake":
            from router.fake import FakeTransport, demo_script

            return Scripted(place, FakeTransport(demo_script()))
        return InProcess(place, self._runtime) if place.kind == "foundry" else Backend(place)

    def queue(self, entry: Entry) -> Line:
        """The model's queue; new limits in a reloaded catalog make a new one."""
        key = (entry.name, entry.limits.concurrent, entry.limits.waiting)
        if key not in self._lines:
            self._lines[key] = Line(*key)
        return self._lines[key]

    def blocked(self, catalog: Catalog) -> dict[str, str]:
        """Model → why it cannot be used now, for those that cannot. Asks nobody."""
        reasons = {name: self.of(catalog, entry).blocked(entry) for name, entry in catalog.models.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    async def close(self) -> None:
        """Close every client."""
        for backend in self._open.values():
            await backend.close()
        self._open.clear()


class _Frozen(dict[str, str]):
    """A mapping that can be part of a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


def _delta(chunk: Any) -> Delta:
    """One chunk; a chunk without choices may still carry the usage."""
    usage = getattr(chunk, "usage", None)
    counted = (getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None))
    tokens = (counted[0], counted[1]) if isinstance(counted[0], int) and isinstance(counted[1], int) else None
    if not chunk.choices:
        return Delta(tokens=tokens)
    choice = chunk.choices[0]
    said = getattr(choice.delta, "content", None)
    return Delta(said if isinstance(said, str) else "", str(choice.finish_reason or ""), tokens)


def _first_listed(names: Sequence[str], listed: Sequence[str]) -> str:
    """The first name that is listed, exactly or as the start of a longer id (phi-4-mini → Phi-4-mini-instruct-…)."""
    for name in names:
        for item in listed:
            if item == name or item.lower().startswith(name.lower()):
                return item
    return names[0]


def _status(where: str, status: int, reason: str, place: Place, retry_after: float) -> BackendError:
    said = f" It says: {reason.rstrip('.')}." if reason else ""
    if status in (401, 403):
        return Refused(f"{where} does not accept the key.", f"Check {place.key_env or 'its access rules'}.")
    if status == 404:
        return Refused(f"{where} does not know the model.{said}", "Check 'aliases' or 'deployments' in the catalog.")
    if status == 429:
        return Limited(f"{where} asks to slow down.", _when(retry_after), retry_after)
    if status in (400, 413, 422):
        return Unfit(f"{where} refused the request.{said}", "Shorten the conversation, or choose another model.")
    if status == 408:
        return TimedOut(f"{where} did not answer in time.", "Try again, or choose another model.", retry_after)
    return Refused(f"{where} failed with status {status}.{said}", "Try again, or choose another model.", retry_after)


def _when(retry_after: float) -> str:
    return f"Try again in {retry_after:.0f} s." if retry_after >= 1 else "Try again in a moment."


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, by Retry-After as a number or a date; 0 when it does not say so legibly."""
    said = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said)) if math.isfinite(float(said)) else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _reason(error: openai.APIStatusError, key: str) -> str:
    """The server's own sentence when it gives one in JSON: one line, short, without the key."""
    body = error.body
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return ""
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    message = body.get("message", "") if isinstance(body, Mapping) else ""
    text = " ".join(str(message).split())
    return (text.replace(key, "•••") if key else text)[:160]


def _shown(url: str) -> str:
    """An address without user, password or query."""
    parts = httpx2.URL(url)
    return f"{parts.scheme}://{parts.host}{f':{parts.port}' if parts.port else ''}"
