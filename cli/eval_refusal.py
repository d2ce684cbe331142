"""`relay eval refusal DIR`: whether questions that the documents do not answer are refused, and no others. Knows no gate's inside.

DIR is in BEIR layout with unanswerable.jsonl (_id, text) beside the queries. Each question is searched by the product; the
gate alone decides first, then gate and evidence together (rag.gate). With --model the second stage is the whole answer from
documents only, as that model gives it: its quote, and what the passages carry of what it wrote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agents.answer import Conductor
from agents.assistant import open_router
from agents.events import Answer, Answered, Event, Turn
from agents.setup import prepare
from base.errors import BackendError
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
    refused: str = ""
    """With a model: which stage refused."""
    carried: float = 0.0
    """With a model: the share of its statements that the passages carry."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="BEIR layout, with unanswerable.jsonl beside queries.jsonl")
    parser.add_argument("--predictions", type=Path, metavar="OUT", help="write what became of each question here, as JSON lines")
    parser.add_argument("--model", default="", help="let this model of the catalog answer; 'auto' lets the router choose")
    parser.add_argument("--limit", type=int, default=0, help="ask at most so many questions of each side, evenly spread")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Measure and print."""
    data = load(options.folder)
    strange = {str(row["_id"]): str(row["text"]) for row in rows(options.folder / "unanswerable.jsonl", "_id", "text")}
    sides = [dict(_spread(list(side.items()), options.limit)) for side in (data.queries, strange)]
    decided = asyncio.run(_decided(data.corpus, sides, load_settings(), options.model))
    if options.predictions:
        write_atomic(options.predictions, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in decided))
    figures = scores(decided)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:36} {value}" for name, value in figures.items()))
    return 0


def _spread(items: Sequence[Any], limit: int) -> Sequence[Any]:
    return items if not 0 < limit < len(items) else [items[at * len(items) // limit] for at in range(limit)]


async def _decided(corpus: Any, sides: Sequence[Any], settings: Settings, model: str) -> list[Decided]:
    """Every question of both sides, the answerable ones first."""
    questions = [(id, text, side == 0) for side, texts in enumerate(sides) for id, text in texts.items()]
    out = []
    with bars() as progress:
        if model:
            await prepare(settings, progress)
        async with shelf(corpus, settings, progress) as made, _answering(settings, made, model) as answer:
            for at, (id, text, answerable) in enumerate(questions):
                progress("Asking", at / len(questions))
                one = await _decide(made, id, text, answerable, settings.floor)
                out.append(await _written(one, answer, model) if answer and one.both == "answer" else one)
    return out


@asynccontextmanager
async def _answering(settings: Settings, made: Shelf, model: str) -> AsyncIterator[Answer | None]:
    """Answers from the shelf's documents; None without a model."""
    if not model:
        yield None
        return
    router = open_router(settings)
    try:
        yield Conductor(replace(settings, demo=False), router, made.library).answer
    finally:
        await router.backends.close()


async def _written(one: Decided, answer: Answer, model: str) -> Decided:
    """What became of a question when the model had its say. Raises BackendError when it failed."""
    last: Event | None = None
    async for event in answer(Turn(one.text, model=model, effort="draft", knowledge="docs", scopes=(SCOPE,))):
        last = event
    if not isinstance(last, Answered):
        raise BackendError("The model did not answer.", getattr(last, "remedy", "") or "Run 'relay doctor'.")
    carried = last.grounding.share if last.grounding else 0.0
    return replace(one, both="refuse" if last.refused else "answer", refused=last.refused, carried=carried)


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
    """The score that a stage decides by: for both, whichever is nearer to refusing; what a model's answer carries comes on top."""
    return one.confidence if stage == "gate" else min(one.confidence, one.evidence) + (one.both == "answer") * (1 + one.carried)
