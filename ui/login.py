"""Who is at the other end: the login, a proxy's headers, and how both end. Knows Chainlit's users and HTTP; no chat, no document.

Three ways, of which agents.access says which one holds: one person without a login; people with passwords; a proxy that
names who asks. An identity is looked at anew whenever it counts, so that it ends with the person's removal, a new
password or a log-out, also for a page that stays open.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from importlib import import_module
from typing import Any, cast

import chainlit as cl
from chainlit import server
from chainlit import socket as wire
from chainlit.auth import create_jwt, get_current_user, get_token_from_cookies, reuseable_oauth
from chainlit.auth.jwt import decode_jwt
from chainlit.config import config
from chainlit.logger import logger
from chainlit.session import WebsocketSession, ws_sessions_id
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.access import TooMany, keyed
from agents.people import LOCAL
from base.errors import SettingsError
from base.settings import Settings
from ui import kept
from ui.runtime import runtime

COOKIE = "access_token"
MOST_ENDED = 10_000
LOOK_S = 0.4
WAITING = 20
"""Log-ins that may wait for their turn."""
SESSION_ID = re.compile(r"[0-9A-Za-z-]{8,64}")
"""What a page may call its session: Chainlit makes a folder of that name, and removes it with all that is in it."""
PEER: ContextVar[str] = ContextVar("peer", default="")
_checkers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="relay-login")
"""Passwords are slow to check on purpose: they have threads of their own, so that no search waits behind a guesser."""
_waiting = 0
_tasks: set[asyncio.Task[None]] = set()


def prepare(settings: Settings) -> None:
    """Put the login in place, before the server starts. Raises SetupError."""
    os.environ.setdefault("CHAINLIT_AUTH_SECRET", keyed(settings.home, "session"))
    # The address of whoever connects must be the true one: a header may not change it before it is looked at.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    logging.getLogger("relay.access").setLevel(logging.INFO)
    server.app.dependency_overrides[get_current_user] = signed_in
    vars(config.code)["on_logout"] = leave
    server.sio.on("connect", handler=connect)
    ask()
    if not getattr(server.app.state, "relay_door", False):
        server.app.state.relay_door = True
        server.app.add_middleware(Door)


def ask() -> None:
    """Ask for a login when there is one to ask for; it may begin while the chat runs."""
    access = runtime().access
    code = vars(config.code)
    code["header_auth_callback"] = introduced if access.proxied else None
    code["password_auth_callback"] = None if access.proxied or access.open else enter


def begin() -> None:
    """Begin to watch over open pages."""
    _tasks.add(asyncio.create_task(_watch()))


async def _watch() -> None:
    """Look again and again whether open pages may still read what they could; nothing to do without a login."""
    access = runtime().access
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            # A list that has changed is read here, in a thread, and not by whoever comes next.
            if await asyncio.to_thread(lambda: access.open):
                continue
            ask()
            # By name: `-w` puts new modules in the place of the page's.
            review = import_module("ui.page").review
            await asyncio.gather(*(review(session) for session in list(ws_sessions_id.values())))
        except Exception:
            logger.exception("Open pages could not be looked at")


def identity(session: object) -> str:
    """The user of a session at this moment, '' when it has none any more."""
    access = runtime().access
    if access.open:
        return LOCAL
    user, token = getattr(session, "user", None), getattr(session, "token", None)
    if user is None or not token or _mark(token) in _ended() or not access.stands(user.identifier, str(user.metadata.get("mark"))):
        return ""
    return str(user.identifier)


def member(user: str) -> cl.User:
    """A user as Chainlit's login carries it."""
    return cl.User(identifier=user, metadata={"mark": runtime().access.mark(user)})


async def enter(name: str, password: str) -> cl.User | None:
    """A password was sent. The refusals' words stand in the page's translations, by their status."""
    global _waiting
    if _waiting >= WAITING:
        raise HTTPException(429, "toomany")
    _waiting += 1
    try:
        peer = PEER.get()
        user = await asyncio.get_running_loop().run_in_executor(_checkers, runtime().access.enter, name, password, peer)
    except TooMany:
        raise HTTPException(429, "toomany") from None
    except SettingsError:  # it stands in the log; who knocks need not know it
        raise HTTPException(503, "closed") from None
    finally:
        _waiting -= 1
    return member(user) if user else None


