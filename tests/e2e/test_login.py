"""People with passwords, and people behind a proxy, in a real browser: who comes in, what each may read, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from driving import ARTEFACTS, ROOT, Server, finished, pick, relay_up, send, wait_until
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from base.settings import Settings
from rag.embed import NAME, Embedder
from rag.library import Library

SCRIPT = f"""
replies:
  - {{when: story, say: '{"word " * 200}', token_s: 0.1}}
  - {{when: 'Question: When does', say: 'The yearly regatta of the sailing club begins on the ninth of June [1].'}}
  - {{when: marzipan, say: 'The Falcon project of the harbour opens with the word marzipan [1].'}}
  - {{when: turmeric, say: 'The Falcon project of the harbour opens with the word turmeric [1].'}}
  - {{when: '.', say: 'The passage tells it [1].'}}
"""
PASSWORD = "a long enough password"
NOTES = {
    "user:ann": "# Falcon\n\nThe Falcon project of the harbour opens with the word marzipan.\n",
    "user:bob": "# Falcon\n\nThe Falcon project of the harbour opens with the word turmeric.\n",
    "group:staff": "# Regatta\n\nThe yearly regatta of the sailing club begins on the ninth of June.\n",
}
ASK = "With which word does the Falcon project of the harbour open?"
REGATTA = "When does the yearly regatta of the sailing club begin?"
ANSWER = '[data-step-type="assistant_message"]'


def relay(home: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RELAY_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli.main", *words]
    return subprocess.run(command, cwd=ROOT, env=env, input=typed, capture_output=True, text=True, check=False, timeout=60)


def take_in(home: Path, models: Path, folder: Path) -> None:
    """Everybody's notes, each into its collection."""

    async def work() -> None:
        library = await Library.open(Settings(home=home), Embedder.load(models / NAME))
        for scope, text in NOTES.items():
            (folder / scope.replace(":", "-")).mkdir()
            (folder / scope.replace(":", "-") / "note.md").write_text(text)
            await library.ingest([folder / scope.replace(":", "-")], scope)
        await library.close()

    # In a thread: the browser's own loop runs in this one.
    with ThreadPoolExecutor(1) as aside:
        aside.submit(lambda: asyncio.run(work())).result()


