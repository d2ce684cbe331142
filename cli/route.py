"""`relay route`: which model would take a message, and why. Asks no model."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from agents.assistant import open_router
from agents.events import plain
from agents.routing import Router
from agents.setup import prepare
from base.errors import RelayError, SettingsError
from base.settings import load_settings
from cli.bars import bars
from cli.say import warn


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("text", help="the message; '-' reads JSON lines {\"text\": …} from standard input")
    parser.add_argument("--model", default="auto", help="as if this model had been chosen")
    parser.add_argument("--json", action="store_true", help="a JSON object a message")
    parser.add_argument("--explain", action="store_true", help="say it in sentences")
    parser.add_argument("--after", action="append", default=[], metavar="TEXT", help="a message of yours before it; may be repeated")


def run(options: argparse.Namespace) -> int:
    """Print the route of each message; 1 when one has none."""
    settings, code = load_settings(), 0
    with bars() as progress:
        asyncio.run(prepare(settings, progress, knowledge=False))
    router = open_router(settings)
    router.current()
    warn(router.catalogs.error)
    for text in _lines(sys.stdin) if options.text == "-" else (options.text,):
        row = _row(router, text, options.model, options.after)
        code = code or int("error" in row)
        said = _explained if options.explain else _prose
        print(json.dumps(row, ensure_ascii=False) if options.json or options.text == "-" else said(row), flush=True)
    return code


def _row(router: Router, text: str, model: str, earlier: list[str]) -> dict[str, Any]:
    began = time.perf_counter()
    intent = router.intent(text, earlier)
    said = {**plain(intent), "intent": intent.name}
    del said["name"]
    try:
        route = router.route(router.current(), intent.name, text, model)
        chosen = [{**plain(c), "taken": True} for c in route.candidates]
        passed = [{**plain(c), "taken": False} for c in route.passed_over]
        said |= {"model": route.model, "reason": route.reason, "candidates": chosen + passed, "notice": route.notice}
    except RelayError as error:
        said |= {"model": None, "candidates": [], "error": str(error)}
    return {**said, "ms": round((time.perf_counter() - began) * 1e3, 3)}


def _lines(stream: Any) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            yield str(json.loads(line)["text"])
        except (ValueError, KeyError, TypeError):
            raise SettingsError(
                f"Line {number} of standard input is not a JSON object with 'text'.", 'Write {"text": "…"}, one a line.'
            ) from None


def _prose(row: dict[str, Any]) -> str:
    lines = [f"Intent  {row['intent']} ({row['confidence']:.2f}, {row['stage']}; runner-up {row['runner_up'] or 'none'})"]
    if row["evidence"]:
        lines.append(f"Words   {', '.join(row['evidence'])}")
    for item in row["candidates"]:
        lines.append(f"{'take' if item['taken'] else 'pass':7} {item['model']}: {item['reason']}")
    lines += [row[key] for key in ("notice", "error") if row.get(key)]
    return "\n".join([*lines, f"{row['ms']} ms"])


_STAGES = {
    "rules": "The rules were sure, so nothing else was asked.",
    "head": "The fitted head decided, from the message's meaning and the rules' signals.",
    "default": "Nothing spoke for a specialist clearly enough, so it stays general.",
}


def _explained(row: dict[str, Any]) -> str:
    """The same as `_prose` in sentences."""
    near = [item for item in row["evidence"] if item.startswith("“")]
    words = [item for item in row["evidence"] if item not in near]
    against = f"; the next guess was {row['runner_up']}" if row["runner_up"] else ""
    lines = [f"This is taken for {row['intent']}, {row['confidence']:.0%} sure{against}. {_STAGES.get(row['stage'], '')}".strip()]
    if words:
        lines.append(f"What spoke for it: {'; '.join(words)}.")
    if near:
        lines.append(f"The closest examples it knows: {', '.join(near)}.")
    for number, item in enumerate(item for item in row["candidates"] if item["taken"]):
        why = item["reason"] if item["reason"].startswith("you") else f"it {item['reason']}"
        lines.append(f"{item['model']} {'would step in' if number else 'would answer'}: {why}.")
    lines += [f"{item['model']} was passed over: {item['reason']}." for item in row["candidates"] if not item["taken"]]
    lines += [row[key] for key in ("notice", "error") if row.get(key)]
    return "\n".join([*lines, f"Deciding took {row['ms']} ms."])
