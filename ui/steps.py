"""Names and bodies of the page's steps, and its short sentences. Pure functions of events; knows no Chainlit and no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from agents.events import Checked, Escalated, FellBack, Grounded, IntentFound, RouteChosen, StepDone, Totals, Waiting
from rag.retrieve import Passage
from rag.support import Grounding

TITLES = {"answer": "Answer", "draft": "Draft", "refine": "Refine", "check": "Check"}
ICONS = {"answer": "message-square-text", "draft": "pencil-line", "refine": "sparkles", "check": "search-check"}
STAGES = {"rules": "by rules", "default": "no rule spoke, so general", "pinned": "you chose"}
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#])")


def span(ms: float) -> str:
    """A time for people: '0.4 ms', '12 ms', '1.2 s', '2 min 5 s'."""
    if ms < 1:
        return f"{ms:.1f} ms"
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1e3:.1f} s"
    minutes, rest = divmod(round(ms / 1e3), 60)
    return f"{minutes} min {rest} s"


def money(dollars: float) -> str:
    """Notional dollars: '$0', '$0.000012', '$0.0031', '$1.20'."""
    if dollars <= 0:
        return "$0"
    if dollars >= 1:
        return f"${dollars:.2f}"
    return f"${dollars:.6f}".rstrip("0") if dollars < 1e-3 else f"${dollars:.4f}".rstrip("0")


def count(number: int, noun: str) -> str:
    """'1 passage', '12 passages'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def cell(text: object) -> str:
    """Text that stays text inside a Markdown table."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; '' without rows."""
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines]) if lines else ""


def route_name(found: IntentFound, chosen: RouteChosen) -> str:
    """'Route · code · smollm2-starter · 3 ms'."""
    return f"Route · {found.intent.name} · {chosen.route.model} · {span(found.ms + chosen.ms)}"


def route_body(found: IntentFound, chosen: RouteChosen) -> str:
    """Why this intent, why this model, and what became of every other model."""
    intent, route = found.intent, chosen.route
    facts: list[tuple[str, str]] = [
        ("Intent", f"{intent.name}, {intent.confidence:.0%} sure ({STAGES.get(intent.stage, intent.stage)})"),
        ("Words that decided", ", ".join(f"“{words}”" for words in intent.evidence) or "none"),
        ("Runner-up", intent.runner_up or "none"),
        ("Model", f"{route.model}: {route.reason}"),
        ("Time", f"intent {span(found.ms)}, choice {span(chosen.ms)}"),
    ]
    parts = [table(("", ""), facts)]
    if others := table(("Next in line", "Why", "Where"), [(c.model, c.reason, c.backend) for c in route.candidates[1:]]):
        parts.append(others)
    if passed := table(("Passed over", "Why", "Where"), [(c.model, c.reason, c.backend) for c in route.passed_over]):
        parts.append(passed)
    return "\n\n".join(parts)


def place(passage: Passage) -> str:
    """Where a passage stands in its document: 'Leave › Sick leave', 'page 3', 'lines 10-24'."""
    spots = [passage.heading] if passage.heading else []
    if passage.page:
        spots.append(f"page {passage.page}")
    if lines := span_of_lines(passage.lines):
        spots.append(lines)
    return ", ".join(spots)


def span_of_lines(lines: object) -> str:
    """'lines 10-24' from a pair or a string; '' when there are none."""
    if isinstance(lines, tuple | list) and len(lines) == 2:
        return f"lines {lines[0]}-{lines[1]}" if lines[0] else ""
    return f"lines {lines}" if lines else ""


def retrieve_name(grounded: Grounded) -> str:
    """'Retrieve · 3 passages · best 0.62 · 14 ms'."""
    if not grounded.passages:
        return f"Retrieve · nothing close · confidence {grounded.best:.2f} · {span(grounded.ms)}"
    return f"Retrieve · {count(len(grounded.passages), 'passage')} · confidence {grounded.best:.2f} · {span(grounded.ms)}"


def retrieve_body(grounded: Grounded) -> str:
    """What was searched for, the passages with their scores, and what did not fit."""
    # No figure of the keywords: BM25 weighs a word by all documents that hold it, other people's among them.
    rows = [(f"[{n}]", p.document, place(p), f"{p.dense:.2f}", f"{p.sentence:.2f}") for n, p in enumerate(grounded.passages, 1)]
    parts = [f"Searched for: {cell(grounded.asked)}"] if grounded.asked else []
    parts.append(table(("", "Document", "Where", "Closeness", "Best sentence"), rows) or _nothing_close(grounded))
    if grounded.left_out:
        parts.append(f"{count(grounded.left_out, 'more passage')} did not fit into the prompt.")
    return "\n\n".join(parts)


