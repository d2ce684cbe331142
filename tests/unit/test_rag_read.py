"""Reading and cutting: structure, exact spans, and files that mean harm."""

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import Unreadable
from rag.chunk import MOST, chunk, sentences
from rag.library import DEMO
from rag.read import Limits, Reader, read


def words(text: str) -> int:
    return len(text.split())


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader(Limits(megabytes=5, seconds=20)) as one:
        yield one


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text for each line of each page; a page may be empty."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        lines = "".join(f"({line}) Tj T* " for line in page.split("\n") if line)
        stream = f"BT /F1 12 Tf 14 TL 50 700 Td {lines}ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        kids.append(len(objects) + 1)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>"
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n" + "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return out + f"{table}trailer << /Root 1 0 R /Size {len(objects) + 1} >>\nstartxref\n{len(out)}\n%%EOF".encode()


async def test_demo_is_cut_along_its_structure_with_exact_spans(reader: Reader) -> None:
    files = sorted(DEMO.glob("*.md"))
    assert 8 <= len(files) <= 12
    for file in files:
        document = await reader.read(file)
        assert all(document.text[block.start : block.end] == block.text for block in document.blocks)
        chunks = chunk(document, words)
        at = 0
        for one in chunks:
            assert document.text[one.start : one.end] == one.text and one.start >= at and words(one.text) <= MOST
            at = one.end
        # Nothing but headings is left between the passages.
        headings = sum(words(block.text) for block in document.blocks if block.kind == "heading")
        assert sum(words(one.text) for one in chunks) >= words(document.text) - headings


async def test_markdown(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(
        "---\ntitle: Leave\n---\n# Leave\n\nSee [the form](http://x/y).\n\n"
        "## Sick\n\n- one\n- two\n\n| a | b |\n|---|---|\n| c | d |\n\n```\nx = 1\n```\n"
    )
    document = await reader.read(file)
    assert document.title == "Leave"
    assert [(block.text, block.heading) for block in document.blocks if block.kind != "heading"] == [
        ("See the form.", ()),
        ("- one", ("Sick",)),
        ("- two", ("Sick",)),
        ("a | b", ("Sick",)),
        ("c | d", ("Sick",)),
        ("x = 1", ("Sick",)),
    ]
    assert "- one\n- two" in document.text


async def test_html_drops_what_nobody_sees(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    file.write_text(
        "<html><head><title>T</title><style>p{}</style></head><body><nav>menu</nav><h2>Rules</h2><p>Be <b>kind</b>.</p>tail"
        "<script>alert(1)</script><ul><li>one<li>two</ul><table><tr><td>a</td><td>b</td></tr></table></body></html>"
    )
    document = await reader.read(file)
    assert document.title == "T"
    assert document.text == "Rules\n\nBe kind.\n\ntail\n- one\n- two\na | b"
    assert document.blocks[1].heading == ("Rules",)


async def test_code_keeps_its_lines(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("import os\n\n\n@cache\ndef first():\n    return 1\n\n\nclass Second:\n    x = 2\n")
    document = await reader.read(file)
    assert [(block.heading, block.lines) for block in document.blocks] == [((), (1, 1)), (("first",), (4, 6)), (("Second",), (9, 10))]
    big = tmp_path / "b.py"
    big.write_text("\n".join(f"def f{i}():\n    return {i} + {i}\n" for i in range(200)))
    document = await reader.read(big)
    lines = document.text.split("\n")
    for one in chunk(document, words):
        assert one.lines and "\n".join(lines[one.lines[0] - 1 : one.lines[1]]) == one.text


async def test_pdf_knows_its_pages(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf("The first page speaks of leave.\nIt goes on here.", "The second page speaks of travel."))
    document = await reader.read(file)
    assert document.blocks[0].page == 1 and "first page" in document.blocks[0].text
    assert document.blocks[-1].page == 2


async def test_docx(reader: Reader, tmp_path: Path) -> None:
    import docx

    made = docx.Document()
    made.add_heading("Policy", 0)
    made.add_heading("Scope", 1)
    made.add_paragraph("It holds for all.")
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "a", "b"
    made.save(str(tmp_path / "a.docx"))
    document = await reader.read(tmp_path / "a.docx")
    assert document.title == "Policy" and document.blocks[-1].text == "a | b"
    assert [block.heading for block in document.blocks if block.text == "It holds for all."] == [("Scope",)]


def nasty() -> dict[str, tuple[bytes, str]]:
    from pypdf import PdfReader, PdfWriter

    locked = io.BytesIO()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("Secret."))))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(locked)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"<x>" + b" " * 300_000_000)
    stranger = io.BytesIO()
    with zipfile.ZipFile(stranger, "w") as archive:
        archive.writestr("hello.txt", b"hello")
    return {
        "empty.md": (b" \n", "is empty"),
        "latin.txt": ("größer".encode("latin-1"), "not in UTF-8"),
        "picture.txt": (b"\x89PNG\0\0\0", "not a text file"),
        "movie.mp4": (b"x", "kind that Relay does not read"),
        "huge.txt": (b"x" * 5_000_001, "5 MB are allowed"),
        "locked.pdf": (locked.getvalue(), "encrypted"),
        "broken.pdf": (b"%PDF-1.7\n" + b"garbage" * 50, "broken PDF"),
        "cut.pdf": (pdf("Hello there.")[:150], "broken PDF"),
        "bomb.docx": (bomb.getvalue(), "unpacks to more"),
        "stranger.docx": (stranger.getvalue(), "broken DOCX"),
        "fake.docx": (b"not a zip", "not a DOCX"),
        "old.docx": (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "encrypted"),
    }


