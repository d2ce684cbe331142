"""The side panel with a cited passage. Knows Chainlit's sidebar; finds and decides nothing."""

from __future__ import annotations

import chainlit as cl

from rag.cite import Citation
from ui.citations import where

ELEMENT = "RelayPassage"


def passage(citation: Citation, before: str, text: str, after: str) -> cl.CustomElement:
    """The passage for the side panel: what stands around it, and the quote to mark."""
    props = {
        "n": citation.n,
        "document": citation.document,
        "where": where(citation),
        "found": citation.by == "relay",
        "before": before,
        "text": text,
        "after": after,
        "quote": citation.quote,
    }
    # With an address of its own the element is not written to disk for every opening; 'side' would open the panel by itself.
    return cl.CustomElement(name=ELEMENT, props=props, display="inline", url=f"/public/elements/{ELEMENT}.jsx")


async def show(element: cl.CustomElement) -> None:
    """Open the side panel with it, in place of what it showed."""
    await cl.ElementSidebar.set_elements([element], key=element.id)
    # The title comes last: a title without elements is lost when the elements arrive.
    await cl.ElementSidebar.set_title(str(element.props["document"]))
