"""All that leaves for the page passes here: texts that it renders as Markdown go out as `links.safe` makes them.

Knows Chainlit's events and which of their fields are rendered. One place for all: answers as they stream, steps with their
drafts and tables, errors, and what a history brings back. A user's own message is shown by their browser before it is
sent; for that, and behind all of this, stand the page's policy (ui/safety.py) and public/relay.js.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from chainlit.emitter import ChainlitEmitter

from ui.links import Streamed, safe

STEPS = frozenset(("new_message", "update_message", "stream_start"))
RENDERED = ("input", "output")


class Outgoing:
    """What one page was sent of the texts that still stream, by message and field."""

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts
        self._streams: dict[tuple[str, str], Streamed] = {}

    def cleaned(self, event: str, data: Any) -> Any:
        """The event's data as the page may have it."""
        if event in STEPS:
            return self._step(data, keep=event == "stream_start")
        if event == "stream_token":
            return self._token(data)
        if event == "resume_thread":
            return {**data, "steps": [self._step(step) for step in data.get("steps") or []]}
        if event == "ask":
            return {**data, "msg": self._step(data["msg"])}
        if event == "delete_message":
            self._forget(str(data.get("id")))
        return data

    def _step(self, step: dict[str, Any], keep: bool = False) -> dict[str, Any]:
        id = str(step.get("id"))
        self._forget(id)
        if step.get("type") == "user_message":
            return step
        texts = {field: str(step.get(field) or "") for field in RENDERED if field in step}
        if keep:
            self._streams |= {(id, field): Streamed(self._hosts, text) for field, text in texts.items()}
        return {**step, **{field: safe(text, self._hosts) for field, text in texts.items()}}

    def _token(self, data: dict[str, Any]) -> dict[str, Any]:
        key = (str(data["id"]), "input" if data.get("isInput") else "output")
        stream = self._streams.setdefault(key, Streamed(self._hosts))
        text, anew = stream.add(str(data["token"]), bool(data.get("isSequence")))
        return {**data, "token": text, "isSequence": anew}

    def _forget(self, id: str) -> None:
        for field in RENDERED:
            self._streams.pop((id, field), None)


def guard(hosts: frozenset[str]) -> None:
    """Let every page's events pass, once for a process."""
    if hasattr(ChainlitEmitter, "relay_guarded"):
        return
    pages: WeakKeyDictionary[Any, Outgoing] = WeakKeyDictionary()
    original: Any = ChainlitEmitter.emit

    def emit(self: ChainlitEmitter) -> Any:
        send = original.fget(self)
        page = pages.setdefault(self.session, Outgoing(hosts))
        return lambda event, data: send(event, page.cleaned(event, data))

    def emit_call(self: ChainlitEmitter) -> Any:
        call = asked.fget(self)
        page = pages.setdefault(self.session, Outgoing(hosts))
        return lambda event, data, timeout: call(event, page.cleaned(event, data), timeout)

    asked: Any = ChainlitEmitter.emit_call
    patched: Any = ChainlitEmitter
    patched.emit, patched.emit_call, patched.relay_guarded = property(emit), property(emit_call), True