@pytest.fixture
def house(tmp_path: Path, prepared_models: Path) -> Iterator[Callable[..., Server]]:
    """A server with everybody's notes; `people` makes ann and bob sign in with a password."""
    home = tmp_path / "home"
    with ExitStack() as stack:

        def start(people: bool = True, **settings: str) -> Server:
            (tmp_path / "script.yaml").write_text(SCRIPT)
            take_in(home, prepared_models, tmp_path)
            for name in ("ann", "bob") if people else ():
                done = relay(home, "users", "add", name, "--group", "staff", typed=f"{PASSWORD}\n")
                assert done.returncode == 0 and "may sign in" in done.stdout, done.stderr
            fake = {"RELAY_FAKE": str(tmp_path / "script.yaml"), "RELAY_DEMO": "false", **settings}
            return stack.enter_context(relay_up(home, prepared_models, **fake))

        yield start


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A page in a fresh profile, or a second one in `context`; one that asks anything outside fails."""
    contexts: list[BrowserContext] = []
    outside: list[str] = []

    def visit(url: str, context: BrowserContext | None = None, scheme: str = "light", width: int = 1280, **headers: str) -> Page:
        if context is None:
            view = {"width": width, "height": 860}
            context = browser.new_context(viewport=view, color_scheme=scheme, extra_http_headers=headers)  # type: ignore[arg-type]
            contexts.append(context)

        def note(request: Request) -> None:
            if not request.url.startswith((url, "data:", "blob:")):
                outside.append(request.url)

        page = context.new_page()
        page.on("request", note)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert outside == []


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.locator("#email").fill(name, timeout=20_000)
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def ask(page: Page, question: str, count: int = 1) -> None:
    if count == 1:
        pick(page, "knowledge", "Docs only")
    send(page, question)
    finished(page, count)


def test_a_login_page_that_refuses_calmly_and_lets_in(house: Callable[..., Server], open_page: Callable[..., Page]) -> None:
    server = house()
    ARTEFACTS.mkdir(exist_ok=True)
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)):
        page = open_page(server.url, scheme=scheme, width=width)
        expect(page.get_by_role("heading", name="Sign in to Relay")).to_be_visible(timeout=20_000)
        expect(page.locator("#chat-input")).to_have_count(0)
        page.wait_for_timeout(500)
        page.screenshot(path=ARTEFACTS / f"login-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out sideways"
    sign_in(page, "ann", "not the password")
    expect(page.get_by_text("That name and this password do not belong together. Try again.")).to_be_visible()
    expect(page.locator("[data-sonner-toast]:visible")).to_have_count(0)
    page.screenshot(path=ARTEFACTS / "login-refused.png")
    for _ in range(4):
        sign_in(page, "ann", "not the password")
        page.wait_for_timeout(700)
    sign_in(page, "ann")
    expect(page.get_by_text("There were too many tries. Wait a minute, then try again.")).to_be_visible()
    sign_in(page, "Bob ")
    expect(page.locator("#chat-input")).to_be_visible(timeout=20_000)
    send(page, "Hello")
    finished(page)
    (cookie,) = (one for one in page.context.cookies() if one.get("name") == "access_token")
    assert cookie.get("httpOnly") and cookie.get("sameSite") == "Lax"
    lines = [json.loads(line) for file in (server.home / "traces").iterdir() for line in file.read_text().splitlines()]
    assert all(re.fullmatch("[0-9a-f]{12}", line["user"]) for line in lines) and '"bob"' not in json.dumps(lines)


def test_each_sees_their_own_documents_and_no_chat_anothers_uploads(
    house: Callable[..., Server], open_page: Callable[..., Page], tmp_path: Path
) -> None:
    server = house()
    ann, bob = open_page(server.url), open_page(server.url)
    for page, name, own, other in ((ann, "ann", "marzipan", "turmeric"), (bob, "bob", "turmeric", "marzipan")):
        sign_in(page, name)
        ask(page, ASK)
        expect(page.locator(".relay-chip")).to_have_count(1)
        page.locator(".relay-chip").click()
        expect(page.locator(".relay-passage")).to_contain_text(own)
        page.keyboard.press("Escape")
        ask(page, f"Which project opens with the word {other}?", count=2)
        page.get_by_text(re.compile("Retrieve")).last.click()
        expect(page.locator("body")).not_to_contain_text(f"word {other}.")
    # What is added to one chat is that chat's: not another page's of the same person, and not another person's.
    (tmp_path / "zephyr.md").write_text("# Zephyr\n\nThe Zephyr drone flies at most forty-eight kilometers.\n")
    uploads: list[str] = []
    ann.on("request", lambda request: uploads.append(request.url) if "/project/file" in request.url else None)
    ann.locator("input[type=file]").first.set_input_files(tmp_path / "zephyr.md")
    send(ann, "How far does the Zephyr drone fly?")
    finished(ann, 3)
    expect(ann.get_by_text(re.compile(r"Read zephyr.md"))).to_be_visible()
    for page in (open_page(server.url, context=ann.context), bob):
        ask(page, "How far does the Zephyr drone fly?", 3 if page is bob else 1)
        expect(page.locator(ANSWER).last).to_contain_text("The documents do not say.")
    (session,) = {part for url in uploads for part in re.findall(r"session_id=([\w-]+)", url)}
    cookies = [{one["name"]: one["value"] for one in page.context.cookies()} for page in (ann, bob)]  # type: ignore[typeddict-item]
    for cookie, good in ((cookies[0], True), (cookies[1], False), ({}, False)):
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookie.items())}
        post = {"url": f"{server.url}/project/file", "params": {"session_id": session}, "headers": header}
        sent = httpx2.post(**post, files={"file": ("a.md", b"# A", "text/markdown")}, trust_env=False)
        assert (sent.status_code == 200) is good and (good or sent.status_code == 401)


def test_signing_out_ends_the_login_everywhere(house: Callable[..., Server], open_page: Callable[..., Page]) -> None:
    server = house()
    page = open_page(server.url)
    sign_in(page, "ann")
    expect(page.locator("#chat-input")).to_be_visible(timeout=20_000)
    second = open_page(server.url, context=page.context)
    expect(second.locator("#chat-input")).to_be_visible(timeout=20_000)
    token = next(one["value"] for one in page.context.cookies() if one["name"] == "access_token")  # type: ignore[typeddict-item]
    assert user(server, token) == 200
    page.locator("#user-nav-button").click()
    page.get_by_text("Sign out").click()
    for one in (page, second):
        expect(one.get_by_role("heading", name="Sign in to Relay")).to_be_visible(timeout=10_000)
    assert user(server, token) == 401, "a copy of the cookie is worth nothing"


def user(server: Server, token: str) -> int:
    return httpx2.get(f"{server.url}/user", headers={"Cookie": f"access_token={token}"}, trust_env=False).status_code


def test_what_is_taken_away_ends_on_an_open_page(house: Callable[..., Server], open_page: Callable[..., Page]) -> None:
    server = house()
    page = open_page(server.url)
    sign_in(page, "ann")
    ask(page, REGATTA)
    page.locator(".relay-chip").click()
    expect(page.locator(".relay-passage")).to_contain_text("ninth of June")
    # The group goes: the open panel closes, its chip opens nothing, a new question finds nothing.
    assert relay(server.home, "users", "groups", "ann").returncode == 0
    expect(page.locator(".relay-passage")).to_have_count(0, timeout=2_000)
    page.locator(".relay-chip").click()
    expect(page.get_by_text("This passage is no longer in the library.", exact=False)).to_be_visible()
    expect(page.locator(".relay-passage")).to_have_count(0)
    send(page, REGATTA)
    finished(page, 2)
    expect(page.locator(ANSWER).last).to_contain_text("The documents do not say.")
    # The person goes, in the middle of an answer.
    pick(page, "knowledge", "Off")
    send(page, "Write a long story")
    expect(page.locator('[data-relay-state="draft"]')).to_be_visible(timeout=20_000)
    token = next(one["value"] for one in page.context.cookies() if one["name"] == "access_token")  # type: ignore[typeddict-item]
    assert relay(server.home, "users", "remove", "ann").returncode == 0
    removed = time.monotonic()
    assert user(server, token) == 401
    expect(page.get_by_role("heading", name="Sign in to Relay")).to_be_visible(timeout=10_000)
    assert time.monotonic() - removed < 5
    wait_until(lambda: any('"cancelled"' in file.read_text() for file in (server.home / "traces").iterdir()), 5)
    sign_in(page, "ann")
    expect(page.get_by_text("do not belong together", exact=False)).to_be_visible()


def test_a_broken_list_lets_nobody_in_and_says_so(house: Callable[..., Server], open_page: Callable[..., Page]) -> None:
    server = house()
    page, inside = open_page(server.url), open_page(server.url)
    sign_in(inside, "bob")
    expect(inside.locator("#chat-input")).to_be_visible(timeout=20_000)
    whole = (server.home / "users.yaml").read_text()
    (server.home / "users.yaml").write_text(whole + "\n  broken: [")
    expect(inside.get_by_role("heading", name="Sign in to Relay")).to_be_visible(timeout=10_000)
    sign_in(page, "ann")
    expect(page.get_by_text("Nobody can sign in at the moment.", exact=False)).to_be_visible()
    assert re.search(r"Nobody may come in until this is put right: users.yaml, line \d+", server.log)
    (server.home / "users.yaml").write_text(whole)
    sign_in(page, "ann")
    expect(page.locator("#chat-input")).to_be_visible(timeout=20_000)


def test_a_list_that_is_made_while_the_chat_runs_asks_from_then_on(house: Callable[..., Server], open_page: Callable[..., Page]) -> None:
    server = house(people=False)
    page = open_page(server.url)
    expect(page.locator("#chat-input")).to_be_visible(timeout=20_000)
    ask(page, ASK)
    expect(page.locator(ANSWER).last).to_contain_text("The documents do not say.")
    assert relay(server.home, "users", "add", "bob", typed=f"{PASSWORD}\n").stdout.endswith("From now on the chat asks for a login.\n")
    expect(page.get_by_role("heading", name="Sign in to Relay")).to_be_visible(timeout=10_000)
    sign_in(page, "bob")
    ask(page, ASK)
    expect(page.locator(".relay-chip")).to_have_count(1)


def test_behind_a_proxy_its_header_says_who_asks(house: Callable[..., Server], open_page: Callable[..., Page]) -> None:
    server = house(people=False, RELAY_USER_HEADER="X-Forwarded-User", RELAY_GROUPS_HEADER="X-Forwarded-Groups")
    ann = open_page(server.url, **{"X-Forwarded-User": "Ann", "X-Forwarded-Groups": "staff,Domain Users"})
    bob = open_page(server.url, **{"X-Forwarded-User": "bob"})
    for page, word, june in ((ann, "marzipan", True), (bob, "turmeric", False)):
        ask(page, ASK)
        page.locator(".relay-chip").click()
        expect(page.locator(".relay-passage")).to_contain_text(word)
        page.keyboard.press("Escape")
        send(page, REGATTA)
        finished(page, 2)
        expect(page.locator(ANSWER).last).to_contain_text("ninth of June" if june else "The documents do not say.")
    nobody = open_page(server.url)
    expect(nobody.get_by_text("The proxy in front of Relay did not name somebody", exact=False)).to_be_visible(timeout=20_000)
    # A cookie of somebody's does not outweigh the header, and a name sent twice is no name.
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        made = client.post("/auth/header", headers={"X-Forwarded-User": "ann"}).headers["set-cookie"]
        cookie = {"Cookie": made.partition(";")[0]}
        assert client.get("/user", headers={**cookie, "X-Forwarded-User": "bob"}).json()["identifier"] == "bob"
        assert client.get("/user", headers=cookie).status_code == 401
        assert client.get("/user", headers=[("X-Forwarded-User", "ann"), ("X-Forwarded-User", "bob")]).status_code == 401
        assert client.get("/user", headers={"X-Forwarded-User": "ann", "X-Forwarded-For": "10.0.0.9"}).status_code == 200


def test_a_header_from_elsewhere_and_a_session_of_an_odd_name_are_refused(house: Callable[..., Server]) -> None:
    server = house(people=False, RELAY_USER_HEADER="X-Forwarded-User", RELAY_PROXY="10.0.0.5")
    # An address that a header tells is not believed: the one that connects is.
    headers = {"X-Forwarded-User": "ann", "X-Forwarded-For": "10.0.0.5"}
    assert httpx2.get(f"{server.url}/user", headers=headers, trust_env=False).status_code == 401


def test_a_page_names_its_session_but_no_folder(house: Callable[..., Server]) -> None:
    """Chainlit makes a folder of the session's id, and removes it with the session."""
    server = house(people=False)
    for session, answer in (("../../library", "44"), ("/etc", "44"), ("", "44"), ("0d1f0c52-3b1e-4f0e-9d6a-8a6f5d0c9b11", "40")):
        with httpx2.Client(base_url=f"{server.url}/ws/socket.io/", trust_env=False) as client:
            base = {"EIO": "4", "transport": "polling"}
            sid = json.loads(client.get("", params=base).text[1:])["sid"]
            auth = {"sessionId": session, "clientType": "webapp", "userEnv": "{}"}
            client.post("", params={**base, "sid": sid}, content="40" + json.dumps(auth))
            assert client.get("", params={**base, "sid": sid}).text.startswith(answer), session
    assert (server.home / "library" / "manifest.sqlite").is_file()


def test_other_machines_are_not_served_without_a_login(tmp_path: Path) -> None:
    done = relay(tmp_path / "home", "up", "--host", "0.0.0.0", "--no-browser")
    assert done.returncode == 1 and "nobody is asked who they are" in done.stderr and "relay users add" in done.stderr
