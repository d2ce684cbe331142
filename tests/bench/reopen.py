"""How soon a large library answers after an unclean end, and how long until all of it is level. Not a test.

    python tests/bench/search_scale.py 100000 /tmp/kept
    python tests/bench/reopen.py /tmp/kept

Opens the kept library after a clean close, after kill -9 of a process that had changed it, and with all index files damaged;
each time searches at once, watches the state, and closes in the middle once.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from base.settings import Settings, load_settings
from rag import embed, seal
from rag.library import Library

DOCUMENT = "Nobody sings in the house after ten, says rule {}."


async def opened(settings: Settings, embedder: embed.Embedder) -> tuple[Library, dict[str, object]]:
    """The library after its first search, and how long that took."""
    began = time.perf_counter()
    library = await Library.open(settings, embedder)
    figures: dict[str, object] = {"open_s": round(time.perf_counter() - began, 2)}
    found = await library.search("who sings in the house after ten?", ("shared",), -1)
    figures |= {"answered_s": round(time.perf_counter() - began, 2), "found": len(found.passages), "state": library.state}
    return library, figures


def killed(settings: Settings, models: Path) -> None:
    """A process changes the library and is killed."""
    if not (child := os.fork()):

        async def work() -> None:
            library = await Library.open(settings, embed.Embedder.load(models))
            file = settings.home / "rules.txt"
            file.write_text(DOCUMENT.format(time.time_ns()))
            await library.ingest([file])
            os.kill(os.getpid(), 9)

        asyncio.run(work())
    os.waitpid(child, 0)


def damage(settings: Settings) -> None:
    """Noise in the middle of every index file."""
    dice = random.Random(1)
    for file in [settings.library / seal.KEYWORDS, *(settings.library / seal.CHROMA).rglob("*")]:
        if file.is_file():
            with file.open("r+b") as handle:
                handle.seek(file.stat().st_size // 4)
                handle.write(dice.randbytes(file.stat().st_size // 2))


async def measured(settings: Settings, name: str, interrupted: bool) -> None:
    """Open, search, and wait until it is level; or close in the middle and do so again."""
    embedder = embed.Embedder.load(settings.models / embed.NAME)
    began = time.perf_counter()
    library, figures = await opened(settings, embedder)
    if interrupted:
        await asyncio.sleep(5)
        state, closing = library.state, time.perf_counter()
        await library.close()
        figures |= {"closed_while": state, "close_s": round(time.perf_counter() - closing, 2)}
        library, _ = await opened(settings, embedder)
    figures |= {"after": name, "last_state": await library.settled(), "level_s": round(time.perf_counter() - began, 1)}
    figures["rss_mb"] = round(psutil.Process().memory_info().rss / 1e6)
    await library.close()
    print(json.dumps(figures), flush=True)


def main(kept: str) -> None:
    """Each in a process of its own, for Chroma may not be forked."""
    settings = load_settings()
    settings = replace(settings, home=Path(kept), models_dir=str(settings.models), demo=False)
    ends: dict[str, Callable[[], None]] = {
        "a clean close": lambda: None,
        "kill -9": lambda: killed(settings, settings.models / embed.NAME),
        "damage": lambda: damage(settings),
        "damage, closed in the middle": lambda: damage(settings),
    }
    for name, end in ends.items():
        end()
        if not (child := os.fork()):
            asyncio.run(measured(settings, name, "middle" in name))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1])
