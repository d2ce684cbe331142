"""A PDF's own page beside its passage. Knows where a document's file is, and that it must be the one that was read.

The page never names a file: it names what it was shown (a citation, a passage), and the server finds the rest.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

from base.errors import RelayError
from rag.manifest import DocumentInfo
from rag.picture import draw
from rag.retrieve import Passage

MOST_MB = 60
"""A file above this is not read again for its picture."""


async def picture(info: DocumentInfo | None, passage: Passage, quote: str, uploaded: Path | None) -> dict[str, Any]:
    """{image, width, height, page, pages, at, note}: the passage's page with the quote marked, or a `note` that says why there is none."""
    if info is None or passage.page is None:
        return {"note": "The document is no longer in the library, so its page cannot be shown."}
    try:
        data = await asyncio.to_thread(_bytes, info, uploaded)
        drawn = await draw(data, passage.page, quote, info.name)
    except RelayError as error:
        return {"note": str(error)}
    note = "" if drawn.at or not quote else "The sentence could not be found on the drawn page, so nothing is marked on it."
    image = f"data:{drawn.mime};base64,{base64.b64encode(drawn.data).decode()}"
    facts = {"width": drawn.width, "height": drawn.height, "page": passage.page, "pages": drawn.pages, "at": drawn.at}
    return {"image": image, **facts, "note": note}


def _bytes(info: DocumentInfo, uploaded: Path | None) -> bytes:
    """The file's content, when it is still what was read. Raises RelayError."""
    path = uploaded or Path(info.source)
    try:
        if not path.is_absolute() or not path.is_file():
            raise RelayError("The file is no longer where it was read, so its page cannot be shown.", "The text is what was read.")
        if path.stat().st_size > MOST_MB * 1_000_000:
            raise RelayError("The file is too large to show its page.", "The text is what was read.")
        data = path.read_bytes()
    except OSError as error:
        raise RelayError(f"The file cannot be opened ({type(error).__name__}), so its page cannot be shown.") from error
    if hashlib.sha256(data).hexdigest() != info.hash:
        raise RelayError("The file was changed after it was read, so its page is not shown.", "Read it again to see the new one.")
    return data