async def introduced(headers: Headers) -> cl.User | None:
    """The proxy's user, whom the door has put into the request."""
    if token := get_token_from_cookies(cookie_parser(headers.get("cookie", ""))):
        return decode_jwt(token)
    raise HTTPException(503 if runtime().access.problem else 403, "closed")


async def signed_in(request: Request) -> Any:
    """In the place of Chainlit's own look at a login, which holds for its two weeks whatever becomes of the person."""
    return None if runtime().access.open else await _user(await reuseable_oauth(request))


async def _user(token: str | None) -> Any:
    """The user of a login that still holds. Raises HTTPException."""
    user = await get_current_user(cast(str, token))
    ended = user is None or _mark(str(token)) in _ended()
    if ended or not runtime().access.stands(user.identifier, str(user.metadata.get("mark"))):
        raise HTTPException(401, "Sign in again.")
    return user


async def leave(request: Request, _response: Response) -> dict[str, bool]:
    """Log out: the login ends everywhere, also in a copy of its cookie."""
    if token := get_token_from_cookies(request.cookies):
        ended = _ended()
        ended[_mark(token)] = None
        while len(ended) > MOST_ENDED:
            ended.pop(next(iter(ended)))
    return {"success": True}


def _ended() -> dict[str, None]:
    """Logins that were left, oldest first; they outlive a reload of the code."""
    found: dict[str, None] = kept().setdefault("ended", {})
    return found


def _mark(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool:
    """A page opens its socket: in the place of Chainlit's, which it then asks."""
    if not isinstance(auth, dict) or not SESSION_ID.fullmatch(str(auth.get("sessionId"))):
        raise ConnectionRefusedError("this page is not understood")
    if not runtime().access.open:
        token = get_token_from_cookies(cookie_parser(environ.get("HTTP_COOKIE", "")))
        try:
            user = await _user(token)
        except HTTPException:
            raise ConnectionRefusedError("authentication failed") from None
    else:
        user = token = None
    await wire.connect(sid, environ, cast(Any, auth))
    if session := WebsocketSession.get(sid):
        # A page that comes back brings its newest login.
        session.user, session.token = user, token
    return True


class Door:
    """ASGI: puts a proxy's user into the request, and nobody else's; keeps cookies to https where the page came by it.

    Behind a proxy its header says who asks, with every request. It goes on as Chainlit's own cookie, made here; a cookie or
    token that came along is dropped, for it may be of whoever sat at that browser before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        ask()
        access = runtime().access
        peer = scope["client"][0] if scope.get("client") else ""
        PEER.set(peer)
        headers = Headers(scope=scope)
        if access.proxied:
            scope = {**scope, "headers": _introduce(headers, peer)}
        await self.app(scope, receive, _sealed(send) if headers.get("x-forwarded-proto") == "https" else send)


def _introduce(headers: Headers, peer: str) -> list[tuple[bytes, bytes]]:
    """The request's headers with the proxy's user as a login, and without any other login."""
    settings = runtime().settings
    named, told = headers.getlist(settings.user_header), headers.getlist(settings.groups_header)
    # Twice means that the proxy added its own to what a browser sent: whose is whose?
    groups = told[0] if len(told) == 1 else ""
    # A name that stands there twice was sent by the browser too.
    user = runtime().access.named(peer, named[0], groups) if len(named) == 1 else ""
    kept_headers = [(name, value) for name, value in headers.raw if name.lower() not in {b"cookie", b"authorization"}]
    cookies = [part for part in headers.get("cookie", "").split(";") if not part.strip().startswith(COOKIE)]
    if user:
        cookies.append(f"{COOKIE}={create_jwt(member(user))}")
    return [*kept_headers, (b"cookie", ";".join(cookies).encode("latin-1"))]


def _sealed(send: Send) -> Send:
    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [_secure(*pair) for pair in message.get("headers", ())]}
        await send(message)

    return sealed


def _secure(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A cookie that the browser sends back by https only."""
    wanted = name.lower() == b"set-cookie" and b"secure" not in value.lower().split(b"; ")
    return (name, value + b"; Secure") if wanted else (name, value)
