"""Good files of each kind, made by the libraries or by hand, and ways to change what is inside a package. Knows nothing of Relay."""

from __future__ import annotations

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Callable
from email.message import EmailMessage

TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
OLD_BOOK = (
    "c-rk)O=uHA6#izDG(R?NQd6NVlu)p0EuwhwQr8Bw7cJF`B7$z*MMG;MNj$U%t=1d`!IR>p(2F2dFaDqhy?GESdJqI5(Tm`zpx~j+`sVGfrkX<o8m!K@%$v7w-rIRQ@6F84"
    "zFdfxXYX}a@Dp~!hpHV$ON~rW341p&P`hnQ)~iEQY=t$2aEJog62Rl=i=d35jCTbZ?)sk*1>RFRhO-#WWvyfrkzyYVA$=GUe#$)!H>tFti~Z_gdXnjSrgvEP3DZ3+xx#da"
    "bj#u>7WC19U2Yy9(fYWpji|r_wt35v9q7b!na3Bd3P(49;e5uJ_&XbV{jHb-MQ+5(T6trlj0A;n4qxmf@Y$QIPm@aCT)6<rzpj)A>&UNZeqb8*2_X})L<#xP=S;)YIrEfN"
    "EFp^90Vm-5GlgPd3EPPU7c$KnXDq5rW3oVY!=^zrl}oP!PG?Nh$|hw?M6TOB&tog*d6cuim8gk!=HomEVziPk-CBHgAU&oZXUR0L?amIcQMwEp7o`Omw{Z)5&AJ0jw=%uN"
    "Pwip8n`wePr@DWv(`EL}u+C*}?WcZrGG6POYWU5>mp&bQ*jxIbZy|nuq%xJ5f1}T$k9H)J?Bz9sK`|(9T$gyHd$n-aig!%Aepxp{TFmv`cDK29EF;2foT+msM@P8&qK>{`"
    "efh-mT7><HW6IUn>ga2%?{oE?(eK$tJFnJ(`?8T%u^(tg48?c4R%0mY#!$X1k1Fbos)B-of`WpA!v6)~ezp6Y^8}wO<acGz{jal3rK*0D{IfWO99=~^mhMHC>O3YJ%AXAg"
    "2=7^9l{Vi0LW#rFdmiIRvmfIP=P#WLMD6>m+A#L}rck5(R~zy35BL8KW*hhD"
)
"""A workbook of the old Excel in base 85, deflated: sheets Budget and, hidden, Lists. No library here can make one."""


