"""The scripted fake backend: an HTTP transport that answers the OpenAI API from a script, at a set pace, or fails as told.

It ships with Relay: for tests, for demos with no model, and to see the page work. It is never chosen by itself.
A script is YAML: `replies:` holds rules in order; the first whose `when` (a regular expression over the last user
message) and `model` match is used. `{text}` in `say` is the message.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx2

from base.errors import SettingsError
from base.yamls import parse_mapping, read_mapping

FAULTS = ("", "refused", "500", "429", "404", "400", "401", "silent", "cut", "html", "stall")


@dataclass(frozen=True, slots=True)
class Reply:
    """A rule: when it applies, what it says, how fast, and how it fails."""

    say: str = "You said: {text}"
    when: str = ""
    model: str = ""
    first_s: float = 0.0
    """Seconds before the first token."""
    token_s: float = 0.0
    """Seconds between tokens."""
    fail: str = ""
    """One of FAULTS; `cut` and `stall` fail after half of the text."""
    times: float = 0
    """So often it applies; then the rules after it do. 0 for always."""
    retry_after: float = 0.0
    """Seconds that a fault with a status asks to wait."""


def demo_script() -> tuple[Reply, ...]:
    """Echoes the message."""
    return (Reply(),)


def read_script(path: Path) -> tuple[Reply, ...]:
    """The rules of a script file. Raises SettingsError."""
    return _rules(read_mapping(path), path.name)


def parse_script(text: str) -> tuple[Reply, ...]:
    """Like `read_script`, from a text."""
    return _rules(parse_mapping(text, "script"), "script")


def _rules(written: dict[Any, Any], name: str) -> tuple[Reply, ...]:
    known = {item.name: str(item.type) for item in fields(Reply)}
    items = written.get("replies")
    if not isinstance(items, list) or not all(isinstance(item, dict) and set(item) <= set(known) for item in items):
        raise SettingsError(f"{name}: 'replies' should be a list of rules with {', '.join(known)}.", "Correct the script.")
    rules = tuple(_rule(item, known) for item in items)
    if bad := next((rule.fail for rule in rules if rule.fail not in FAULTS), None):
        raise SettingsError(f"{name}: '{bad}' is no fault.", f"Known: {', '.join(FAULTS[1:])}.")
    return rules


def _rule(item: dict[Any, Any], known: dict[str, str]) -> Reply:
    values: dict[str, Any] = {str(key): float(value) if known[key] == "float" else str(value) for key, value in item.items()}
    return Reply(**values)


class FakeTransport(httpx2.AsyncBaseTransport):
    """Answers POST …/chat/completions and GET …/models; remembers the requests it saw in `seen`."""

    def __init__(self, script: tuple[Reply, ...]) -> None:
        self._script = script
        self._used = [0] * len(script)
        self.seen: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request, answered by the first rule that matches."""
        if request.url.path.endswith("/models"):
            return httpx2.Response(
                200, json={"object": "list", "data": [{"id": "fake", "object": "model", "created": 0, "owned_by": "relay"}]}
            )
        body = json.loads(await request.aread())
        self.seen.append(body)
        text = next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")
        rule = self._rule(text, body["model"])
        await asyncio.sleep(rule.first_s if rule.fail != "silent" else 3_600)
        if fault := _fault(rule, request):
            return fault
        words = re.findall(r"\S+\s*|\s+", rule.say.replace("{text}", text))[: body.get("max_tokens") or None]
        if body.get("stream"):
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Stream(_events(words, rule, body)))
        message = {"role": "assistant", "content": "".join(words)}
        usage = _usage(body, len(words))
        return httpx2.Response(
            200, json=_shell(body, "chat.completion", [{"index": 0, "message": message, "finish_reason": "stop"}], usage)
        )

    def _rule(self, text: str, model: str) -> Reply:
        for at, rule in enumerate(self._script):
            if rule.times and self._used[at] >= rule.times:
                continue
            if re.search(rule.when, text, re.IGNORECASE | re.DOTALL) and re.search(rule.model, model):
                self._used[at] += 1
                return rule
        return Reply()


class _Stream(httpx2.AsyncByteStream):
    """A body that is made while it is read."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._parts:
            yield part


def _fault(rule: Reply, request: httpx2.Request) -> httpx2.Response | None:
    if rule.fail == "refused":
        raise httpx2.ConnectError("connection refused", request=request)
    if rule.fail == "html":
        return httpx2.Response(200, html="<h1>Welcome</h1>")
    if rule.fail.isdigit():
        wait = {"retry-after": f"{rule.retry_after:g}"} if rule.retry_after else {}
        return httpx2.Response(
            int(rule.fail), headers=wait, json={"error": {"message": f"scripted fault {rule.fail}", "type": "fake", "code": None}}
        )
    return None


async def _events(words: list[str], rule: Reply, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The stream as server-sent events, one token an event."""
    for index, word in enumerate(words):
        if index >= max(1, len(words) // 2) and rule.fail == "cut":
            return
        if index >= max(1, len(words) // 2) and rule.fail == "stall":
            await asyncio.sleep(3_600)
        if index and rule.token_s:
            await asyncio.sleep(rule.token_s)
        yield _event(_shell(body, "chat.completion.chunk", [{"index": 0, "delta": {"content": word}, "finish_reason": None}]))
    yield _event(_shell(body, "chat.completion.chunk", [{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(_shell(body, "chat.completion.chunk", [], _usage(body, len(words))))
    yield b"data: [DONE]\n\n"


def _event(payload: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(payload)}\n\n".encode()


def _shell(body: dict[str, Any], kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> dict[str, Any]:
    shell = {"id": "fake-1", "object": kind, "created": 0, "model": body["model"], "choices": choices}
    return {**shell, "usage": usage} if usage else shell


def _usage(body: dict[str, Any], out: int) -> dict[str, int]:
    """Words stand for tokens here, and say so by being exact."""
    read = sum(len(str(message["content"]).split()) for message in body["messages"])
    return {"prompt_tokens": read, "completion_tokens": out, "total_tokens": read + out}
