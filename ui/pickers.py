"""What the user may choose beside the composer, and the four starters. Knows words and ids; the models come from the assistant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import chainlit as cl
from chainlit.context import context
from chainlit.types import CommandDict

from agents.assistant import ModelInfo
from agents.events import Effort, Knowledge

KNOWLEDGE = (
    ("auto", "Auto", "Your documents when the question asks for them"),
    ("docs", "Docs only", "Only from your documents; says so when they do not tell"),
    ("off", "Off", "The model alone"),
)
EFFORT = (
    ("auto", "Auto", "A draft, refined when it pays"),
    ("draft", "Draft", "The small model alone, fastest"),
    ("refine", "Draft → refine", "A small model drafts, a larger one refines"),
)

COMMANDS: list[CommandDict] = [
    {
        "id": "Knowledge",
        "description": "What is in the library, and why something is found or not",
        "icon": "library",
        "button": False,
        "persistent": False,
        "selected": False,
    }
]

SNIPPET = """def totals(rows):
    result = {}
    for i in range(len(rows)):
        if rows[i]["user"] in result.keys():
            result[rows[i]["user"]] = result[rows[i]["user"]] + rows[i]["amount"]
        else:
            result[rows[i]["user"]] = rows[i]["amount"]
    return result"""
PARAGRAPH = (
    "The city library will stay open until ten in the evening from March on. The council voted for the longer hours after a "
    "trial in autumn, when visits after six rose by forty percent and most of the new visitors were students. Two librarians "
    "will be hired, paid for by a grant that ends in three years; the council will then decide whether to go on."
)
TICKET = "Hello, I was charged twice for my March invoice and cannot download the receipt. Please refund one of the payments."
STARTERS = (
    ("Refactor code", f"Refactor this Python function so that it is short and clear:\n\n```python\n{SNIPPET}\n```", "code"),
    ("Summarize text", f"Summarize this paragraph in one sentence:\n\n{PARAGRAPH}", "summarize"),
    ("Classify a ticket", f"Classify this support ticket as billing, technical, account or other:\n\n{TICKET}", "classify"),
    ("Ask the handbook", "How many weeks of paid parental leave may an employee take?", "handbook"),
)


def starters() -> list[cl.Starter]:
    """Four real prompts, one for each intent."""
    return [cl.Starter(label=label, message=message, icon=f"/public/icons/{icon}.svg") for label, message, icon in STARTERS]


def modes(models: Sequence[ModelInfo]) -> list[cl.Mode]:
    """The three pickers; a model that cannot be used says why."""
    return [
        cl.Mode(id="model", name="Model", options=[_auto(), *(_model(info) for info in sorted(models, key=lambda info: not info.usable))]),
        cl.Mode(id="knowledge", name="Knowledge", options=_options(KNOWLEDGE, "book-open")),
        cl.Mode(id="effort", name="Effort", options=_options(EFFORT, "gauge")),
    ]


def _auto() -> cl.ModeOption:
    return cl.ModeOption(id="auto", name="Auto", description="The model that fits the message", icon="waypoints", default=True)


def _model(info: ModelInfo) -> cl.ModeOption:
    about = info.about if info.usable else f"Cannot be used now: {info.reason}"
    return cl.ModeOption(id=info.name, name=info.name, description=about, icon="cpu" if info.usable else "circle-slash")


def _options(rows: Sequence[tuple[str, str, str]], icon: str) -> list[cl.ModeOption]:
    return [cl.ModeOption(id=key, name=name, description=about, icon=icon, default=key == "auto") for key, name, about in rows]


async def show(models: Sequence[ModelInfo]) -> None:
    """Send the pickers; Chainlit forgets them on resume, so this is called there too."""
    await context.emitter.set_modes(modes(models))


def choices(picked: dict[str, str] | None) -> tuple[str, Knowledge, Effort]:
    """What a message's pickers say: model, knowledge, effort. What is unknown counts as auto."""
    picked = picked or {}
    knowledge, effort = picked.get("knowledge", "auto"), picked.get("effort", "auto")
    return (
        picked.get("model") or "auto",
        cast(Knowledge, knowledge) if knowledge in {row[0] for row in KNOWLEDGE} else "auto",
        cast(Literal["auto", "draft", "refine"], effort) if effort in {row[0] for row in EFFORT} else "auto",
    )


def is_knowledge(message: cl.Message | None) -> bool:
    """Whether it asks for the knowledge page, by the menu or written out."""
    if message is None:
        return False
    return message.command == "Knowledge" or message.content.strip().lower().split(maxsplit=1)[:1] == ["/knowledge"]


def query_of(message: cl.Message) -> str:
    """What to search for there; '' for nothing."""
    text = message.content.strip()
    return text if message.command else " ".join(text.split()[1:])
