"""A PDF's page as a picture: the quote is marked where it stands, and a file that does harm is one that could not be drawn."""

from __future__ import annotations

import io
import socket
import subprocess
import sys

import pytest
from hostile import pdf
from PIL import Image

from base.errors import Unreadable
from base.settings import ROOT
from rag.picture import MARK, MOST_BYTES, WIDTH, draw, span

LINES = ["The office", "", "Every em-", "ployee may take the ﬁrst train,", "whatever it costs.", "", "Taxis are for nights."]
PAGE = [line.replace("ﬁ", "fi") for line in LINES]


def test_a_quote_is_found_through_hyphens_ligatures_and_line_ends() -> None:
    page = "\r\n".join(LINES)
    found = span(page, "Every employee may take the first train, whatever it costs.")
    assert found is not None and page[slice(*found)] == "Every em-\r\nployee may take the ﬁrst train,\r\nwhatever it costs"


def test_of_a_quote_that_goes_on_elsewhere_the_part_that_is_there_is_found() -> None:
    page = "and this is where the long sentence of the page begins, to be"
    assert span(page, "this is where the long sentence of the page begins, to be continued on the page that follows it") is not None
    assert span(page, "Something else altogether that nobody ever wrote down here.") is None
    assert span(page, "") is None


async def test_the_quote_is_marked_where_it_stands() -> None:
    drawn = await draw(pdf([["Nothing here."], PAGE]), 2, "Every employee may take the first train, whatever it costs.")
    picture = Image.open(io.BytesIO(drawn.data)).convert("RGB")
    assert (picture.width, drawn.pages) == (WIDTH, 2) and len(drawn.data) < MOST_BYTES
    scale = WIDTH / 612
    # Lines are 16 points apart, the first at 52 from the top: the third to the fifth are marked.
    for row, marked in ((0, False), (2, True), (3, True), (4, True), (6, False)):
        strip = picture.crop((int(72 * scale), int((42 + 16 * row) * scale), int(110 * scale), int((54 + 16 * row) * scale)))
        near = sum(abs(r - MARK[0]) + abs(g - MARK[1]) + abs(b - MARK[2]) < 60 for _, (r, g, b) in strip.getcolors(10**6) or [])
        assert bool(near) == marked, row
    assert drawn.at is not None and drawn.at[1] == pytest.approx((52 + 32 - 12) / 792, abs=0.02)


async def test_a_quote_that_is_not_there_marks_nothing() -> None:
    assert (await draw(pdf([PAGE]), 1, "Bicycles are repaired on Mondays by the porter.")).at is None


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4 nothing", b"\x89PNG\r\n" * 1000, pdf([])])
async def test_what_cannot_be_drawn_is_a_sentence(data: bytes) -> None:
    with pytest.raises(Unreadable, match="could not be drawn"):
        await draw(data, 1, "x")


async def test_a_page_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Unreadable, match="took longer"):
        await draw(pdf([PAGE] * 50), 1, "x", seconds=0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_while_it_draws_the_child_can_open_no_file_and_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tries = f"""
from rag.picture import lock
import socket
open("/dev/null").close()
lock()
for what in (lambda: open("/dev/null"), lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}))):
    try:
        what()
    except OSError as error:
        print(error.errno)
"""
        done = subprocess.run([sys.executable, "-c", tries], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["24", "24"]
