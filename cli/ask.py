"""`relay ask`: one question, its answer in the terminal, or its events as JSON lines."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import aclosing

from agents.access import Access
from agents.assistant import open_assistant
from agents.events import Answered, Event, Failed, Promoted, Stopped, Token, Turn, plain
from agents.people import LOCAL, normal
from agents.setup import prepare
from base.errors import SettingsError
from base.settings import Settings, load_settings
from cli.bars import bars
from cli.say import warn


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("text", help="the question; '-' reads it from standard input")
    parser.add_argument("--model", default="auto", help="a model of the catalog (default: auto)")
    parser.add_argument(
        "--recipe", default="auto", choices=("auto", "draft", "refine", "direct", "draft_refine"), help="draft alone, or draft and refine"
    )
    parser.add_argument(
        "--knowledge", default="auto", choices=("auto", "docs", "off"), help="use the library: when it helps, only it, or not at all"
    )
    parser.add_argument("--user", default=LOCAL, metavar="NAME", help="answer as the chat would answer NAME, from what they may read")
    parser.add_argument("--json", action="store_true", help="print the events as JSON lines, and nothing else")


def run(options: argparse.Namespace) -> int:
    """Answer; 1 when it failed."""
    return asyncio.run(_ask(options, load_settings()))


async def _ask(options: argparse.Namespace, settings: Settings) -> int:
    with bars() as progress:
        await prepare(settings, progress)
    text = sys.stdin.read() if options.text == "-" else options.text
    if not text.strip():
        raise SettingsError("There is no question.", 'Write one: relay ask "How do I …?"')
    effort = {"direct": "draft", "draft_refine": "refine"}.get(options.recipe, options.recipe)
    show = _json if options.json else _Terminal().show
    last: Event | None = None
    assistant = await open_assistant(settings)
    warn(assistant.catalog_error())
    warn(assistant.library_state)
    try:
        user, scopes = _rights(assistant.access, options.user)
        turn = Turn(text, model=options.model, effort=effort, knowledge=options.knowledge, scopes=scopes, user=user)
        async with aclosing(assistant.answer(turn)) as events:  # type: ignore[type-var]
            async for event in events:
                show(event)
                last = event
    finally:
        await assistant.close()
    return 1 if isinstance(last, Failed) else 0


def _rights(access: Access, name: str) -> tuple[str, tuple[str, ...]]:
    """The user and what they may read. Raises SettingsError for one who may read nothing."""
    user = name if name == LOCAL else normal(name)
    scopes = access.scopes(user)
    if access.problem:
        raise SettingsError(access.problem)
    if not scopes:
        raise SettingsError(f"There is no user '{user}'.", "'relay users list' shows who there is.")
    return user, scopes


def _json(event: Event) -> None:
    print(json.dumps(plain(event), ensure_ascii=False), flush=True)


class _Terminal:
    """The answer on standard output, what led to it on standard error."""

    def __init__(self) -> None:
        self._draft, self._step = "", ""
        self._live = sys.stdout.isatty()
        """A person watches the draft; whoever reads standard output gets the answer alone."""

    def show(self, event: Event) -> None:
        """Print one event, if a person needs it."""
        if isinstance(event, Token):
            self._token(event)
        elif isinstance(event, Promoted):
            self._promoted(event)
        elif isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Stopped | Failed):
            self._say(f"\n{event.error} {event.remedy}" if isinstance(event, Failed) else "\nStopped.")
        elif line := _LINES.get(type(event).__name__):
            self._say(line.format(e=event))

    def _token(self, event: Token) -> None:
        if self._draft and self._live and event.step != self._step:
            self._say("\n— refined:")
        self._step = event.step
        if not event.final:
            self._draft += event.text
            if self._live:
                print(event.text, end="", flush=True)
            return
        self._draft = ""
        print(event.text, end="", flush=True)

    def _promoted(self, event: Promoted) -> None:
        if self._live:
            self._say(f"\n— {event.kept}" if event.kept else "")
        else:
            print(event.text, end="", flush=True)
            self._say(event.kept)

    def _answered(self, event: Answered) -> None:
        if event.refused:
            self._say("\n— taken back:" if self._draft and self._live else "")
            print(event.text)
        else:
            print("" if event.totals.steps else event.text)
        for cite in event.citations or event.nearest:
            where = " › ".join(part for part in (cite.document, cite.heading, f"p. {cite.page}" if cite.page else "") if part)
            self._say(f"[{cite.n}] {where}{_FOUND[cite.by]}")
        if event.grounding and event.grounding.claims and not event.refused:
            self._say(f"{event.grounding.supported} of {len(event.grounding.claims)} statements are in the passages.")
        if event.notice:
            self._say(event.notice)
        t = event.totals
        if t.steps:
            speed = f"{t.ttft_ms or 0:.0f} ms to the first token · {t.tokens_out} tokens · {t.ms / 1e3:.1f} s"
            self._say(f"{', '.join(t.models)} · {speed} · ${t.cost:.6f}")

    @staticmethod
    def _say(text: str) -> None:
        if text:
            print(text, file=sys.stderr, flush=True)


_FOUND = {"model": "", "relay": " (found by Relay)", "nearest": " (nearest)"}
_LINES = {
    "IntentFound": "Intent: {e.intent.name} ({e.intent.confidence:.2f}, {e.intent.stage})",
    "RouteChosen": "Route: {e.route.model}: {e.route.reason}",
    "FellBack": "{e.model} failed ({e.reason}) {e.to} takes it.",
    "Escalated": "\n— {e.model} → {e.to}: {e.reasons[0]}",
}
