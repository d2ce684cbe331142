"""Fits rag/gate.json on development corpora, and measures it on corpora held out. Not a test.

    python tests/bench/fit_gate.py DATA

DATA holds squad/ (BEIR layout), handbook/ (Markdown), chunks/ (texts, questions_df.csv) and intents/dev174.jsonl. On each
corpus its own questions count as answerable; those of the other corpora, and the messages of intents/ on the handbook, as
off the corpus. Every corpus weighs the same. The operating point lies midway between 3 % wrongly refused and 96 % rightly.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.files import write_atomic
from base.settings import load_settings
from cli.beir import load, rows, write
from rag import embed, gate
from rag.library import Library
from rag.measures import auroc

Matrix = npt.NDArray[np.float64]
CHUNKS = ("chatlogs", "state_of_the_union", "wikitexts")
CORPORA = ("squad", "handbook", *CHUNKS)
LOST, CAUGHT = 0.03, 0.96
EVIDENCE_LOST = 0.01
Asked = dict[str, dict[str, Matrix]]


def questions(data: Path) -> dict[str, list[str]]:
    """By corpus; every third of squad's, which has by far the most."""
    asked = {"squad": list(load(data / "squad").queries.values())[::3], "handbook": []}
    asked["handbook"] = Path(__file__).with_name("handbook_questions.txt").read_text().splitlines()
    with (data / "chunks" / "questions_df.csv").open() as file:
        for row in csv.DictReader(file):
            asked.setdefault(row["corpus_id"], []).append(row["question"])
    asked["messages"] = [str(row["text"]) for row in rows(data / "intents" / "dev174.jsonl", "text")]
    return asked


async def figures(data: Path) -> tuple[Asked, list[float]]:
    """Features of every question on every corpus by (corpus, whose question), and the evidence for squad's own."""
    settings, found, evidence = load_settings(), Asked(), list[float]()
    embedder = embed.Embedder.load(settings.models / embed.NAME)
    asked = questions(data)
    with tempfile.TemporaryDirectory() as work:
        library = await Library.open(replace(settings, home=Path(work, "home"), models_dir=str(settings.models), demo=False), embedder)
        write(load(data / "squad").corpus, Path(work) / "squad")
        for corpus in CORPORA:
            path = data / "chunks" / f"{corpus}.md" if corpus in CHUNKS else Path(work) / "squad" if corpus == "squad" else data / corpus
            await library.ingest([path], corpus)
            found[corpus] = {}
            for owner, texts in asked.items():
                if owner == "messages" and corpus != "handbook":
                    continue
                ranked = [library.ranked(text, (corpus,)) for text in texts]
                found[corpus][owner] = np.array([gate.features(text, one) for text, one in zip(texts, ranked, strict=True)])
                evidence += [gate.evidence(one) for one in ranked] if owner == corpus == "squad" else []
        await library.close()
    return found, evidence


def sides(found: Asked, corpora: Sequence[str], without: Sequence[str] = ()) -> tuple[Matrix, Matrix, Matrix]:
    """(features, answerable as 1 or 0, weights) of the corpora; questions of those in `without` are left out."""
    parts = [(found[corpus][corpus], 1.0) for corpus in corpora]
    for corpus in corpora:
        strange = [part for owner, part in found[corpus].items() if owner != corpus and owner not in without]
        parts.append((np.concatenate(strange), 0.0))
    marks = [np.full(len(part), side) for part, side in parts]
    return np.concatenate([part for part, _ in parts]), np.concatenate(marks), np.concatenate([np.full(len(m), 1 / len(m)) for m in marks])


def fit(found: Asked, corpora: Sequence[str], without: Sequence[str] = ()) -> Matrix:
    """Weights and bias (the last) by Newton's method with a little ridge, shifted so that 0 is the operating point."""
    x, y, w = sides(found, corpora, without)
    middle, width = x.mean(0), x.std(0)
    z = np.c_[(x - middle) / width, np.ones(len(x))]
    b = np.zeros(z.shape[1])
    ridge = np.diag([1e-3 * w.sum()] * x.shape[1] + [0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ b))
        b += np.linalg.solve((z * (w * p * (1 - p))[:, None]).T @ z + ridge, z.T @ (w * (y - p)) - ridge @ b)
    weights = b[:-1] / width
    values = x @ weights
    point = (quantile(values[y == 1], w[y == 1], LOST) + quantile(values[y == 0], w[y == 0], CAUGHT)) / 2
    return np.append(weights, -point)


def quantile(values: Matrix, weights: Matrix, share: float) -> float:
    """Weighted."""
    order = np.argsort(values)
    reached = np.searchsorted(np.cumsum(weights[order]) / weights.sum(), share)
    return float(values[order][min(len(values) - 1, reached)])


def measured(found: Asked, model: Matrix, corpus: str) -> dict[str, float]:
    """How a model does on a corpus."""
    own = found[corpus][corpus] @ model[:-1] + model[-1]
    strange = np.concatenate([part for owner, part in found[corpus].items() if owner != corpus]) @ model[:-1] + model[-1]
    rates = {
        "refused": float((strange < 0).mean()),
        "wrongly_refused": float((own < 0).mean()),
        "auroc": auroc(own.tolist(), strange.tolist()),
    }
    return {name: round(value, 3) for name, value in rates.items()} | {"answerable": len(own), "off_corpus": len(strange)}


def report(found: Asked) -> dict[str, Any]:
    """Each corpus held out in turn, and both ways between the two kinds of corpora; its questions are held out with it."""
    out = {held: measured(found, fit(found, [c for c in CORPORA if c != held], [held]), held) for held in CORPORA}
    ways = {}
    for name, train in (("fitted on squad and handbook", CORPORA[:2]), ("fitted on chunks", CHUNKS)):
        test = [corpus for corpus in CORPORA if corpus not in train]
        ways[name] = {corpus: measured(found, fit(found, train, test), corpus) for corpus in test}
    return {"each corpus held out": out, **ways}


def main(data: Path) -> None:
    """Fit on everything, measure what was held out, write both."""
    found, evidence = asyncio.run(figures(data))
    model = fit(found, CORPORA)
    note = {
        "made_by": "tests/bench/fit_gate.py",
        "weights": {name: round(float(value), 4) for name, value in zip(gate.FEATURES, model, strict=False)},
        "bias": round(float(model[-1]), 4),
        "evidence": round(float(np.quantile(evidence, EVIDENCE_LOST)), 3),
        "metrics": report(found),
    }
    write_atomic(gate.NOTE, json.dumps(note, indent=1) + "\n")
    print(json.dumps(note, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
