"""Starts, memory, and the way from a click to the first painted token: `python tests/bench/page.py`.

A real server with the real starters and a real browser, in a data home of its own; uses the tests' cache of models (run
the tests once before). Where the memory goes is measured in a process that takes the parts in, one after the other.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]

from driving import FLAGS, finished, relay_up  # noqa: E402
from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

CACHE = Path(os.environ.get("RELAY_TEST_CACHE") or ROOT / ".pytest_cache" / "d" / "relay")
PARTS = """
import asyncio, os, psutil, sys
from pathlib import Path
def said(name):
    rss = psutil.Process().memory_info().rss / 1e6
    print(f"| {name} | {rss - said.last:.0f} | {rss:.0f} |"); said.last = rss
said.last = 0
said("Python")
import base, chainlit, chainlit.server; said("Chainlit and its web framework")
import agents.assistant; said("openai and the rooms")
from agents.assistant import open_assistant
from base.settings import load_settings
async def main():
    from rag.embed import Embedder, NAME
    settings = load_settings()
    Embedder.load(settings.models / NAME).embed(["hello"]); said("ONNX Runtime and the embedder")
    assistant = await open_assistant(settings); said("Chroma, SQLite, a second embedder's share")
    await assistant.ready(); said("Foundry Local with the fast starter, warm")
    await assistant.close()
asyncio.run(main())
"""
PAINTED = """() => new Promise(done => {
    const began = performance.now();
    const look = () => {
        const said = document.querySelector('[data-step-type="assistant_message"] .message-content')?.innerText.trim();
        said ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
    };
    document.querySelector('#chat-submit').click();
    look();
})"""


def painted(page: Page, url: str, text: str) -> float:
    """Milliseconds from the click to the first frame with a token in it."""
    page.goto(url)
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    page.locator("#chat-input").fill(text)
    expect(page.locator("#chat-submit")).to_be_enabled()
    took = page.evaluate(PAINTED)
    finished(page)
    return float(took)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder) / "home"
        for name in ("first start (models prepared, library made)", "later start"):
            began = time.perf_counter()
            with relay_up(home, CACHE / "models") as server:
                page_s = time.perf_counter() - began
                while "ready" not in server.log:
                    time.sleep(0.05)
                print(f"{name}: page answers after {page_s:.1f} s, models warm after {time.perf_counter() - began:.1f} s")
                if name == "later start":
                    time.sleep(3)
                    rss = psutil.Process(server.process.pid).memory_info().rss / 1e6
                    maps = Path(f"/proc/{server.process.pid}/maps")
                    torch = "torch" in maps.read_text() if maps.exists() else "unknown"
                    print(f"idle, starter loaded: {rss:.0f} MB resident; torch in the process: {torch}")
                    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                    page = browser.new_page()
                    rows = [painted(page, server.url, f"Name a colour that starts with {letter}.") for letter in "bgrywop"]
                    print(f"click to first painted token: median {statistics.median(rows):.0f} ms, max {max(rows):.0f} ms of {len(rows)}")
                    browser.close()
        print("\n| part | MB more | MB in all |\n|---|---|---|", flush=True)
        env = {**os.environ, "RELAY_HOME": str(home), "RELAY_MODELS_DIR": str(CACHE / "models"), "CHAINLIT_APP_ROOT": folder}
        subprocess.run([sys.executable, "-c", PARTS], cwd=ROOT, env=env, check=True)


if __name__ == "__main__":
    main()
