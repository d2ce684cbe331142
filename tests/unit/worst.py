"""Files that mean harm or were harmed, made anew at each run from a seed. Knows formats, nothing of Relay."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator

from whole import edit, ods, page, pdf, put, rezip, stream, words

File = tuple[str, bytes, str]
"""Name, content, and words of the sentence it must be refused with ("" when a document or any sentence will do)."""
OLE = b"\xd0\xcf\x11\xe0" + bytes(600)
BLANK = b" " * 201_000_000
LAUGHS = "<!DOCTYPE a [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12)) + "]>"


def harmed(data: bytes, dice: random.Random) -> bytes:
    """A file after an accident: flipped bits, a cut, a hole, a piece twice, a number grown."""
    raw = bytearray(data)
    at, length = dice.randrange(len(raw)), dice.randint(1, max(1, len(raw) // 4))
    match dice.randrange(6):
        case 0:
            for _ in range(dice.randint(1, 40)):
                raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        case 1:
            del raw[at:]
        case 2:
            raw[at : at + length] = bytes(len(raw[at : at + length]))
        case 3:
            raw[at:at] = raw[at : at + length]
        case 4:
            del raw[at : at + length]
        case _:
            spots = [found.span() for found in re.finditer(rb"\d+", raw)] or [(0, 1)]
            for start, end in sorted(dice.sample(spots, min(3, len(spots))), reverse=True):
                raw[start:end] = dice.choice([b"0", b"-1", b"99999999", b"4294967296", b"9" * 30])
    return bytes(raw)


def accidents(whole: dict[str, bytes], each: int) -> Iterator[File]:
    """Each good file after `each` accidents; packages are harmed inside, too, where no checksum gives it away."""
    for ending, data in whole.items():
        for number in range(each):
            dice = random.Random(f"{ending} {number}")
            broken = harmed(data, dice)
            if data.startswith(b"PK") and number % 3:
                parts = [name for name in zipfile.ZipFile(io.BytesIO(data)).namelist() if name.endswith((".xml", ".rels"))]
                chosen = set(dice.sample(parts, 1 + number % 2)) if len(parts) > 1 else set(parts)
                broken = rezip(data, lambda name, body, chosen=chosen, dice=dice: harmed(body, dice) if name in chosen else body)
            yield f"harmed {number}.{ending}", broken, ""


def strangers(whole: dict[str, bytes]) -> Iterator[File]:
    """Every content under every ending but its own."""
    pictures = {"png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256))}
    others = {"rtf": b"{\\rtf1\\ansi Leave}", "gz": b"\x1f\x8b\x08\0" + bytes(20), "exe": b"MZ" + bytes(range(256)) * 4}
    text = {"md", "html", "csv", "txt", "py", "eml"}
    for what, data in (whole | pictures | others).items():
        for ending in sorted({*whole, "pptm", "xlsm"} - {what}):
            if what in text and ending in text:
                continue
            same = (what, ending) in {("pptx", "pptm"), ("xlsx", "xlsm"), ("xlsx", "xls"), ("ods", "xls"), ("xls", "ods")}
            wanted = "" if same or ending in text else rf"is not an? {ending.upper()}|old \.xls|broken"
            yield f"a {what}.{ending}", data, "not a text file" if ending in text - {"eml", "html"} and what not in others else wanted
    for inside, sentence in (("EncryptedPackage", "is encrypted"), ("WordDocument", r"old \.doc"), ("PowerPoint Document", r"old \.ppt")):
        for ending in ("docx", "pptx", "xlsx"):
            yield f"{inside}.{ending}", OLE + inside.encode("utf-16-le") + bytes(600), sentence
    yield "sealed.xls", OLE + "EncryptedPackage".encode("utf-16-le"), "is encrypted"
    for name in ("old.doc", "old.ppt", "old.xlsb"):
        yield name, OLE, "in the old"


def packages(whole: dict[str, bytes]) -> Iterator[File]:
    """Zip bombs and XML bombs."""
    main = {"docx": "word/document.xml", "pptx": "ppt/slides/slide1.xml", "xlsx": "xl/worksheets/sheet1.xml"}
    for ending, part in main.items():
        good = whole[ending]
        body = zipfile.ZipFile(io.BytesIO(good)).read(part)
        yield f"ratio.{ending}", put(good, part, body + BLANK), "unpacks to more"
        yield f"blank.{ending}", put(good, part, body.replace(b"><", b">" + BLANK[:20_000_000] + b"<", 1)), ""
        whole_inside = padded(good, 0, {"embedded.xlsx": whole["xlsx"]})
        yield f"cut behind a whole one.{ending}", whole_inside[: whole_inside.index(b"PK\x05\x06") + 30], "is a broken"
        yield f"many.{ending}", padded(good, 21_000), "parts"
        yield f"liar.{ending}", declared(good, 10), "broken"
        yield f"giant.{ending}", declared(good, 0xFFFFFFF0), "unpacks to more"
        yield f"overlap.{ending}", overlapping(good), "broken"
        yield f"locked.{ending}", flagged(good), "is encrypted"
        yield f"nested.{ending}", rezip(good, lambda name, old, part=part, good=good: good if name == part else old), "broken"
        yield (
            f"mainless.{ending}",
            rezip(good, lambda name, old, part=part: None if name == part else old),
            "broken" if ending == "docx" else "",
        )
        yield (
            f"typeless.{ending}",
            rezip(good, lambda name, old: None if name.startswith("[") else old),
            "" if ending == "xlsx" else "broken",
        )
        for where in (part, "[Content_Types].xml", "_rels/.rels", "docProps/core.xml"):
            laughing = zipfile.ZipFile(io.BytesIO(good)).read(where).replace(b"?>", b"?>" + LAUGHS.encode(), 1)
            cut = laughing.rindex(b"</")
            yield f"laughs {where.replace('/', ' ')}.{ending}", put(good, where, laughing[:cut] + b"&a11;" + laughing[cut:]), ""
        deep = b"<a:x xmlns:a='urn:a'>" * 100_000
        yield f"deep.{ending}", put(good, part, deep), "broken" if ending != "xlsx" else ""
        yield f"wide.{ending}", put(good, part, b"<x " + b" ".join(b"a%d='1'" % n for n in range(60_000)) + b"/>"), ""


def padded(good: bytes, entries: int, more: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO(good)
    with zipfile.ZipFile(out, "a") as archive:
        for name, data in (more or {}).items():
            archive.writestr(name, data)
        for number in range(entries):
            archive.writestr(str(number), b"")
    return out.getvalue()


def headers(data: bytes) -> list[int]:
    """Where the entries of the central directory begin."""
    return [found.start() for found in re.finditer(b"PK\x01\x02", data)]


def declared(good: bytes, size: int) -> bytes:
    raw = bytearray(good)
    for at in headers(good):
        raw[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(raw)


def overlapping(good: bytes) -> bytes:
    raw = bytearray(good)
    for at in headers(good):
        raw[at + 42 : at + 46] = bytes(4)
    return bytes(raw)


def flagged(good: bytes) -> bytes:
    raw = bytearray(good)
    for at in headers(good):
        raw[at + 8] |= 1
    return bytes(raw)


def sheets(whole: dict[str, bytes]) -> Iterator[File]:
    """Spreadsheets with rows, cells and strings where none should be."""
    good, part = whole["xlsx"], "xl/worksheets/sheet1.xml"
    cell = b'<row r="1"><c r="%s" t="inlineStr"><is><t>far</t></is></c></row>'

    def with_rows(rows: bytes) -> bytes:
        body = zipfile.ZipFile(io.BytesIO(good)).read(part)
        return put(good, part, re.sub(rb"<sheetData>.*</sheetData>", lambda _: b"<sheetData>" + rows + b"</sheetData>", body, flags=re.S))

    yield "corner.xlsx", with_rows(b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'), ""
    yield "beyond.xlsx", with_rows(b'<row r="2000000000"><c r="A2000000000"><v>1</v></c></row>'), ""
    yield "column.xlsx", with_rows(cell % b"ZZZZZZ1"), ""
    yield "index.xlsx", with_rows(b'<row r="1"><c r="A1" t="s"><v>999999</v></c></row>'), ""
    yield (
        "numbers.xlsx",
        with_rows(b"<row>" + b"".join(b"<c><v>%s</v></c>" % n for n in (b"1e400", b"nan", b"9" * 5000, b"x", b"")) + b"</row>"),
        "",
    )
    yield "rows.xlsx", with_rows(b"<row><c><v>1</v></c></row>" * 20_000), "TEXT Rows 19981-20000"
    yield "wide rows.xlsx", with_rows(b'<row><c r="XFD1"><v>1</v></c></row>' * 5_000), ""
    yield "style.xlsx", edit(good, "xl/styles.xml", b"<fonts", b"<fonts count='x'><font><sz val='big'/></font></fonts><fonts"), ""
    yield "states.xlsx", edit(good, "xl/workbook.xml", b'state="visible"', b'state="odd"'), ""
    repeated = "table:number-columns-repeated='16384'"
    filled = f"<table:table-cell {repeated} office:value-type='string'><text:p>x</text:p></table:table-cell>"
    yield "repeated.ods", ods(f"<table:table-row table:number-rows-repeated='1048576'>{filled}</table:table-row>"), ""
    yield "many strings.xlsx", edit(good, "xl/sharedStrings.xml", b"</sst>", b"<si><t>x</t></si>" * 2_000_000 + b"</sst>"), ""


def pdfs(whole: dict[str, bytes]) -> Iterator[File]:
    """Page trees that bite their tails, streams that never end."""
    from pypdf import PdfReader, PdfWriter

    text = words("Hello there.")
    locked = io.BytesIO()
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(whole["pdf"])))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(locked)
    yield "locked.pdf", locked.getvalue(), "is encrypted"
    yield "loop.pdf", pdf(page(text, kids="[2 0 R]")), ""
    yield "count.pdf", pdf(page(text, count=1_000_000_000)), ""
    yield "negative.pdf", pdf(page(text, count=-5)), ""
    yield "same page.pdf", pdf(page(text, kids=f"[{'3 0 R ' * 100_000}]", count=100_000)), ""
    deep: dict[int, str | bytes] = page(text, kids="[10 0 R]")
    deep |= {n: f"<< /Type /Pages /Count 1 /Parent {max(2, n - 1)} 0 R /Kids [{n + 1} 0 R] >>" for n in range(10, 20_010)}
    yield "deep tree.pdf", pdf(deep | {20_010: deep[3]}), ""
    form = "/XObject << /X0 5 0 R >> /Font << /F1 9 0 R >>"
    own = stream(b"/X0 Do /X0 Do", f"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << {form} >>")
    yield "own form.pdf", pdf(page(stream(b"/X0 Do"), form) | {5: own}), ""
    big = zlib.compress(b"BT /F1 12 Tf (x) Tj ET " * 5_000_000, 1)
    yield "stream.pdf", pdf(page(stream(big, "/Filter /FlateDecode"))), ""
    twice = zlib.compress(zlib.compress(BLANK * 3, 1), 9)
    yield "twice.pdf", pdf(page(stream(twice, "/Filter [/FlateDecode /FlateDecode]"))), ""
    yield "length.pdf", pdf(page(b"<< /Length 99999999999 >>\nstream\nBT ET\nendstream")), ""
    yield "own length.pdf", pdf(page(b"<< /Length 4 0 R >>\nstream\nBT ET\nendstream")), ""
    yield "brackets.pdf", pdf(page(stream(b"[" * 1_000_000))), ""
    yield "arrays.pdf", pdf(page(text) | {5: "[" * 1_000_000}, "/Root 1 0 R /Info 5 0 R"), ""
    yield "strings.pdf", pdf(page(stream(b"BT /F1 9 Tf " + b"(" * 1_000_000))), ""
    yield "own root.pdf", pdf(page(text), "/Root 1 0 R /Prev 9"), ""
    marks = {5: "<< /First 6 0 R /Last 6 0 R >>", 6: "<< /Title (a) /Parent 5 0 R /Next 6 0 R /First 5 0 R /Dest [3 0 R /Fit] >>"}
    outlined = page(text) | {1: "<< /Type /Catalog /Pages 2 0 R /Outlines 5 0 R >>"} | marks
    yield "own mark.pdf", pdf(outlined), ""
    yield "picture.pdf", pdf(page(stream(b"q 600 0 0 700 0 0 cm /I Do Q"), "/XObject << /I 5 0 R >>") | {5: image()}), "NO TEXT"
    mixed = page(text, kids="[3 0 R 6 0 R 3 0 R]", count=3) | {6: "<< /Type /Page /Parent 2 0 R /Contents 77 0 R /MediaBox (x) >>"}
    yield "one bad page.pdf", pdf(mixed), "TEXT Hello there"
    yield "huge page.pdf", pdf(page(text) | {3: "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 1e30 -1e30] /Contents 4 0 R >>"}), ""


def image() -> bytes:
    return stream(bytes(100), "/Type /XObject /Subtype /Image /Width 10 /Height 10 /ColorSpace /DeviceGray /BitsPerComponent 8")


def texts() -> Iterator[File]:
    """Marks that open and never close, lines without an end, letters of no alphabet."""
    many = 100_000
    for name in ("a.txt", "a.md", "a.html", "a.csv", "a.py", "a.json", "a.eml"):
        yield f"empty {name}", b"", "is empty"
        yield f"blank {name}", b" \n\t\r\n" * 500, "is empty"
        yield f"nul {name}", b"a\0b" * 500, "" if name.endswith("eml") else "not a text file"
        yield f"latin {name}", "größer".encode("latin-1"), "not an e-mail" if name.endswith("eml") else "not in UTF-8"
        yield f"cut {name}", "größer".encode()[:3] * 3, "not an e-mail" if name.endswith("eml") else "not in UTF-8"
        yield (
            f"nothing {name}",
            "\u200b\u200d\u2060\ufeff\u00ad\u3164\u2800\u202e".encode() * 99,
            "not an e-mail" if "eml" in name else "NO TEXT",
        )
        yield f"wide {name}", "\ufeffHello there".encode("utf-16-le"), "not an e-mail" if name.endswith("eml") else "TEXT Hello there"
        yield f"big {name}", "\ufeffHello there".encode("utf-16-be"), "not an e-mail" if name.endswith("eml") else "TEXT Hello there"
        yield (
            f"line {name}",
            b"Subject: x\n\n" * name.endswith("eml") + b"Word and more, " * (1_300_000 if name in ("a.txt", "a.html") else 150_000),
            "",
        )
        yield f"accents {name}", b"Subject: x\n\n" * name.endswith("eml") + ("a" + "\u0301\u0323" * 300_000).encode(), ""
        yield f"noncharacters {name}", b"Subject: x\n\n" * name.endswith("eml") + "a\ufffe\uffff\U0010ffffb\x85\x9f".encode(), ""
    for mark in (
        "[",
        "](",
        "![",
        "*a _b ",
        "**a *",
        "`" * 3 + "a ",
        "<",
        "<a ",
        "> ",
        "- ",
        "|",
        "&#x",
        "\\",
        "[a]: b\n",
        "[a](<",
        "~~a ",
        "# ",
        "a  \n",
    ):
        yield f"marks {ord(mark[0])} {len(mark)} {ord(mark[-1])}.md", (mark * (many // 3)).encode(), ""
    yield "list.md", b"".join(b" " * (2 * n) + b"- x\n" for n in range(1000)), ""
    yield "table.md", b"|a" * 1_000 + b"|\n" + b"|-" * 1_000 + b"|\n" + b"|b\n" * 5_000, ""
    yield "long heading.md", b"# " + b"h" * 1_000_000 + b"\n\n" + b"p\n\n" * 10_000, ""
    yield "paragraphs.txt", b"a\n\n" * 500_000, "paragraphs or rows"
    for tag in (b"<div>", b"<b>", b"<table><tr><td>", b"<ul><li>", b"<a href=x>", b"<svg>", b"<template>", b"<select>", b"<p><b x>"):
        yield f"tags {tag[1:3].decode().strip('>')} {len(tag)}.html", tag * 6_000 + b"deep" + b"</b>x" * 1000, ""
    yield "formats.html", b"".join(b"<b id=%d>" % n for n in range(3000)) + b"<p>x" * 3000, ""
    yield "entities.html", b"&amp;&#1114112;&#xD800;&nope;" * many, ""
    for charset in ("punycode", "idna", "utf-16", "undefined", "base64", "unicode_escape", "x" * 20, "utf-7"):
        head = f"<meta charset={charset}><p>".encode()
        yield f"charset {charset}.html", head + b"Hello there" + b"-z0" * 300_000, "TEXT Hello there"
        if charset == "utf-16":
            continue
        mail = f"Subject: x\nContent-Type: text/plain; charset={charset}\n\n".encode()
        yield f"charset {charset}.eml", mail + b"Hello there" + b"-z0" * 300_000, "TEXT Hello there"
    for bracket in ("(", "[", "{", "-", "not ", "lambda:", "a.", "f(", "@", "if 1:\n ", "'''", "f'{"):
        yield f"code {ord(bracket[0])} {len(bracket)}.py", (bracket * many).encode(), ""
    yield "brackets.json", b"[" * 5_000_000, ""
    yield "column.csv", b"a\n" + b"x" * 999_999 + b"\n", ""
    yield "field.csv", b"a,b\n" + b"x" * 1_000_001 + b",1\n", "broken table"
    yield "quote.csv", b'a,b\n"' + b"x,\n" * 2_000_000, ""
    yield "commas.csv", b"," * 100_000 + b"\n" + b"1," * 100_000, ""
    yield "names.csv", b"n" * 900_000 + b",b\n" + b"1,2\n" * 10_000, ""
    yield "late nul.csv", b"a,b\n" + b"1,2\n" * 5000 + b"\0,\0\n", ""
    yield from mails()


def mails() -> Iterator[File]:
    for depth in (50, 1000, 10_000):
        parts = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(depth))
        yield f"deep {depth}.eml", f"Subject: x\n{parts}\nHello there\n".encode(), "TEXT Subject: x" if depth < 100 else ""
    inner = "Content-Type: message/rfc822\n\n" * 2_000
    yield "mail in mail.eml", f"Subject: x\n{inner}Subject: y\n\nz\n".encode(), ""
    for name, value in {"round": "(" * 100_000, "angle": "<" * 100_000, "words": "=?utf-8?q?x?= " * 20_000, "at": "a@b," * 50_000}.items():
        yield f"head {name}.eml", f"From: {value}\nSubject: x\n\nHello there\n".encode(), ""
        yield f"type {name}.eml", f"Subject: x\nContent-Type: text/plain; charset={value}; x*0*={value}\n\nHello there\n".encode(), ""
    yield "heads.eml", b"X-A: b\n" * 300_000 + b"\nx", ""
    yield "quoted.eml", b"Subject: x\nContent-Transfer-Encoding: quoted-printable\n\n" + b"=" * 3_000_000, ""
    yield "base.eml", b"Subject: x\nContent-Transfer-Encoding: base64\n\n" + b"A" * 3_000_001, ""
    latin = b"Subject: x\nContent-Type: text/html; charset=iso-8859-1\n\n<meta charset=iso-8859-1><p>gr\xf6\xdfer</p>"
    yield "declared twice.eml", latin, "TEXT größer"
