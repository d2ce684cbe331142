"""Who may talk to the page, and what the page may load. Knows HTTP; nothing of chats or models.

A chat on localhost is reachable by every web page that the user opens: so the Host must be ours (DNS rebinding), the
socket is same-origin, writes from another origin are refused, and the page may load nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from html import escape
from typing import Any
from urllib.parse import urlsplit

from chainlit import server
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        # Chainlit builds custom elements in the page, which takes eval and inline script.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-DNS-Prefetch-Control": "off",
}
CLOSED = ("/docs", "/redoc", "/openapi.json")
"""The web framework's own pages, which nobody here needs."""
FILES = "/project/file/"
"""Where Chainlit serves what was uploaded, under the type that it came with: an HTML file there would be a page of ours."""
INERT = {"Content-Security-Policy": "default-src 'none'; sandbox", "Content-Disposition": "attachment"}
LOCAL = ["localhost", "127.0.0.1", "[::1]"]


class Guard:
    """ASGI: refuses writes from other origins and closed pages, and adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if refusal := refused(scope):
            await refusal(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith(FILES):
                    headers.update(INERT)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def refused(scope: MutableMapping[str, Any]) -> PlainTextResponse | None:
    """The refusal of a request that Relay does not serve, or None."""
    if scope["path"].rstrip("/") in CLOSED or scope["path"].startswith("/docs/"):
        return PlainTextResponse("Not found.", status_code=404)
    if scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("Another site may not write here.", status_code=403)
    return None


def clean_page(html: str, hosts: Iterable[str] = ()) -> str:
    """The page without what Chainlit loads from elsewhere; a policy stops fetches, but not 'preconnect'.

    It is told the `hosts` to which its links may lead, for public/relay.js.
    """
    lines = [line for line in _whole_links(html) if not ("https://" in line and line.lstrip().startswith("<link"))]
    names = f'<meta name="relay-links" content="{escape(",".join(sorted(hosts)))}">'
    return "\n".join(lines).replace("<head>", f"<head>\n    {names}", 1)


def _whole_links(html: str) -> list[str]:
    """The page's lines, with a <link> that spans several made one."""
    lines: list[str] = []
    for line in html.splitlines():
        if lines and lines[-1].lstrip().startswith("<link") and ">" not in lines[-1]:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def secure(*names: str, links: Iterable[str] = ()) -> None:
    """Put all of it in place, once for a process: Starlette takes no middleware after its start.

    The page answers to this machine and to `names`; its links may lead to the hosts in `links`.
    """
    if getattr(server.app.state, "relay_secured", False):
        return
    server.app.state.relay_secured = True
    # A name with ':' is an IPv6 address, which stands in brackets in a Host.
    hosts = [*LOCAL, *(f"[{name}]" if ":" in name else name for name in map(str.strip, names) if name)]
    server.app.add_middleware(Guard)
    server.app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    # None means same-origin to engine.io; Chainlit's [] means any.
    server.sio.eio.cors_allowed_origins = None
    original: Callable[[str], str] = server.get_html_template
    server.get_html_template = lambda root_path: clean_page(original(root_path), links)