def pdf(objects: dict[int, str | bytes], trailer: str = "/Root 1 0 R") -> bytes:
    """A PDF of these objects with a right cross-reference table."""
    out, offsets = b"%PDF-1.7\n", {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += f"{number} 0 obj\n".encode() + (body if isinstance(body, bytes) else body.encode("latin-1")) + b"\nendobj\n"
    start, size = len(out), max(objects) + 1
    rows = "".join(f"{offsets.get(n, 0):010} {'00000 n' if n in offsets else '65535 f'} \n" for n in range(size))
    return out + f"xref\n0 {size}\n{rows}trailer << {trailer} /Size {size} >>\nstartxref\n{start}\n%%EOF".encode()


def stream(data: bytes, more: str = "") -> bytes:
    return f"<< /Length {len(data)} {more} >>\nstream\n".encode() + data + b"\nendstream"


def page(contents: bytes, resources: str = "/Font << /F1 9 0 R >>", kids: str = "[3 0 R]", count: int = 1) -> dict[int, str | bytes]:
    """The objects of a PDF with one page."""
    return {
        1: "<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Count {count} /Kids {kids} >>",
        3: f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << {resources} >> >>",
        4: contents,
        9: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    }


def words(text: str) -> bytes:
    return stream(f"BT /F1 12 Tf 14 TL 50 700 Td {''.join(f'({line}) Tj T* ' for line in text.splitlines())}ET".encode("latin-1"))


def rezip(data: bytes, change: Callable[[str, bytes], bytes | None], plain: str = "") -> bytes:
    """A zip with its entries changed; None leaves one out; `plain` stays as it is, without compression."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if (body := change(entry, old.read(entry))) is not None:
                # ZipInfo: without the time of day, so that each run makes the same bytes.
                new.writestr(zipfile.ZipInfo(entry), body, zipfile.ZIP_STORED if entry == plain else zipfile.ZIP_DEFLATED)
    return out.getvalue()


def put(data: bytes, part: str, body: bytes) -> bytes:
    """A zip with one entry replaced."""
    return rezip(data, lambda name, old: body if name == part else old)


def edit(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """A zip in which one entry has `new` for the first `old`."""
    return rezip(data, lambda name, body: body.replace(old, new, 1) if name == part else body)


def without(data: bytes, part: str) -> bytes:
    return rezip(data, lambda name, body: None if name == part else body)


def seeds() -> dict[str, bytes]:
    """A good file of each kind, made by the libraries themselves."""
    import docx
    import openpyxl
    from pptx import Presentation

    word, deck, book = docx.Document(), Presentation(), openpyxl.Workbook()
    word.add_heading("Leave", 1)
    word.add_paragraph("Everyone has thirty days.", style="List Bullet")
    word.add_table(2, 2).cell(0, 0).text = "days"
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = "Leave", "Everyone has thirty days."
    slide.shapes.add_table(2, 2, 0, 0, 900, 900).table.cell(0, 0).text = "days"
    slide.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "inside"
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    for row in (["name", "days"], ["Ada", 30], ["Bob", 29.5]):
        book.active.append(row)
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Ada <ada@example.org>", "Leave"
    mail.set_content("Everyone has thirty days.\n")
    mail.add_alternative("<p>Everyone has <b>thirty</b> days.</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    mail.set_boundary("an-outer-boundary")
    mail.get_payload(0).set_boundary("an-inner-boundary")
    saved = {}
    for ending, made in {"docx": word, "pptx": deck, "xlsx": book}.items():
        made.save(out := io.BytesIO())
        saved[ending] = rezip(out.getvalue(), lambda name, body: TIME.sub(b"2024-05-01T00:00:00", body) if "core" in name else body)
    return saved | {
        "pdf": pdf(page(words("Leave\nEveryone has thirty days.\nAsk in time."))),
        "ods": ods(
            "<table:table-row><table:table-cell office:value-type='string'><text:p>days</text:p></table:table-cell></table:table-row>"
        ),
        "xls": zlib.decompress(base64.b85decode(OLD_BOOK)),
        "eml": mail.as_bytes(),
        "md": b"# Leave\n\nEveryone has *thirty* [days](http://x/y).\n\n- one\n- two\n\n| a | b |\n|---|---|\n| c | d |\n",
        "html": b"<!doctype html><title>Leave</title><h1>Leave</h1><p>Everyone has <b>thirty</b> days.<table><tr><td>a<td>b</table>",
        "csv": b"name,days\nAda,30\nBob,29\n",
        "txt": "Everyone has thirty days.\n\nAsk in time, größer.".encode(),
        "py": b"import os\n\n\ndef leave():\n    return 30\n",
    }


def ods(rows: str) -> bytes:
    names = "".join(f" xmlns:{key}='urn:oasis:names:tc:opendocument:xmlns:{key}:1.0'" for key in ("office", "table", "text"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("mimetype"), "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        body = f"<office:body><office:spreadsheet><table:table table:name='S'>{rows}</table:table></office:spreadsheet></office:body>"
        archive.writestr("META-INF/manifest.xml", "<m:manifest xmlns:m='urn:oasis:names:tc:opendocument:xmlns:manifest:1.0'/>")
        archive.writestr("content.xml", f"<office:document-content{names}>{body}</office:document-content>")
    return rezip(out.getvalue(), lambda name, body: body, plain="mimetype")
