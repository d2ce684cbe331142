"""`relay eval retrieval DIR`: whether the product's own ingest and search find the judged documents. Knows no index."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from base.files import write_atomic
from base.settings import Settings, load_settings
from cli.bars import bars
from cli.beir import EVERYTHING, SCOPE, Labelled, Shelf, load, shelf
from rag.measures import mean, ndcg, percentile, recall, reciprocal_rank

DEPTH = 100
"""Documents a query in the run."""
PASSAGES = 300
"""Passages asked for at first; a document may be found by several."""
TAG = "relay"

Ranked = list[tuple[str, float]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="corpus.jsonl, queries.jsonl and qrels/test.tsv, in BEIR layout")
    parser.add_argument("--run", type=Path, metavar="OUT", dest="out", help="write the ranking here, in TREC run format")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Measure and print; 1 when a document could not be taken in."""
    figures, lines = asyncio.run(_measured(load(options.folder), load_settings()))
    if options.out:
        write_atomic(options.out, "".join(lines))
    print(json.dumps(figures) if options.json else "\n".join(f"{name:24} {value}" for name, value in figures.items()))
    return 1 if figures["failed"] else 0


async def _measured(data: Labelled, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    runs: dict[str, Ranked] = {}
    ms: list[float] = []
    with bars() as progress:
        async with shelf(data.corpus, settings, progress) as made:
            for at, (query, text) in enumerate(data.queries.items()):
                progress("Searching", at / len(data.queries))
                runs[query], took = await _ranked(made, text)
                ms.append(took)
    lines = [line for query, ranked in runs.items() for line in trec(query, ranked)]
    ingest = {
        "documents": len(data.corpus),
        "passages": made.report.passages,
        "ingest_passages_per_s": round(made.report.passages / max(made.seconds, 1e-9), 1),
        "failed": len(made.report.failed),
        "no_text": len(made.report.no_text),
    }
    latency = {"query_p50_ms": round(percentile(ms, 50), 2), "query_p95_ms": round(percentile(ms, 95), 2)}
    return {**scores(data, runs), **ingest, **latency}, lines


async def _ranked(made: Shelf, text: str) -> tuple[Ranked, float]:
    """(documents with the score of their best passage, best first; ms of the first search with its embedding)."""
    began = time.perf_counter()
    found = await made.library.search(text, (SCOPE,), EVERYTHING, PASSAGES)
    took = (time.perf_counter() - began) * 1000
    wanted, limit = min(DEPTH, len(made.ids)), PASSAGES
    while True:
        best: dict[str, float] = {}
        for passage in found.passages:
            best.setdefault(made.ids[passage.document_id], passage.score)
        if len(best) >= wanted or len(found.passages) < limit:
            return list(best.items())[:DEPTH], took
        limit *= 4  # long documents took the places of others
        found = await made.library.search(text, (SCOPE,), EVERYTHING, limit)


def scores(data: Labelled, runs: dict[str, Ranked]) -> dict[str, Any]:
    """The measures over all judged queries."""
    pairs = [([id for id, _ in ranked], data.judged[query]) for query, ranked in runs.items()]
    return {
        "queries": len(pairs),
        "ndcg@10": round(mean([ndcg(ids, judged) for ids, judged in pairs]), 4),
        "recall@5": round(mean([recall(ids, judged, 5) for ids, judged in pairs]), 4),
        "recall@10": round(mean([recall(ids, judged, 10) for ids, judged in pairs]), 4),
        "mrr@10": round(mean([reciprocal_rank(ids, judged) for ids, judged in pairs]), 4),
    }


def trec(query: str, ranked: Sequence[tuple[str, float]]) -> Iterable[str]:
    """Lines of a TREC run. Evaluators sort by score and break ties by id: equal scores are set apart in our order."""
    last = float("inf")
    for rank, (id, score) in enumerate(ranked, 1):
        last = min(score, last - 1e-6)
        yield f"{query} Q0 {id} {rank} {last:.6f} {TAG}\n"
