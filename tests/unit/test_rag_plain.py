"""CSV and e-mail: what they say of rows and headers, and the broken ones."""

import random
from email.message import EmailMessage

import pytest

from base.errors import Unreadable
from rag.chunk import chunk
from rag.document import Document
from rag.kinds import kind_of
from rag.parse_plain import ROWS, parse_csv, parse_eml


def words(text: str) -> int:
    return len(text.split())


def exact(document: Document) -> None:
    """Every block stands where it says."""
    assert all(document.text[block.start : block.end] == block.text for block in document.blocks)


def test_a_row_says_its_columns_and_its_number() -> None:
    lines = ["city;nights;cap", *(f"Town {n};{n % 7};{100 + n}" for n in range(45))]
    document = parse_csv("\r\n".join(lines).encode(), "caps.csv", "caps")
    exact(document)
    assert document.title == "caps" and "city: Town 3 | nights: 3 | cap: 103" in document.text
    headings = [block.text for block in document.blocks if block.kind == "heading"]
    assert headings == [f"Rows 2-{ROWS + 1}", f"Rows {ROWS + 2}-{2 * ROWS + 1}", "Rows 42-46"]
    last = chunk(document, words)[-1]
    assert last.heading == ("Rows 42-46",) and document.text[last.start : last.end] == last.text


def test_odd_tables() -> None:
    numbers = parse_csv(b"1,2\n3,4\n", "n.csv", "n")
    assert "1 | 2" in numbers.text and "3 | 4" in numbers.text, "a first row of numbers names nothing"
    quoted = parse_csv(b'name\tnote\nAda\t"two\nlines"\n', "q.tsv", "q")
    assert "name: Ada | note: two lines" in quoted.text
    longer = parse_csv(b"a,b\n1,2,3\n\n,,\n", "l.csv", "l")
    assert "a: 1 | b: 2 | 3" in longer.text and "Rows 2-2" in longer.text
    assert parse_csv(b"\n\n,,,\n", "e.csv", "e").blocks == ()
    with pytest.raises(Unreadable, match="broken table"):
        parse_csv(b'a,b\n"' + b"x" * 1_000_001, "b.csv", "b")
    with pytest.raises(Unreadable, match="UTF-8"):
        parse_csv(b"caf\xe9,1\n", "c.csv", "c")
    assert (kind_of("A.CSV"), kind_of("x.tsv"), kind_of("y.eml")) == ("csv", "csv", "eml")


def mail(html: bool = False) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "Ada <ada@example.org>", "all@example.org"
    message["Subject"], message["Date"] = "Müller: new parking rules", "Mon, 02 Nov 2026 09:00:00 +0000"
    if html:
        message.set_content("<p>Cars are parked <b>behind</b> the house.</p><script>x()</script>", subtype="html")
    else:
        message.set_content("Cars are parked behind the house.\n\nBicycles stand in the yard.\n")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    return message


@pytest.mark.parametrize("html", [False, True])
def test_a_mail_keeps_its_headers_and_its_body(html: bool) -> None:
    document = parse_eml(mail(html).as_bytes(), "m.eml", "m")
    exact(document)
    assert document.title == "Müller: new parking rules"
    assert "From: Ada <ada@example.org>" in document.text and "Date: Mon, 02 Nov 2026" in document.text
    assert "Cars are parked behind the house." in document.text and "x()" not in document.text
    assert document.text.endswith("Attached: plan.pdf")


def test_broken_mails_are_said_or_read_but_never_break_the_reader() -> None:
    with pytest.raises(Unreadable, match="not an e-mail"):
        parse_eml(b"just some words\nand more", "x.eml", "x")
    dice, whole = random.Random(3), mail().as_bytes()
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 30)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        try:
            exact(parse_eml(bytes(broken[: dice.randint(1, len(broken))]), "x.eml", "x"))
        except Unreadable as error:
            assert error.remedy
