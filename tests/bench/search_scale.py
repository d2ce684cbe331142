"""How long a search takes in a large library: embedding the query, both indexes, filter, fusion. Not a test.

    python tests/bench/search_scale.py 100000

Passages are sentences of the demo handbook in random order, so that words are as frequent as in real text; their vectors
are random. One passage in ten is in a chat's own scope.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from base.settings import load_settings
from rag import embed
from rag.chunk import sentences
from rag.library import DEMO, Library
from rag.manifest import DocumentInfo, Stored
from rag.measures import percentile
from rag.store import Row

SCOPES = ("shared", "chat:1")
GROUP = 1000
QUERIES = 300


def group(first: int, dice: random.Random, pool: list[str]) -> tuple[DocumentInfo, list[Stored]]:
    """A document of GROUP passages with ids from `first`."""
    scope = SCOPES[first // GROUP % 10 == 0]
    info = DocumentInfo(f"d{first}", scope, f"/{first}", f"{first}.md", "", 0, "md", "Handbook", GROUP, "ready", "", 0.0, 0.0, "bench")
    texts = [" ".join(dice.sample(pool, 7)) for _ in range(GROUP)]
    return info, [Stored(first + n, info.id, "Handbook", scope, n, text, "", None, None, 0, 1) for n, text in enumerate(texts)]


def fill(library: Library, count: int, pool: list[str]) -> None:
    """Put the passages in as an ingest does, without embedding them."""
    dice, rng = random.Random(1), np.random.default_rng(1)
    library._manifest.reserve(count)
    for first in range(1, count, GROUP):
        info, passages = group(first, dice, pool)
        vectors = rng.standard_normal((GROUP * 8, embed.DIMENSIONS)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts = [vectors[GROUP + 7 * n : GROUP + 7 * n + 7] for n in range(GROUP)]
        library._store.add([Row(one.id, one.scope, one.document, one.text) for one in passages], vectors[:GROUP])
        library._manifest.replace([(info, "", passages, vectors[:GROUP], parts)])


async def main(count: int) -> None:
    """Fill a temporary library and print the times."""
    settings = load_settings()
    pool = [text[a:b] for file in sorted(DEMO.glob("*.md")) for text in [file.read_text()] for a, b in sentences(text) if b - a > 40]
    embedder = embed.Embedder.load(settings.models / embed.NAME)
    with tempfile.TemporaryDirectory() as work:
        library = await Library.open(replace(settings, home=Path(work), models_dir=str(settings.models), demo=False), embedder)
        fill(library, count, pool)
        began = time.perf_counter()
        await library.search("warm", SCOPES, -1)
        print(json.dumps({"passages": count, "first_search_ms": round((time.perf_counter() - began) * 1e3)}), flush=True)
        dice = random.Random(2)
        words = [sentence.split() for sentence in dice.choices(pool, k=QUERIES)]
        questions = [" ".join(dice.sample(some, min(8, len(some)))) for some in words]
        for scopes in (SCOPES, SCOPES[:1], SCOPES[1:]):
            ms = [(await library.search(question, scopes, -1, 12)).ms for question in questions]
            print(json.dumps({"scopes": scopes, **{f"p{p}_ms": round(percentile(ms, p), 1) for p in (50, 95, 99)}}), flush=True)
        await library.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
