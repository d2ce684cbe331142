"""A change of embedder under a library in use: with real models, a real library, and a real kill in the middle."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from base.settings import ROOT, Settings
from rag import embed
from rag.embed import Embedder
from rag.library import Library
from rag.swap import Words

FLOOR = Settings(home=Path()).floor
MANY = 90
QUESTION = "how many days of annual leave?"


@pytest.fixture(scope="session")
def narrow(made: Callable[[str], Path]) -> Path:
    return made("narrow")


@pytest.fixture
def settings(tmp_path: Path, prepared_models: Path) -> Settings:
    return Settings(home=tmp_path / "home", models_dir=str(prepared_models), demo=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    (made / "leave.md").write_text("# Leave\n\nEvery employee has 25 days of annual leave.\n")
    for number in range(MANY):
        (made / f"{number}.txt").write_text(f"Rule {number}: nobody sings song {number} in the house. " * 10)
    return made


async def filled(settings: Settings, embedder: Embedder, folder: Path) -> None:
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    await library.close()


async def done(library: Library) -> None:
    async with asyncio.timeout(120):
        while library.notes:
            assert "stopped" not in library.notes, library.notes
            await asyncio.sleep(0.05)


async def best(library: Library, query: str = QUESTION) -> str:
    found = await library.search(query, ("shared",), FLOOR)
    return found.passages[0].text if found.passages else ""


def agree(library: Library, dimensions: int) -> None:
    """Manifest and both indexes hold the same passages, with vectors of one kind, and nothing is left aside."""
    vectors, words = library._store.ids()
    assert vectors == words == library._manifest.ids()
    assert library._manifest.passages("1", (), None)[1].shape == (len(words), dimensions)
    held = library._store.handle.chroma._collection.get(limit=1, include=["embeddings"])
    assert held["embeddings"].shape == (1, dimensions)
    assert library._manifest.meta("anew") == ""


async def test_the_old_embedder_serves_until_the_new_one_is_ready(
    settings: Settings, embedder: Embedder, narrow: Path, folder: Path
) -> None:
    await filled(settings, embedder, folder)
    new = Embedder.load(narrow)
    library = await Library.open(settings, new)
    assert library._embedder.name == embedder.name and library.notes == "Re-embedding with narrow."
    (folder / "leave.md").write_text("# Leave\n\nEvery employee has 30 days of annual leave.\n")
    (folder / "tea.md").write_text("# Tea\n\nTea is served in the kitchen at four.\n")
    (folder / "0.txt").unlink()
    ingest, searches = asyncio.create_task(library.ingest([folder])), 0
    percents = set()
    while library.notes:
        assert "stopped" not in library.notes, library.notes
        percents |= set(re.findall(r"(\d+) %, (?:about \d+ min|less than a minute) left\.$", library.notes))
        assert "days of annual leave" in await best(library)
        searches += 1
        await asyncio.sleep(0.01)
    report = await ingest
    assert (report.added, report.changed, report.deleted) == (1, 1, 1) and searches > 5 and len(percents) > 2
    assert library._embedder is new
    agree(library, 256)
    assert "30 days" in await best(library) and "kitchen" in await best(library, "when is tea served?")
    assert await best(library, "who painted the Mona Lisa?") == ""
    again = await library.ingest([folder])
    assert (again.unchanged, again.passages) == (MANY + 1, 0), "no file is read again for the change"
    await library.close()
    library = await Library.open(settings, new)
    assert library.notes == "" and "30 days" in await best(library)
    await library.close()


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from base.settings import Settings
from rag import store
from rag.embed import Embedder
from rag.library import Library

async def main(home, models, wanted, where):
    if where == "settling":
        store.Store.exchange = lambda self, rows: os.kill(os.getpid(), signal.SIGKILL)
    library = await Library.open(Settings(home=Path(home), models_dir=models), Embedder.load(Path(wanted)))
    while library._swap._anew.count() < 32:
        await asyncio.sleep(0.01)
    print("half", flush=True)
    await asyncio.sleep(100)

asyncio.run(main(*sys.argv[1:]))
"""


def killed(settings: Settings, wanted: Path, where: str) -> None:
    """Another process changes the embedder, and is killed while it does."""
    command = [sys.executable, "-c", CHILD, str(settings.home), settings.models_dir, str(wanted), where]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "half\n"
        if where == "middle":
            child.kill()
    if sys.platform != "win32":
        assert child.returncode == -signal.SIGKILL


