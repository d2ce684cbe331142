"""Marks what no passage carries in an answer's text. Pure; knows no page and no model.

The mark is a link that relay.js takes no step for; relay.css says what it means when it is pointed at.
"""

from __future__ import annotations

from rag.support import Grounding

MARK = " [?](#relay-unsupported)"


def marked(text: str, grounding: Grounding | None) -> str:
    """The text with a mark after each claim that no passage carries; as it is when none is carried, for then a note says so.

    A table's row stays whole: behind its last bar a mark would break it.
    """
    if grounding is None or not grounding.supported:
        return text
    out, at = [], 0
    for claim in grounding.claims:
        if not claim.n and not text[claim.start : claim.end].rstrip().endswith("|"):
            out += [text[at : claim.end].rstrip(), MARK]
            at = claim.end
    return "".join([*out, text[at:]])
