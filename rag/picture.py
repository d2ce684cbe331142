"""A page of a PDF as a picture, with a quote marked on it: drawn in a child process with limits.

Knows PDF and pictures; no library, no chat. Runs as `python -m rag.picture MEGABYTES`: a line of JSON and the PDF's bytes on
standard input, a line of JSON and the picture's on standard output. By then the child may open nothing any more, neither a
file nor a connection, where the platform can forbid it; whatever a hostile file does to it ends with it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from base.errors import Unreadable
from base.settings import ROOT
from rag.read_child import limit_memory

WIDTH, TALLEST = 1100, 2400
"""Pixels. A page is drawn this wide, or less when it would be taller than that."""
QUALITY = (72, 45, 20)
"""Tried in turn until the picture is small enough."""
MOST_BYTES = 300_000
SECONDS = 15.0
MEMORY_MB = 1024
MARK = (255, 226, 120)
SHORTEST = 24
"""Letters of a part of the quote that is still looked for when the whole is not there."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn page."""

    data: bytes
    width: int
    height: int
    pages: int
    """Of the document."""
    at: tuple[float, float] | None
    """Where the mark begins, as a share of width and height; None when the quote was not found on the page."""
    mime: str = "image/webp"


async def draw(data: bytes, page: int, quote: str = "", name: str = "The document", seconds: float = SECONDS) -> Picture:
    """Page `page` (from 1) of the PDF in `data`. Raises Unreadable; cancelling kills the child."""
    request = json.dumps({"page": page, "quote": quote, "bytes": len(data)}).encode() + b"\n"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    child = await asyncio.create_subprocess_exec(
        # -P and cwd: a json.py in the current directory must not be taken for a module.
        *(sys.executable, "-P", "-m", "rag.picture", str(MEMORY_MB)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    try:
        answer, _ = await asyncio.wait_for(child.communicate(request + data), seconds)
    except TimeoutError:
        raise Unreadable(f"{name} took longer than {seconds:g} s to draw.", "Its text is shown below.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    head, _, body = answer.partition(b"\n")
    if not body:
        raise Unreadable(f"{name} could not be drawn.", "Its text is shown below.")
    told = json.loads(head)
    return Picture(body, **{**told, "at": tuple(told["at"]) if told["at"] else None})


def letters(text: str) -> tuple[str, list[int]]:
    """(what of the text is compared, where each of it stands): letters and digits, without case, ligatures and hyphens."""
    kept: list[str] = []
    places: list[int] = []
    for at, character in enumerate(text):
        for one in unicodedata.normalize("NFKD", character).casefold():
            if one.isalnum():
                kept.append(one)
                places.append(at)
    return "".join(kept), places


def span(text: str, quote: str) -> tuple[int, int] | None:
    """Where the quote stands in a page's text, whatever white space, hyphens and ligatures are between: (start, end).

    When the whole is not there, as when the page breaks within it, its longer half that is.
    """
    (there, places), (wanted, _) = letters(text), letters(quote)
    middle = len(wanted) // 2
    for part in (wanted, wanted[:middle], wanted[middle:]):
        if len(part) < min(SHORTEST, len(wanted) or 1):
            continue
        at = there.find(part)
        if at >= 0:
            return places[at], places[at + len(part) - 1] + 1
    return None


def _draw(data: bytes, number: int, quote: str) -> tuple[dict[str, Any], bytes]:
    import pypdfium2
    from PIL import Image

    pdf = pypdfium2.PdfDocument(data)
    page = pdf[min(max(number, 1), len(pdf)) - 1]
    wide, tall = page.get_size()
    scale = min(WIDTH / max(wide, 1), TALLEST / max(tall, 1))
    drawn: Image.Image = page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")
    boxes = list(_boxes(page, quote, drawn.size)) if quote.strip() else []
    for box in boxes:
        _mark(drawn, box)
    body = _small(drawn)
    at = (boxes[0][0] / drawn.width, boxes[0][1] / drawn.height) if boxes else None
    return {"width": drawn.width, "height": drawn.height, "pages": len(pdf), "at": at}, body


def _boxes(page: Any, quote: str, size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles in pixels of the quote's lines: left, top, right, bottom."""
    import pypdfium2.raw as pdfium

    text = page.get_textpage()
    characters = text.count_chars()
    # One character each, so that their numbers are pdfium's: its text leaves some of them out.
    whole = "".join(chr(pdfium.FPDFText_GetUnicode(text.raw, at) or 32) for at in range(characters))
    found = span(whole, quote)
    if found is None:
        return
    for at in range(text.count_rects(found[0], found[1] - found[0])):
        left, bottom, right, top = text.get_rect(at)
        corners = [_pixel(page, x, y, size) for x, y in ((left, top), (right, bottom))]
        xs, ys = sorted(x for x, _ in corners), sorted(y for _, y in corners)
        yield max(0, xs[0] - 2), max(0, ys[0] - 2), min(size[0], xs[1] + 2), min(size[1], ys[1] + 2)


def _pixel(page: Any, x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
    """A point of the page in the picture; knows the page's own rotation and crop."""
    from ctypes import byref, c_int

    import pypdfium2.raw as pdfium

    across, down = c_int(), c_int()
    pdfium.FPDF_PageToDevice(page.raw, 0, 0, *size, 0, x, y, byref(across), byref(down))
    return across.value, down.value


def _mark(drawn: Any, box: Sequence[int]) -> None:
    """Like a text marker: what is white becomes yellow, what is black stays black."""
    from PIL import Image, ImageChops

    if box[2] <= box[0] or box[3] <= box[1]:
        return
    part = drawn.crop(tuple(box))
    drawn.paste(ImageChops.multiply(part, Image.new("RGB", part.size, MARK)), tuple(box[:2]))


def _small(drawn: Any) -> bytes:
    body = b""
    for quality in QUALITY:
        out = io.BytesIO()
        drawn.save(out, "WEBP", quality=quality, method=4)
        body = out.getvalue()
        if len(body) <= MOST_BYTES:
            break
    return body


def lock() -> None:
    """From now on this process opens nothing: no file and no connection. Windows has no such limit."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """One request, one answer; nothing for a file that cannot be drawn."""
    import pypdfium2

    request = json.loads(requests.readline())
    data = requests.read(request["bytes"])
    _warm()
    lock()
    try:
        head, body = _draw(data, request["page"], request["quote"])
    except (pypdfium2.PdfiumError, MemoryError, ValueError, OSError):
        return
    answers.write(json.dumps(head).encode() + b"\n" + body)
    answers.flush()


def _warm() -> None:
    """Load what is loaded late, as long as files may be opened."""
    from PIL import Image

    Image.new("RGB", (2, 2)).save(io.BytesIO(), "WEBP")


if __name__ == "__main__":
    limit_memory(int(sys.argv[1]))
    # Libraries print; the answer keeps standard output to itself.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, pipe)
