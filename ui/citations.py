"""Citations on the page: [n] as links, chips, and what stands around a passage. Pure; knows no Chainlit, no retrieval, no model.

A link in the text points at `#relay-cite-<turn>-<n>`; public/relay.js hands its click to the chip of that name,
which asks the server through an action. So one way leads to the panel (ui/panel.py), by mouse and by keyboard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rag.cite import Citation
from rag.retrieve import Passage
from ui.steps import span_of_lines

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
_MARK = re.compile(r"\[(\d{1,3})\](?![(:])")


def linked(text: str, citations: Sequence[Citation], turn: str) -> str:
    """The text with every [n] that has a citation made a link; code stays as it is."""
    known = {str(citation.n) for citation in citations}

    def link(match: re.Match[str]) -> str:
        n = match.group(1)
        return f"[\\[{n}\\]](#relay-cite-{turn}-{n})" if n in known else match.group(0)

    parts = _CODE.split(text)
    return "".join(part if index % 2 else _MARK.sub(link, part) for index, part in enumerate(parts))


def where(citation: Citation) -> str:
    """'Sick leave', 'page 3', 'lines 10-24', or several of them; the document's own title is not said twice."""
    heading = (citation.heading or "").removeprefix(citation.document).removeprefix(" › ")
    spots = [heading, f"page {citation.page}" if citation.page else "", span_of_lines(citation.lines)]
    return ", ".join(spot for spot in spots if spot)


def chips(citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """What the answer's element shows: one chip for a number, in order; a number cited twice has one chip."""
    first: dict[int, Citation] = {}
    for citation in citations:
        first.setdefault(citation.n, citation)
    return [
        {"n": n, "document": citation.document, "where": where(citation), "found": citation.by == "relay"}
        for n, citation in sorted(first.items())
    ]


def around(passage: Passage, neighbours: Sequence[Passage]) -> tuple[str, str]:
    """The text before and after a passage, from passages of the same document that may overlap it."""
    before = "\n\n".join(p.text[: passage.start - p.start] for p in neighbours if p.start < passage.start)
    after = "\n\n".join(p.text[max(0, passage.end - p.start) :] for p in neighbours if p.end > passage.end)
    return before.strip(), after.strip()
