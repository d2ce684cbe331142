"""A Turn goes in; a stream of these frozen events comes out. Values only: no I/O, no SDK, no page.

The stream's contract, which every consumer may rely on:
- IntentFound, RouteChosen, then Grounded when the turn wants knowledge, then steps, then exactly one last event:
  Answered, Stopped or Failed. A step of the role "check" has no Tokens; Checked follows it.
- A step is StepStarted, any Waiting, Token…, and StepDone. Steps may run in parallel: every event names its step.
- A Token with `final` belongs to the answer for good; one without belongs to a draft. Whether a draft becomes the
  answer is known when it ends: Promoted says so, and why.
- FellBack is sideways (a call failed before its first token, the next model takes it); Escalated is upward (a weak
  or weighty draft goes to a larger model). After a final Token nothing restarts silently.
- The totals in Answered, Stopped and Failed are exactly the sums of the StepDone events before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from rag.cite import Citation
from rag.retrieve import Passage
from rag.support import Grounding
from router.choose import Route
from router.intents import Intent

Knowledge = Literal["auto", "docs", "off"]
Effort = Literal["auto", "draft", "refine"]
Role = Literal["answer", "draft", "refine", "check"]
Refusal = Literal["", "gate", "room", "check", "support", "model"]
Counted = Literal["provider", "estimated"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation so far."""

    role: Literal["system", "user", "assistant"]
    content: str


class Control:
    """How the page speaks back while an answer runs."""

    def __init__(self) -> None:
        self.keep = asyncio.Event()
        """Set to keep the draft and stop the refinement."""
        self.stop = asyncio.Event()
        """Set to stop the answer where it is."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user asked, and how they want it answered."""

    text: str
    history: tuple[Message, ...] = ()
    model: str = "auto"
    intent: str = ""
    """What the user says that it is; '' lets the router find out."""
    knowledge: Knowledge = "auto"
    effort: Effort = "auto"
    scopes: tuple[str, ...] = ("shared",)
    """Which collections may be searched, as far as `user` has the right to: see agents.access."""
    attached: tuple[str, ...] = ()
    """Document ids that came with this very message."""
    user: str = "local"
    """Who asks: their id from the face's own look at who they are, never from what a page sent."""
    id: str = ""
    control: Control = field(default_factory=Control, compare=False)


@dataclass(frozen=True, slots=True)
class IntentFound:
    """What the message wants; `intent` carries stage, confidence, runner-up and evidence."""

    intent: Intent
    ms: float


@dataclass(frozen=True, slots=True)
class RouteChosen:
    """Which models may answer, in order, each with its reason; `route.passed_over` holds the others with theirs."""

    route: Route
    ms: float


@dataclass(frozen=True, slots=True)
class Grounded:
    """The passages the models will see, numbered from 1 in this order; empty when nothing stood above the floor."""

    passages: tuple[Passage, ...]
    left_out: int
    best: float
    """How sure the gate is that the documents tell something, 0 to 1, whether or not it stood above the floor."""
    floor: float
    ms: float
    asked: str = ""
    """What was searched for: the message, or a follow-up made whole from the conversation."""
    nearest: tuple[Passage, ...] = ()
    """What came closest, for when nothing answers."""
    by_words: bool = False
    """The search had no embedder, so its figures of meaning are 0."""
    scopes: tuple[str, ...] = ()
    """The collections that were searched."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether the passages are enough to answer: a model was asked for a quote, and the quote was looked up."""

    enough: bool
    n: int
    """The quote's passage; 0 for none."""
    quote: str
    ms: float


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A model is about to be asked. A fallback inside the step keeps the step's name."""

    step: str
    role: Role
    model: str
    backend: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why there is no token yet."""

    step: str
    phase: Literal["queued", "loading", "reading"]
    ahead: int = 0
    """In a queue: how many requests come first."""


@dataclass(frozen=True, slots=True)
class Token:
    """Some text of a step, as it comes."""

    step: str
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step's figures. Times in milliseconds; `ttft_ms` counts from the step's start; `cost` is notional dollars."""

    step: str
    role: Role
    model: str
    backend: str
    start_ms: float
    """When it began, after the turn's start."""
    ttft_ms: float | None
    ms: float
    tokens_in: int
    tokens_out: int
    tokens_per_s: float | None
    """Output tokens after the first, over the time after the first."""
    cost: float
    counted: Counted
    cached: bool = False
    finish: str = "stop"
    """stop, length, repeats (cut because it said the same over and over), cancelled or error."""


@dataclass(frozen=True, slots=True)
class FellBack:
    """Sideways: `model` failed before its first token, `to` takes the step."""

    step: str
    model: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class Escalated:
    """Upward: the draft of `model` goes to `to`, for these reasons."""

    step: str
    model: str
    to: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Promoted:
    """The draft of `step` is the answer. `kept` says why no refinement replaced it; '' when none was called for."""

    step: str
    text: str
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the turn's StepDone events; `ms` is the turn's wall time, `ttft_ms` the first token that anybody saw."""

    steps: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    ms: float = 0.0
    ttft_ms: float | None = None
    models: tuple[str, ...] = ()
    always_large: float = 0.0
    """What the last step's tokens would have cost at the large model's price: the cost of always asking that one."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The end: the whole text, its citations, and what it took."""

    text: str
    citations: tuple[Citation, ...]
    totals: Totals
    model: str = ""
    """Who wrote it; '' when no model was asked."""
    notice: str = ""
    """A sentence for the user beside the answer, such as that a starter stood in."""
    grounding: Grounding | None = None
    """What carries each claim of the answer; None when no passages were read."""
    refused: Refusal = ""
    """Which stage found that the documents do not say: the gate on the search, too little room for passages, the check for a
    quote, no support for anything that was written, or the model itself. '' for an answer."""
    nearest: tuple[Citation, ...] = ()
    """Beside a refusal: what came closest."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end: the user stopped it. `text` is what had been written of the answer or the draft."""

    text: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class Failed:
    """The end: what happened and what to do, safe to show. `text` is what had been written."""

    error: str
    remedy: str
    text: str
    totals: Totals
    kind: str = "RelayError"


Event = (
    IntentFound
    | RouteChosen
    | Grounded
    | Checked
    | StepStarted
    | Waiting
    | Token
    | StepDone
    | FellBack
    | Escalated
    | Promoted
    | Answered
    | Stopped
    | Failed
)
Answer = Callable[[Turn], AsyncIterator[Event]]


def plain(value: Any) -> Any:
    """An event as JSON-ready values: its class's name as `type`, then its fields."""
    if is_dataclass(value):
        body = {item.name: plain(getattr(value, item.name)) for item in fields(value)}
        return {"type": type(value).__name__, **body} if isinstance(value, Event) else body
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value