async def test_a_kill_in_the_middle_costs_only_a_moments_work(settings: Settings, embedder: Embedder, narrow: Path, folder: Path) -> None:
    await filled(settings, embedder, folder)
    killed(settings, narrow, "middle")
    library = await Library.open(settings, Embedder.load(narrow))
    assert library._embedder.name == embedder.name and library._swap._anew.count() >= 32, "what was done is kept"
    assert "25 days" in await best(library)
    await done(library)
    agree(library, 256)
    assert "25 days" in await best(library)
    await library.close()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such kill")
async def test_a_kill_after_the_change_leaves_indexes_that_are_made_anew(
    settings: Settings, embedder: Embedder, narrow: Path, folder: Path
) -> None:
    await filled(settings, embedder, folder)
    killed(settings, narrow, "settling")
    library = await Library.open(settings, Embedder.load(narrow))
    assert library.notes == ""
    agree(library, 256)
    assert "25 days" in await best(library)
    await library.close()


async def test_vectors_do_not_change_places_under_an_ingest(settings: Settings, embedder: Embedder, narrow: Path, folder: Path) -> None:
    (folder / "tea.md").write_text("# Tea\n\nTea is served in the kitchen at four.\n")
    library = await Library.open(settings, embedder)
    await library.ingest([folder / "leave.md", folder / "tea.md"])
    await library.close()
    library = await Library.open(settings, Embedder.load(narrow))
    async with library._swap.ingesting():
        while library._swap._anew.count() < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.8)
        assert library._embedder.name == embedder.name, "what it has embedded is by the old one"
    await done(library)
    agree(library, 256)
    await library.close()


async def test_a_search_that_waits_for_a_writer_does_not_hold_the_change_up(settings: Settings, embedder: Embedder, folder: Path) -> None:
    await filled(settings, embedder, folder)
    library = await Library.open(settings, embedder)
    with library._store.write:
        library._store.keeper.forget()  # type: ignore[union-attr]
        # The search waits for the vectors, whose reader needs the lock that the change holds while it waits for searches.
        search = asyncio.create_task(best(library))
        await asyncio.sleep(0.5)
        assert not search.done() and library._swap._turnstile._inside == 0
    assert "25 days" in await search
    await library.close()


async def test_going_back_in_the_middle_drops_what_was_begun(settings: Settings, embedder: Embedder, narrow: Path, folder: Path) -> None:
    await filled(settings, embedder, folder)
    library = await Library.open(settings, Embedder.load(narrow))
    while not library._swap._anew.count():
        await asyncio.sleep(0.01)
    await library.close()
    library = await Library.open(settings, embedder)
    assert library.notes == "" and library._swap._anew.count() == 0
    agree(library, embed.DIMENSIONS)
    assert "25 days" in await best(library)
    await library.close()


async def test_where_the_old_embedder_is_gone_words_serve(
    settings: Settings, embedder: Embedder, narrow: Path, folder: Path, tmp_path: Path
) -> None:
    await filled(settings, embedder, folder)
    alone = replace(settings, models_dir=str(tmp_path / "none"))
    library = await Library.open(alone, Embedder.load(narrow))
    assert isinstance(library._embedder, Words) and "search goes by words alone" in library.notes
    assert "25 days" in await best(library) and await best(library, "who painted the Mona Lisa?") == ""
    (folder / "tea.md").write_text("# Tea\n\nTea is served in the kitchen at four.\n")
    await library.ingest([folder])
    await library.close()
    # The old one is back: what came in by words alone gets its vectors.
    library = await Library.open(settings, embedder)
    assert library.notes == "" and "kitchen" in await best(library, "when is tea served?")
    (found,) = (await library.search("when is tea served?", ("shared",), FLOOR)).passages[:1]
    assert found.dense > 0.4
    await library.close()
    library = await Library.open(alone, Embedder.load(narrow))
    await done(library)
    agree(library, 256)
    assert "25 days" in await best(library)
    await library.close()


async def test_an_embedder_that_is_not_prepared_changes_nothing(settings: Settings, embedder: Embedder, narrow: Path, folder: Path) -> None:
    new = Embedder.load(narrow)
    library = await Library.open(settings, new)
    await library.ingest([folder / "leave.md"])
    await library.close()
    asked = replace(settings, embedder="example/other")
    library = await Library.open(asked, embed.serving(settings.models, asked.embedder))
    assert library._embedder.name == new.name and library._swap._thread is None, "not embedded anew for a model that only stands in"
    assert "other is not prepared yet" in library.notes and "Until then narrow finds passages." in library.notes
    assert "25 days" in await best(library)
    await library.close()
