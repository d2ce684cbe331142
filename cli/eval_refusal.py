"""`relay eval refusal DIR`: whether questions that the documents do not answer are refused, and no others. Knows no gate's inside.

DIR is in BEIR layout with unanswerable.jsonl (_id, text) beside the queries. Each question is searched by the product; the
gate alone decides first, then gate and evidence together (rag.gate).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from base.files import write_atomic
from base.settings import Settings, load_settings
from cli.bars import bars
from cli.beir import EVERYTHING, SCOPE, Shelf, load, rows, shelf
from rag import gate
from rag.measures import auroc, mean


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a question."""

    _id: str
    text: str
    answerable: bool
    """By the label."""
    confidence: float
    """Of the gate: 0 to 1."""
    evidence: float
    """The highest cosine of a sentence in the first passages."""
    gate: str
    """answer or refuse"""
    both: str
    """answer or refuse, after the second stage"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="BEIR layout, with unanswerable.jsonl beside queries.jsonl")
    parser.add_argument("--predictions", type=Path, metavar="OUT", help="write what became of each question here, as JSON lines")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    data = load(options.folder)
    strange = {str(row["_id"]): str(row["text"]) for row in rows(options.folder / "unanswerable.jsonl", "_id", "text")}
    decided = asyncio.run(_decided(data.corpus, (data.queries, strange), load_settings()))
    if options.predictions:
        write_atomic(options.predictions, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in decided))
    figures = scores(decided)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:36} {value}" for name, value in figures.items()))
    return 0


async def _decided(corpus: Any, sides: Sequence[Any], settings: Settings) -> list[Decided]:
    """Every question of both sides, the answerable ones first."""
    questions = [(id, text, side == 0) for side, texts in enumerate(sides) for id, text in texts.items()]
    out = []
    with bars() as progress:
        async with shelf(corpus, settings, progress) as made:
            for at, (id, text, answerable) in enumerate(questions):
                progress("Asking", at / len(questions))
                out.append(await _decide(made, id, text, answerable, settings.floor))
    return out


async def _decide(made: Shelf, id: str, text: str, answerable: bool, floor: float) -> Decided:
    found = await made.library.search(text, (SCOPE,), EVERYTHING, gate.READ)
    passes = found.best >= floor
    both = passes and gate.sufficient(found.passages)
    words = {True: "answer", False: "refuse"}
    return Decided(id, text, answerable, found.best, gate.evidence(found.passages), words[passes], words[both])


def scores(decided: Sequence[Decided]) -> dict[str, Any]:
    """Rates of right and wrong refusals and AUROC, for the gate alone and for both stages."""
    yes, no = [one for one in decided if one.answerable], [one for one in decided if not one.answerable]
    figures: dict[str, Any] = {"answerable": len(yes), "unanswerable": len(no)}
    for stage in ("gate", "both"):
        figures[f"{stage}_refused_rightly"] = round(mean([getattr(one, stage) == "refuse" for one in no]), 4)
        figures[f"{stage}_refused_wrongly"] = round(mean([getattr(one, stage) == "refuse" for one in yes]), 4)
        figures[f"{stage}_auroc"] = round(auroc([_sure(one, stage) for one in yes], [_sure(one, stage) for one in no]), 4)
    return figures


def _sure(one: Decided, stage: str) -> float:
    """The score that a stage decides by: for both, whichever is nearer to refusing."""
    return one.confidence if stage == "gate" else min(one.confidence, one.evidence)
