"""Servers that speak almost the OpenAI API: whatever they send, it is an answer or a sentence, and no secret leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from base.errors import BackendError
from router.backends import Backend, Params
from router.catalog import Entry, Place

ASKED = [{"role": "user", "content": "Hi"}]
MODEL = Entry("small", "odd", ("general",), 1, 1, 4096, "MIT", aliases=("small",))
KEY = "sk-" + "S" * 40


class Odd(BaseHTTPRequestHandler):
    """Answers what the test put on the server, and keeps the headers it saw."""

    server: Any

    def do_GET(self) -> None:
        self._send(*self.server.models)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(dict(self.headers))
        self._send(*self.server.chat)

    def _send(self, status: int, kind: str, body: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def odd() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.models = (200, "application/json", json.dumps({"data": [{"id": "small-instruct-cpu:1"}]}))
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def stream(*chunks: Any) -> tuple[int, str, str]:
    shells = ({"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", **chunk} for chunk in chunks)
    return 200, "text/event-stream", "".join(f"data: {json.dumps(shell)}\n\n" for shell in shells) + "data: [DONE]\n\n"


def spoken(content: Any, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


async def ask(server: Any, place: str = "", **more: str) -> tuple[str, Any]:
    backend = Backend(Place("odd", base_url=place or f"http://127.0.0.1:{server.server_port}", **more))
    try:
        deltas = [delta async for delta in backend.stream(MODEL, ASKED, Params(16))]
    finally:
        await backend.close()
    return "".join(delta.text for delta in deltas), [delta.tokens for delta in deltas if delta.tokens]


@pytest.mark.parametrize("usage", [{"prompt_tokens": None, "completion_tokens": 3}, {"total_tokens": 4}, {"prompt_tokens": "1"}, None])
async def test_odd_counts_are_no_counts(odd: Any, usage: Any) -> None:
    odd.chat = stream(spoken("Hello"), spoken("", "stop"), {"choices": [], "usage": usage})
    assert await ask(odd) == ("Hello", [])


async def test_odd_content_is_passed_over(odd: Any) -> None:
    odd.chat = stream(spoken([{"type": "text", "text": "x"}]), spoken(None), spoken("Hello"), spoken("", "stop"))
    assert (await ask(odd))[0] == "Hello"


@pytest.mark.parametrize(
    "models", [(200, "text/html", "<h1>hi</h1>"), (200, "application/json", '{"data": [{}]}'), (500, "text/plain", "no")]
)
async def test_a_list_of_models_that_is_none_is_not_needed(odd: Any, models: Any) -> None:
    odd.models, odd.chat = models, stream(spoken("Hello"), spoken("", "stop"))
    assert (await ask(odd))[0] == "Hello"


@pytest.mark.parametrize(
    "chat",
    [
        (200, "text/html", "<h1>Welcome</h1>"),
        (200, "text/event-stream", "data: {not json\n\n"),
        (200, "text/event-stream", 'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'),
        (200, "text/event-stream", ""),
        (502, "text/html", "<h1>Bad gateway</h1>"),
        (429, "application/json", '{"error": {"message": "slow down"}}'),
    ],
)
async def test_what_is_no_answer_is_a_sentence(odd: Any, chat: Any) -> None:
    odd.chat = chat
    with pytest.raises(BackendError) as caught:
        await ask(odd)
    assert "small" in caught.value.what and caught.value.what.endswith(".") and "<" not in str(caught.value)


async def test_the_key_never_shows_not_even_in_part(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_KEY", KEY)
    odd.chat = (400, "application/json", json.dumps({"error": {"message": "x" * 150 + f" bad key {KEY}"}}))
    with pytest.raises(BackendError) as caught:
        await ask(odd, key_env="ODD_KEY")
    assert "sk-S" not in str(caught.value)


async def test_a_server_of_ones_own_is_asked_directly_and_told_nothing_of_other_accounts(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    odd.chat = stream(spoken("Hello"), spoken("", "stop"))
    assert (await ask(odd))[0] == "Hello"
    assert "mine" not in str(odd.seen)
