"""The side panel: a cited passage, or the knowledge page. Knows Chainlit's sidebar; finds and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import chainlit as cl

from rag.cite import Citation
from ui.citations import where


def passage(citation: Citation, turn: str, before: str, text: str, after: str) -> cl.CustomElement:
    """The passage for the side panel: what stands around it, and the quote to mark."""
    props = {
        "turn": turn,
        "n": citation.n,
        "document": citation.document,
        "where": where(citation),
        "found": citation.by == "relay",
        "before": before,
        "text": text,
        "after": after,
        "quote": citation.quote,
        # Only a PDF has both: the panel then asks for its page.
        "page": citation.page,
    }
    return _element("RelayPassage", props)


def knowledge(first: Mapping[str, Any], query: str) -> cl.CustomElement:
    """The knowledge page, with what it shows first."""
    return _element("RelayKnowledge", {"document": "Knowledge", "first": dict(first), "query": query})


def _element(name: str, props: dict[str, Any]) -> cl.CustomElement:
    # With an address of its own the element is not written to disk for every opening; 'side' would open the panel by itself.
    return cl.CustomElement(name=name, props=props, display="inline", url=f"/public/elements/{name}.jsx")


async def show(element: cl.CustomElement) -> None:
    """Open the side panel with it, in place of what it showed."""
    await cl.ElementSidebar.set_elements([element], key=element.id)
    # The title comes last: a title without elements is lost when the elements arrive.
    await cl.ElementSidebar.set_title(str(element.props["document"]))
