"""How long a search takes in a large library, with filters: embedding the query, both indexes, fusion, gate. Not a test.

    python tests/bench/search_scale.py 100000
    python tests/bench/search_scale.py 100000 /tmp/kept    (kept there, and used again by the next run)

Words are as frequent as in real text: those of the demo handbook in their order, then a long tail of made-up ones (Zipf).
A question has 8 to 12 words, most of them common. Vectors are random. Rows belong to scopes of 1 %, 10 % and 49 % of
the library and to 1,000 scopes of 500 users that share the rest. Wall time suffers from whatever else the machine does;
CPU time (of all threads) less.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from base.settings import Settings, load_settings
from rag import embed
from rag.library import DEMO, Library
from rag.manifest import DocumentInfo, Stored
from rag.measures import percentile
from rag.store import Row

GROUP = 1000
DOCUMENT = 20
WORDS = 120
SENTENCES = 7
TAIL = 40_000
QUERIES = 120
USERS = [f"user:{user}:{collection}" for user in range(500) for collection in ("notes", "work")]
FILTERS: dict[str, tuple[str, ...]] = {
    "all rows, 1,003 scopes": ("hundredth", "tenth", "half", *USERS),
    "50 %": ("hundredth", "half"),
    "10 %": ("tenth",),
    "1 %": ("hundredth",),
    "a user's 5 scopes": tuple(USERS[7:12]),
    "a user's 4 scopes and 10 %": ("tenth", *USERS[7:11]),
}


class Text:
    """Words by Zipf's law (Mandelbrot's form, exponent 1.05)."""

    def __init__(self) -> None:
        said = Counter(word for file in sorted(DEMO.glob("*.md")) for word in re.findall(r"[a-z]+", file.read_text().lower()))
        self.words = [word for word, _ in said.most_common()] + [f"{'bcdfgklmnprst'[n % 13]}a{n}" for n in range(TAIL)]
        weights = 1 / (np.arange(len(self.words)) + 2.7) ** 1.05
        self._edges = np.cumsum(weights / weights.sum())
        self._rng = np.random.default_rng(1)

    def some(self, count: int) -> list[str]:
        """`count` words."""
        return [self.words[int(at)] for at in np.searchsorted(self._edges, self._rng.random(count))]

    def question(self, dice: random.Random) -> str:
        """8 to 12 words as they come: about half are stop words or common."""
        return " ".join(self.some(dice.randint(8, 12)))


def scope_of(dice: random.Random) -> str:
    """Of a document."""
    at = dice.random()
    return "hundredth" if at < 0.01 else "tenth" if at < 0.11 else "half" if at < 0.6 else dice.choice(USERS)


def document(first: int, dice: random.Random, text: Text) -> tuple[DocumentInfo, list[Stored]]:
    """A document of DOCUMENT passages with ids from `first`."""
    scope = scope_of(dice)
    info = DocumentInfo(f"d{first}", scope, f"/{first}", f"{first}.md", "", 0, "md", "Handbook", DOCUMENT, "ready", "", 0.0, 0.0, "bench")
    texts = [" ".join(text.some(WORDS)) for _ in range(DOCUMENT)]
    return info, [Stored(first + n, info.id, "Handbook", scope, n, text, "", None, None, 0, 1) for n, text in enumerate(texts)]


def groups(count: int) -> Iterator[list[tuple[DocumentInfo, list[Stored]]]]:
    """Documents, GROUP passages at a time."""
    dice, text = random.Random(1), Text()
    for first in range(1, count, GROUP):
        yield [document(at, dice, text) for at in range(first, first + GROUP, DOCUMENT)]


def fill(library: Library, count: int) -> None:
    """Put the passages in as an ingest does, without embedding them."""
    rng = np.random.default_rng(1)
    library._manifest.reserve(count)
    for group in groups(count):
        vectors = rng.standard_normal((GROUP * (1 + SENTENCES), embed.DIMENSIONS)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts = vectors[GROUP:].reshape(GROUP, SENTENCES, -1)
        rows = [Row(one.id, one.scope, one.document, one.text) for _, passages in group for one in passages]
        library._store.add(rows, vectors[:GROUP])
        at = range(0, GROUP, DOCUMENT)
        library._manifest.replace(
            [
                (info, "", passages, vectors[n : n + DOCUMENT], list(parts[n : n + DOCUMENT]))
                for n, (info, passages) in zip(at, group, strict=True)
            ]
        )


def measured(library: Library, questions: Sequence[str], scopes: tuple[str, ...]) -> dict[str, float]:
    """Milliseconds a question, in this thread."""
    wall, cpu = [], []
    for question in questions:
        began, used = time.perf_counter(), time.process_time()
        library._search(question, scopes, -1, 12)
        wall.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - used) * 1e3)
    figures = {f"p{p}": round(percentile(wall, p), 1) for p in (50, 95, 99)}
    return {**figures, "cpu_p50": round(percentile(cpu, 50), 1), "cpu_p95": round(percentile(cpu, 95), 1)}


async def run(settings: Settings, count: int) -> None:
    """Fill the library when it is empty, and print the times."""
    embedder = embed.Embedder.load(settings.models / embed.NAME)
    began = time.perf_counter()
    library = await Library.open(settings, embedder)
    opened = time.perf_counter() - began
    if not library._manifest.count():
        fill(library, count)
    began = time.perf_counter()
    await library.search("warm", ("tenth",), -1)
    memory = psutil.Process().memory_info().rss / 1e6
    first = {"passages": count, "open_s": round(opened, 2), "first_search_ms": round((time.perf_counter() - began) * 1e3)}
    print(json.dumps({**first, "rss_mb": round(memory)}), flush=True)
    await library.settled()
    dice, text = random.Random(2), Text()
    questions = [text.question(dice) for _ in range(QUERIES)]
    for name, scopes in FILTERS.items():
        print(json.dumps({"rows": name, **measured(library, questions, scopes)}), flush=True)
    began = time.perf_counter()
    await library.close()
    print(json.dumps({"close_s": round(time.perf_counter() - began, 2)}), flush=True)


def main(count: int, kept: str = "") -> None:
    """In a temporary home, or a kept one."""
    settings = load_settings()
    with tempfile.TemporaryDirectory() as work:
        asyncio.run(run(replace(settings, home=Path(kept or work), models_dir=str(settings.models), demo=False), count))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