def _nothing_close(grounded: Grounded) -> str:
    return f"Nothing in your documents is close enough: confidence {grounded.best:.2f}, and {grounded.floor:.2f} is asked for."


def running_name(role: str, model: str) -> str:
    """'Draft · phi-4-mini' while it runs."""
    return f"{TITLES.get(role, role.capitalize())} · {model}"


def done_name(done: StepDone, fell: Sequence[FellBack] = ()) -> str:
    """'Draft · phi-4-mini · 1.2 s · 84 tok'; a fallback shows as '⇄', a cut or cached call says so."""
    name = " ⇄ ".join([*(event.model for event in fell), done.model])
    parts = [TITLES.get(done.role, done.role.capitalize()), name, span(done.ms), f"{done.tokens_out:,} tok"]
    ends = {"cancelled": "stopped", "length": "cut at its length limit", "repeats": "cut, it repeated itself", "error": "failed"}
    if done.finish in ends:
        parts.append(ends[done.finish])
    if done.cached:
        parts.append("from cache")
    return " · ".join(parts)


def done_body(done: StepDone, fell: Sequence[FellBack] = (), why: Escalated | None = None, text: str = "") -> str:
    """The step's figures, how it came about, and a draft's own words."""
    rate = f"{done.tokens_per_s:.1f}" if done.tokens_per_s else "too short to tell"
    facts = [
        ("Model", f"{done.model}, {done.backend}"),
        ("First token", span(done.ttft_ms) if done.ttft_ms is not None else "none came"),
        ("Time", span(done.ms)),
        ("Tokens", f"{done.tokens_in:,} in, {done.tokens_out:,} out"),
        ("Tokens/s", rate),
        ("Cost", f"{money(done.cost)} (notional)"),
        ("Counted", "by the model's own tokenizer" if done.counted == "provider" else "estimated"),
    ]
    parts = [f"**Fell back:** {cell(fallback_text(event))}" for event in fell]
    if why is not None:
        parts.append(f"**Escalated:** {cell(escalation_text(why))}")
    parts.append(table(("", ""), facts))
    if text.strip():
        parts.append(f"The draft:\n\n{text.strip()}")
    return "\n\n".join(parts)


def checked_text(event: Checked) -> str:
    """What the check found."""
    if event.enough:
        return f"Enough to answer. Passage [{event.n}] says: “{cell(event.quote)}”"
    return "Not enough: asked for the sentence that answers, the model gave none that stands in the passages."


def carried(grounding: Grounding | None) -> dict[str, Any] | None:
    """How much of an answer the passages carry, in words and as a share; None where there is nothing to say."""
    if grounding is None or not grounding.claims:
        return None
    said, held = len(grounding.claims), grounding.supported
    if not held:
        text = "No passage was found that carries this answer"
    elif held < said:
        text = f"The passages carry {held} of {said} statements; the others are marked"
    else:
        text = "The passages carry this answer" if said == 1 else f"The passages carry all {said} statements"
    return {"text": text, "share": grounding.share}


def fallback_text(event: FellBack) -> str:
    """Sideways, with its reason."""
    return f"{event.model} did not answer, {event.to} takes over. {event.reason}"


def escalation_text(event: Escalated) -> str:
    """Upward, with its reasons."""
    return f"{event.model} drafted, {event.to} refines: {'; '.join(event.reasons)}."


def waiting_text(event: Waiting, model: str) -> str:
    """What is going on before the first token; the page adds the clock."""
    if event.phase == "queued":
        return f"{count(event.ahead, 'message')} ahead in the queue" if event.ahead else f"Next in the queue for {model}"
    return f"Loading {model}" if event.phase == "loading" else f"{model} reads the question"


def footer(totals: Totals, steps: Sequence[StepDone]) -> list[str]:
    """The line under an answer: models, first token, tokens, tokens/s, cost."""
    if not totals.models:
        return ["no model was asked", span(totals.ms)]
    parts = [" → ".join(totals.models)]
    if totals.ttft_ms is not None:
        parts.append(f"first token {span(totals.ttft_ms)}")
    parts.append(f"{totals.tokens_in:,} tok in, {totals.tokens_out:,} out")
    rates = [step.tokens_per_s for step in steps if step.tokens_per_s]
    if rates:
        parts.append(f"{rates[-1]:.1f} tok/s")
    spared = f" (large model alone: {money(totals.always_large)})" if totals.always_large > totals.cost else ""
    return [*parts, f"{money(totals.cost)}{spared}", span(totals.ms)]
