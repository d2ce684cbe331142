"""Side by side, in one run: a bare ChatSession, the openai client through our transport, a whole Relay answer, llama.cpp.

The same weights, the same prompts, greedy, alternating so that the machine's mood hits all alike. Prints medians as a
Markdown table: `python tests/bench/first_token.py [ROUNDS]`. Uses the tests' cache of models (run the tests once before).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agents.answer import Conductor  # noqa: E402
from agents.assistant import _router  # noqa: E402
from agents.events import Token, Turn  # noqa: E402
from base.settings import load_settings  # noqa: E402
from router.backends import Backend, Params  # noqa: E402
from router.catalog import Place  # noqa: E402
from router.starter import FAST  # noqa: E402

CACHE = Path(os.environ.get("RELAY_TEST_CACHE") or ROOT / ".pytest_cache" / "d" / "relay")
SYSTEM = "You are a helpful AI assistant."
PROMPTS = [f"Write a short story about a {thing}." for thing in ("fox", "river", "teacher", "garden", "letter", "train", "mountain")]
TOKENS = 100
Measured = tuple[float, float]
"""Seconds to the first token, tokens a second after it."""


def timed(began: float, stamps: list[float]) -> Measured:
    return stamps[0] - began, (len(stamps) - 1) / (stamps[-1] - stamps[0])


def bare(model: Any) -> Callable[[str], Awaitable[Measured]]:
    """ChatSession by itself, as Foundry Local's own guide uses it."""
    import foundry_local_sdk as sdk

    def run(prompt: str) -> Measured:
        body = {"model": "x", "messages": _messages(prompt), "max_tokens": TOKENS, "temperature": 0}
        began, stamps = time.perf_counter(), list[float]()
        with sdk.ChatSession(model) as session, sdk.Request() as request:
            session.set_streaming(True)
            request.add_item(sdk.TextItem(json.dumps(body), sdk.TextItemType.OPENAI_JSON))
            with session.process_streaming_request(request) as stream:
                for item in stream:
                    if json.loads(item.text)["choices"][0]["delta"].get("content"):
                        stamps.append(time.perf_counter())
        return timed(began, stamps)

    return lambda prompt: asyncio.to_thread(run, prompt)


def through(backend: Backend, entry: Any) -> Callable[[str], Awaitable[Measured]]:
    """The openai client: in process, or over HTTP."""

    async def run(prompt: str) -> Measured:
        began, stamps = time.perf_counter(), list[float]()
        async with aclosing(backend.stream(entry, _messages(prompt), Params(TOKENS))) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                if delta.text:
                    stamps.append(time.perf_counter())
        return timed(began, stamps)

    return run


def whole(conductor: Conductor) -> Callable[[str], Awaitable[Measured]]:
    """A Relay answer: intent, route, recipe, filters, events."""

    async def run(prompt: str) -> Measured:
        began, stamps = time.perf_counter(), list[float]()
        async with aclosing(conductor.answer(Turn(prompt, knowledge="off", effort="draft"))) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Token):
                    stamps.append(time.perf_counter())
        return timed(began, stamps)

    return run


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings({"RELAY_HOME": home, "RELAY_MODELS_DIR": str(CACHE / "models")})
        router, local = _router(settings)
        catalog = router.current()
        entry = replace(catalog.models[FAST], max_output=TOKENS)
        router.catalogs._good = replace(catalog, models={**catalog.models, FAST: entry})
        await local.warm(entry)
        native = local.foundry._state.models[FAST]
        command = [sys.executable, str(ROOT / "tests/contract/llama_server.py"), str(CACHE / "starter.gguf")]
        quiet: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, text=True, **quiet) as server:
            llama = Backend(Place("llama", base_url=server.stdout.readline().strip() + "/v1"))  # type: ignore[union-attr]
            ways = {
                "bare ChatSession": bare(native),
                "openai client in process": through(router.backends.of(catalog, entry), entry),
                "whole Relay answer": whole(Conductor(settings, router, None)),  # type: ignore[arg-type]
                "llama.cpp server (Q4_1), openai client": through(llama, replace(entry, aliases=())),
            }
            table = await measure(ways, rounds)
            await llama.close()
            server.kill()
        await router.backends.close()
    base = statistics.median(first for first, _ in table["bare ChatSession"])
    print(f"{rounds} rounds of {len(PROMPTS)} prompts, {TOKENS} tokens, medians\n")
    print("| way | first token ms | over bare ms | tokens/s |\n|---|---|---|---|")
    for name, rows in table.items():
        first, speed = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {first * 1e3:.1f} | {(first - base) * 1e3:+.1f} | {speed:.1f} |")


async def measure(ways: dict[str, Callable[[str], Awaitable[Measured]]], rounds: int) -> dict[str, list[Measured]]:
    table: dict[str, list[Measured]] = {name: [] for name in ways}
    for way in ways.values():
        await way("Hello there")
    order = list(ways)
    for _ in range(rounds):
        for prompt in PROMPTS:
            order = order[1:] + order[:1]  # whoever follows another process finds cold caches, so each does in turn
            for name in order:
                table[name].append(await ways[name](prompt))
    return table


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
