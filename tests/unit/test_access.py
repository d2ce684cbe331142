"""Who may read what: ten people with a thousand documents each, near-duplicates of one another's, and nobody sees another's.

The library is the real one (embedder, Chroma, SQLite), and so are users.yaml and the conductor; only the model is scripted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest

from agents import people
from agents.access import Access
from agents.answer import Conductor
from agents.assistant import Assistant
from agents.events import Answered, Event, Grounded, Turn
from agents.people import People
from agents.routing import Router
from base.errors import KnowledgeError
from base.settings import Settings
from rag import intake, manifest, store
from rag.embed import NAME, Embedder
from rag.library import Library
from rag.owner import RemoteLibrary
from rag.retrieve import Found, Passage
from router.backends import Backends
from router.catalog import CatalogFile
from router.fake import FakeTransport, parse_script
from router.intents import load_rules
from ui import steps

USERS = [f"user{n}" for n in range(10)]
GROUPS = {f"group{n}": frozenset(USERS[(n * 2 + k) % 10] for k in range(3)) for n in range(5)}
"""Overlapping: most people are in one group, some in two."""
OWN, EACH_GROUP = 880, 240
SECRET = re.compile(r"\bsecret([a-z]{6})\b")


def scopes_with_counts() -> dict[str, int]:
    return {**{f"user:{name}": OWN for name in USERS}, **{f"group:{name}": EACH_GROUP for name in GROUPS}}


def word(scope: str, number: int) -> str:
    """The word that stands in this document alone."""
    digits = hashlib.sha256(f"{scope}/{number}".encode()).digest()
    return "secret" + "".join(chr(97 + digit % 26) for digit in digits[:6])


def text(scope: str, number: int) -> str:
    """The same in every scope, but for the word."""
    return f"Locker {number} opens with {word(scope, number)}."


OWNER = {word(scope, number): scope for scope, count in scopes_with_counts().items() for number in range(count)}


def rights(user: str) -> set[str]:
    return {f"user:{user}", *(f"group:{name}" for name, members in GROUPS.items() if user in members)}


@pytest.fixture(scope="session")
def built(cached: Path, embedder: Embedder) -> Path:
    """A home with all documents, taken in once by the product's own ingest and kept as long as that stays as it is."""
    recipe = hashlib.sha256(json.dumps([scopes_with_counts(), text("a", 1), NAME]).encode())
    for module in (intake, manifest, store):
        recipe.update(Path(str(module.__file__)).read_bytes())
    home = cached / f"crowd-{recipe.hexdigest()[:12]}"
    if not home.is_dir():
        for old in cached.glob("crowd-*"):
            if time.time() - old.stat().st_mtime > 86_400:
                shutil.rmtree(old, ignore_errors=True)
        asyncio.run(build(home.with_suffix(".part"), embedder))
        home.with_suffix(".part").rename(home)
    return home


async def build(home: Path, embedder: Embedder) -> None:
    sources = home.with_name("crowd-sources")
    for old in (home, sources):
        shutil.rmtree(old, ignore_errors=True)
    library = await Library.open(Settings(home=home), embedder)
    for scope, count in scopes_with_counts().items():
        folder = sources / scope.replace(":", "-")
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.txt").write_text(text(scope, number))
        assert (await library.ingest([folder], scope)).added == count
    await library.close()
    shutil.rmtree(sources)


def write(home: Path, who: Iterable[str] = USERS, groups: dict[str, frozenset[str]] = GROUPS) -> None:
    """users.yaml at a stroke, with nobody's password."""
    people.change(home, lambda _: People(dict.fromkeys(who, ""), groups))


@pytest.fixture
async def crowd(built: Path, embedder: Embedder, tmp_path: Path) -> AsyncIterator[tuple[Library, Access]]:
    shutil.copytree(built / "library", tmp_path / "home" / "library")
    settings = Settings(home=tmp_path / "home", demo=False)
    write(settings.home)
    library = await Library.open(settings, embedder)
    assert len(await library.documents()) == sum(scopes_with_counts().values()) == 10_000
    yield library, Access(settings)
    await library.close()


def check(user: str, passages: Iterable[Passage], allowed: set[str] | None = None) -> int:
    """No word of a scope that this user may not read stands in any field of any passage. Returns how many were looked at."""
    seen = 0
    for passage in passages:
        found = [f"secret{letters}" for letters in SECRET.findall(repr(passage))]
        assert found, passage
        for one in found:
            assert OWNER[one] in (rights(user) if allowed is None else allowed), f"{user} was shown a document of {OWNER[one]}"
        seen += 1
    return seen