async def test_each_unfit_file_gets_its_own_sentence(reader: Reader, tmp_path: Path) -> None:
    for name, (data, sentence) in nasty().items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Unreadable, match=sentence) as caught:
            await reader.read(tmp_path / name)
        assert name in caught.value.what and caught.value.remedy, name
    with pytest.raises(Unreadable, match="cannot be opened"):
        await reader.read(tmp_path / "absent.md")


async def test_a_scan_has_no_blocks(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf("", ""))
    document = await reader.read(tmp_path / "scan.pdf")
    assert document.blocks == () and chunk(document, words) == ()


async def test_odd_text_survives(reader: Reader, tmp_path: Path) -> None:
    odd = {
        "deep.html": b"<div>" * 3000 + b"deep" + b"</div>" * 3000,
        "quotes.md": b">" * 5000 + b" quoted",
        "nul.md": b"\xef\xbb\xbf# T\r\n\r\nA\x07 b\xc2\xadc\r\n",
        "wide.txt": "\ufeffhello\r\n\r\nworld".encode("utf-16-le"),
        "broken.py": b"def (:\n  x\n",
        "headings.md": b"# One\n\n## Two\n",
    }
    for name, data in odd.items():
        (tmp_path / name).write_bytes(data)
        document = await reader.read(tmp_path / name)
        for one in chunk(document, words):
            assert document.text[one.start : one.end] == one.text
        assert "\r" not in document.text and "\0" not in document.text, name


async def test_a_late_child_is_killed_and_the_next_file_is_read(tmp_path: Path) -> None:
    slow, quick = tmp_path / "slow.md", tmp_path / "quick.md"
    slow.write_text("[" * 200_000 + "*a_" * 200_000)
    quick.write_text("hello")
    with Reader(Limits(seconds=0.05)) as reader:
        began = time.monotonic()
        with pytest.raises(Unreadable, match=r"took longer than 0\.05 s"):
            await reader.read(slow)
        assert time.monotonic() - began < 5
    document = await read(quick)
    assert document.text == "hello"


async def test_a_child_that_eats_memory_fails_alone(tmp_path: Path) -> None:
    file = tmp_path / "big.md"
    file.write_text("- a\n" * 1_000_000)
    with Reader(Limits(seconds=30, memory_mb=300)) as reader:
        with pytest.raises(Unreadable, match=r"too large|made the reader fail"):
            await reader.read(file)
        (tmp_path / "ok.md").write_text("fine")
        document = await reader.read(tmp_path / "ok.md")
        assert document.text == "fine"


async def test_the_child_runs_nothing_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json.py", "base.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "ok.md").write_text("fine")
    monkeypatch.chdir(tmp_path)
    assert (await read(Path("ok.md"))).text == "fine", "a relative path still counts from the current directory"
    assert not (tmp_path / "ran").exists()


def test_sentences() -> None:
    text = 'Dr. Smith left. He said "go." (Really!) See p. 3, e.g. the U.S. law. 1.5 hours? Yes'
    assert [text[a:b] for a, b in sentences(text)] == [
        "Dr. Smith left.",
        'He said "go."',
        "(Really!)",
        "See p. 3, e.g. the U.S. law.",
        "1.5 hours?",
        "Yes",
    ]


async def test_a_sentence_is_cut_only_when_it_alone_is_too_long(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("Short one here. " * 150 + "\n\n" + "endless " * 900)
    document = await reader.read(file)
    chunks = chunk(document, words)
    assert all(words(one.text) <= MOST for one in chunks)
    assert all(one.text.endswith(".") for one in chunks if "Short" in one.text and "endless" not in one.text)
    assert min(words(one.text) for one in chunks) >= 60
