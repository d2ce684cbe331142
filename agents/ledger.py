"""Wraps an Answer: each event once, as a JSON line in the trace. Has the shape of an Answer itself; changes no event.

Texts, of messages and of passages, stay out unless the user turns them on, and so do names: who asked is a pseudonym, so
that one person's turns can be told from another's without telling whose they are. Keys never go in.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.events import Answer, Event, FellBack, Token, Turn, Waiting, plain

SCHEMA = 1
TEXTS = ("text", "asked", "kept", "quote", "evidence", "document", "heading", "error")
"""Fields that may repeat what people, documents or servers said."""


def ledger(answer: Answer, folder: Path, texts: bool = False, pseudonym: Callable[[str], str] = lambda _user: "") -> Answer:
    """`answer`, recorded into `folder`, a file a day."""

    async def recorded(turn: Turn) -> AsyncIterator[Event]:
        # Half of a surrogate pair is legal in a browser's JSON and nowhere else.
        turn = replace(turn, id=turn.id or uuid.uuid4().hex, text=turn.text.encode("utf-8", "replace").decode())
        began, user = time.monotonic(), pseudonym(turn.user)
        async with aclosing(answer(turn)) as events:  # type: ignore[type-var]
            async for event in events:
                if not isinstance(event, Token | Waiting):
                    _write(folder, _line(turn.id, user, event, time.monotonic() - began, texts))
                yield event

    return recorded


def _line(turn: str, user: str, event: Event, at_s: float, texts: bool) -> dict[str, Any]:
    # A server's own sentence may echo what it was sent.
    body = plain(replace(event, reason="") if isinstance(event, FellBack) and not texts else event)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    head = {"schema": SCHEMA, "turn": turn, "user": user, "time": now, "at_ms": round(at_s * 1e3, 2)}
    return {**head, **(body if texts else _bare(body))}


def _bare(value: Any) -> Any:
    """The value without texts."""
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if key not in TEXTS}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _write(folder: Path, line: dict[str, Any]) -> None:
    """Append one line; neither a full disk nor a text that is none must take the answer with it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except (OSError, ValueError):
        return