def questions(user: str, count: int, seed: int) -> list[str]:
    """About what every scope has, about one's own words, and, word for word, about those of others."""
    dice = random.Random(f"{user}{seed}")
    every = list(OWNER)
    return [
        dice.choice(
            (
                f"What opens locker {dice.randrange(OWN)}?",
                f"Which locker opens with {dice.choice(every)}?",
                f"{dice.choice(every)} {dice.choice(every)} {dice.choice(every)}",
                text(dice.choice(list(scopes_with_counts())), dice.randrange(EACH_GROUP)),
            )
        )
        for _ in range(count)
    ]


async def test_no_search_and_no_look_up_shows_anothers_document(crowd: tuple[Library, Access]) -> None:
    library, access = crowd
    where = {info.id: info.scope for info in await library.documents()}
    stored, _ = await asyncio.to_thread(library._manifest.passages, "1", (), None)
    ids = {one.id: (one.scope, one.document_id) for one in stored}
    four, shown = asyncio.Semaphore(4), [0]

    async def ask(user: str, question: str, floor: float) -> None:
        async with four:
            found: Found = await library.search(question, access.scopes(user), floor, 30)
        shown[0] += check(user, (*found.passages, *found.nearest))
        assert found.considered <= sum(scopes_with_counts()[scope] for scope in rights(user)) and found.considered <= 200
        if "ocker" not in question and not rights(user) & {OWNER[one] for one in question.split()}:
            # Not even by a score: words that stand elsewhere only match nothing here.
            assert all(passage.keyword == 0 for passage in (*found.passages, *found.nearest))

    async def guess(user: str, id: int) -> None:
        """Ids are numbers in a row: whoever guesses one is told what is told of an id that never was."""
        allowed, (scope, document) = access.scopes(user), ids[id]
        if scope in rights(user):
            assert (await library.passage(str(id), allowed)).text == (await library.document_text(document, allowed))
            assert len(await library.neighbours(str(id), allowed)) == len(await library.opening([document], 5, allowed)) == 1
            return
        told = []
        for gone in (str(id), str(10**9)):
            with pytest.raises(KnowledgeError) as refused:
                await library.passage(gone, allowed)
            told.append(str(refused.value))
        assert told[0] == told[1]
        with pytest.raises(KnowledgeError):
            await library.document_text(document, allowed)
        assert await library.neighbours(str(id), allowed) == await library.opening([document], 5, allowed) == ()

    asked = [(user, question) for user in USERS for question in questions(user, 200, 1)]
    await asyncio.gather(*(ask(user, question, (-1.0, 0.5)[at % 2]) for at, (user, question) in enumerate(asked)))
    assert shown[0] > 10_000, "the searches found next to nothing, so this proved nothing"
    dice = random.Random(7)
    await asyncio.gather(*(guess(user, dice.choice(list(ids))) for user in USERS for _ in range(100)))
    for user in USERS:
        assert {where[info.id] for info in await library.documents(access.scopes(user))} == rights(user)
    assert await library.documents(()) == ()


class NoRuntime:
    """A machine with no model of its own: the script takes every place."""

    def folder(self, _entry: Any) -> Path | None:
        return None


def conductor(library: Library, access: Access) -> Conductor:
    fake = FakeTransport(parse_script("replies:\n  - {say: 'The passages tell it [1] and [2].'}"))
    runtime: Any = NoRuntime()
    settings = replace(library.settings, floor=0.0)
    return Conductor(settings, Router(settings, CatalogFile(settings.home), load_rules(), Backends(runtime, fake)), library, access.of_turn)


async def events_of(desk: Conductor, turn: Turn) -> list[Event]:
    stream: Any = desk.answer(turn)
    return [event async for event in stream]


async def test_a_turn_that_asks_for_everybodys_collections_gets_its_own_users(crowd: tuple[Library, Access]) -> None:
    library, access = crowd
    desk, everything = conductor(library, access), ("shared", *scopes_with_counts())
    cited = 0
    for user in USERS:
        turns = [Turn(question, knowledge="docs", scopes=everything, user=user) for question in questions(user, 30, 2)]
        for events in [await events_of(desk, turn) for turn in turns]:
            (grounded,) = (event for event in events if isinstance(event, Grounded))
            assert check(user, grounded.passages)
            answered = events[-1]
            assert isinstance(answered, Answered), answered
            # The words of the question are the user's own.
            answered = replace(answered, grounding=None)
            for citation in (*answered.citations, *answered.nearest):
                cited += 1
                assert check(user, [await library.passage(str(citation.passage_id), access.scopes(user))])
            assert not {one for one in re.findall(r"secret[a-z]{6}", repr(answered)) if OWNER[one] not in rights(user)}
    assert cited > 100
    (nothing,) = (event for event in await events_of(desk, replace(turns[0], user="nobody")) if isinstance(event, Grounded))
    assert nothing.passages == () and nothing.best == 0


async def test_rights_that_are_taken_away_end_within_a_second_amid_searches(crowd: tuple[Library, Access]) -> None:
    library, access = crowd
    user, lost = "user2", "group:group0"
    assert lost in access.scopes(user)
    (mine,) = (await library.search(text(lost, 5), (lost,), -1, 1)).passages
    assert await library.neighbours(mine.id, access.scopes(user)) and library.settings.home
    taken = threading.Event()
    ended = [0.0]
    seen = {False: 0, True: 0}

    async def keep_asking(number: int) -> None:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            began, before = time.monotonic(), taken.is_set()
            found = await library.search(text(lost, number), access.scopes(user), -1, 30)
            theirs = [passage for passage in found.passages if OWNER[f"secret{SECRET.findall(passage.text)[0]}"] == lost]
            seen[before] += 1
            if theirs and ended[0]:
                assert began - ended[0] < 1, "a right outlived its end by more than a second"
            if before:
                check(user, found.passages, rights(user) - {lost})

    async def take_away() -> None:
        await asyncio.sleep(1.5)
        await asyncio.to_thread(write, library.settings.home, USERS, {**GROUPS, "group0": GROUPS["group0"] - {user}})
        ended[0] = time.monotonic()
        taken.set()

    await asyncio.gather(take_away(), *(keep_asking(number) for number in range(4)))
    assert min(seen.values()) > 5
    with pytest.raises(KnowledgeError, match="no longer in the library"):
        await library.passage(mine.id, access.scopes(user))
    assert await library.neighbours(mine.id, access.scopes(user)) == ()
    write(library.settings.home, [name for name in USERS if name != user])
    assert access.scopes(user) == () and not access.stands(user, access.mark(user))
    assert (await library.search(text(lost, 5), access.scopes(user), -1)).considered == 0


async def test_a_deleted_document_is_gone_at_once_amid_searches(crowd: tuple[Library, Access]) -> None:
    library, access = crowd
    scopes = access.scopes("user1")
    gone: dict[str, float] = {}

    async def keep_asking(number: int) -> None:
        question, until = text("user:user1", number), time.monotonic() + 2.5
        while time.monotonic() < until:
            began = time.monotonic()
            found = await library.search(question, scopes, -1, 30)
            for passage in (*found.passages, *found.nearest):
                assert began <= gone.get(passage.document_id, began), "a search that began after the deletion found it"

    async def delete() -> None:
        for number in range(4):
            await asyncio.sleep(0.4)
            (passage,) = (await library.search(text("user:user1", number), ("user:user1",), -1, 1)).passages
            await library.remove(passage.document_id)
            gone[passage.document_id] = time.monotonic()
            with pytest.raises(KnowledgeError):
                await library.passage(passage.id, scopes)
            assert await library.neighbours(passage.id, scopes) == await library.opening([passage.document_id], 3, scopes) == ()

    await asyncio.gather(delete(), *(keep_asking(number) for number in range(4)))
    assert len(gone) == 4


def test_every_way_to_read_must_be_told_its_scopes() -> None:
    """Whoever forgets them is told by the interpreter, not by a leak; the owner's hand-over has the same methods."""
    for kind in (Library, RemoteLibrary, Assistant):
        for name in {"passage", "neighbours", "opening", "document_text", "search"} & set(vars(kind)):
            assert signature(getattr(kind, name)).parameters["scopes"].default is Parameter.empty, (kind, name)


async def test_what_a_page_shows_of_a_search_does_not_change_with_others_documents(tmp_path: Path, embedder: Embedder) -> None:
    """Passages, closeness, confidence and counts. BM25 weighs a word by everybody's documents, so no figure of it is shown."""
    library = await Library.open(Settings(home=tmp_path / "home"), embedder)
    own, others = tmp_path / "own", tmp_path / "others"
    for folder in (own, others):
        folder.mkdir()
    for number, line in enumerate(("The merger is called Falcon.", "Falcon begins in May.", "The canteen opens at nine.")):
        (own / f"{number}.txt").write_text(line)
    for number in range(60):
        (others / f"{number}.txt").write_text(f"Falcon and the merger, note {number}: layoffs begin in May.")
    await library.ingest([own], "user:ann")

    async def shown() -> tuple[object, ...]:
        told: list[object] = []
        for question in ("When does Falcon begin?", "layoffs Falcon", "What is the merger called?"):
            found = await library.search(question, ("user:ann",), 0, 20)
            grounded = Grounded(found.passages, 0, found.best, 0, 1)
            # The order may change: words that many documents hold weigh less, whose ever they are.
            rows = {line.partition("]")[2] for line in steps.retrieve_body(grounded).splitlines()}
            told += [steps.retrieve_name(grounded), rows, found.considered, len(found.nearest)]
        return tuple(told)

    before = await shown()
    await library.ingest([others], "user:bob")
    assert await shown() == before
    await library.close()
