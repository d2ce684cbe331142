"""What the library survives: damaged index files, an end without closing, a full disk. Real Chroma, SQLite and files."""

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from base.settings import ROOT, Settings
from rag import seal
from rag.embed import Embedder
from rag.library import Library
from rag.store import Chroma

FLOOR = Settings(home=Path()).floor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    (made / "leave.md").write_text("# Leave\n\nEvery employee has 25 days of annual leave.\n")
    return made


async def best(library: Library, query: str) -> str:
    return (await library.search(query, ("shared",), FLOOR)).passages[0].text


def agree(library: Library) -> None:
    """Manifest and both indexes hold the same passages."""
    vectors, words = library._store.ids()
    assert vectors == words == library._manifest.ids()


async def test_lost_indexes_are_made_anew_at_open(settings: Settings, embedder: Embedder, folder: Path) -> None:
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    await library.close()
    (settings.library / "keywords.sqlite").write_bytes(b"damaged" * 1000)
    shutil.rmtree(settings.library / "chroma")
    library = await Library.open(settings, embedder)
    agree(library)
    assert "25 days" in await best(library, "how many days of annual leave?")
    library._store.delete(sorted(library._manifest.ids()))
    await library.rebuild()
    assert library.state == "ready"
    agree(library)
    assert "25 days" in await best(library, "how many days of annual leave?")
    await library.close()


SEARCH = """
import asyncio, os, sys
from pathlib import Path
from base.settings import Settings
from rag.embed import Embedder
from rag.library import Library

async def main(home, models):
    library = await Library.open(Settings(home=Path(home)), Embedder.load(Path(models)))
    assert library._store.ids() == (library._manifest.ids(),) * 2
    for word in ("nutmeg", "house", "annual leave days"):
        found = await library.search(word, ("shared",), 0.34)
    print(found.passages[0].text, flush=True)
    os._exit(0)

asyncio.run(main(*sys.argv[1:]))
"""


def scramble(file: Path) -> None:
    """Noise over all but the first page."""
    data = file.read_bytes()
    file.write_bytes(data[:4096] + random.Random(7).randbytes(len(data) - 4096))


NEAREST = """
import sys
from pathlib import Path
import numpy as np
from rag.store import Chroma

chroma = Chroma(Path(sys.argv[1]))
chroma.open(2500)
print(len(chroma.ids()), len(chroma.nearest(np.full(384, 0.05, dtype=np.float32), ("shared",), 100)), flush=True)
"""


@pytest.mark.parametrize("damage", ["none", "vectors scrambled", "vectors cut off", "lengths gone"])
def test_chroma_never_opens_damaged_vectors(tmp_path: Path, damage: str) -> None:
    chroma = Chroma(tmp_path)
    chroma.open(2500)
    # From 1,000 passages on Chroma reads its graph from these files, and dies of what it finds there.
    chroma.put(range(2500), ["shared"] * 2500, np.random.default_rng(1).random((2500, 384), dtype=np.float32))
    chroma.close(sealed=True)
    for file in [] if damage == "none" else tmp_path.glob(DAMAGES[damage][0]):
        DAMAGES[damage][1](file)
    done = subprocess.run([sys.executable, "-c", NEAREST, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "2500 100\n" if damage == "none" else "0 0\n"), done.stderr


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "vectors scrambled": ("chroma/*/data_level0.bin", scramble),
    "vectors cut off": ("chroma/*/data_level0.bin", lambda file: os.truncate(file, 1000)),
    "lengths gone": ("chroma/*/length.bin", lambda file: file.unlink()),
    "chroma's tables scrambled": ("chroma/chroma.sqlite3", scramble),
    "words scrambled": ("keywords.sqlite", scramble),
    "words cut off": ("keywords.sqlite", lambda file: os.truncate(file, 5000)),
    "never closed": ("*.json", lambda file: file.unlink()),
    "never closed, words scrambled": ("keywords.sqlite", lambda file: (scramble(file), (file.parent / "keywords.json").unlink())),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damaged_indexes_are_made_anew(settings: Settings, models: Path, embedder: Embedder, folder: Path, damage: str) -> None:
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"Rule {number}: nobody sings song {number} in the house. " * 12)
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    await library.close()
    pattern, work = DAMAGES[damage]
    for file in list(settings.library.glob(pattern)):
        work(file)
    # Twice: neither the damage nor the child's end without closing may come back. In a child, for Chroma may end its process.
    for _ in range(2):
        command = [sys.executable, "-c", SEARCH, str(settings.home), str(models)]
        done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "25 days" in done.stdout, done.stderr


async def test_only_what_was_written_to_has_to_be_made_anew(settings: Settings, embedder: Embedder, folder: Path) -> None:
    def sealed() -> list[bool]:
        return [seal.intact(settings.library, part) for part in (seal.KEYWORDS, seal.CHROMA)]

    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    await library.settled()
    assert sealed() == [False, False]
    await library.close()
    assert sealed() == [True, True]
    library = await Library.open(settings, embedder)
    await library.settled()
    notes = [settings.library / seal.note(part) for part in (seal.KEYWORDS, seal.CHROMA)]
    assert all(note.exists() for note in notes), "a reader that is killed now costs no rebuild"
    await library.remove_scope("chat:1")
    assert all(note.exists() for note in notes), "nothing was there to remove"
    await library.remove_scope("shared")
    assert not any(note.exists() for note in notes)
    await library.close()
    assert sealed() == [True, True]


@pytest.mark.parametrize("change", ["search", "ingest"])
async def test_words_damaged_while_open_are_mended(settings: Settings, embedder: Embedder, folder: Path, change: str) -> None:
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    await library.settled()
    with closing(sqlite3.connect(settings.library / seal.KEYWORDS)) as db, db:
        db.execute("UPDATE words_data SET block = randomblob(60) WHERE id > 10")
    if change == "ingest":
        (folder / "pets.md").write_text("Dogs may come on Fridays.")
        assert (await library.ingest([folder])).added == 1
        assert "Fridays" in await best(library, "on which day may dogs come?")
    assert "25 days" in await best(library, "annual leave")
    assert await library.settled() == "ready"
    agree(library)
    await library.close()
    assert seal.intact(settings.library, seal.KEYWORDS)


async def test_a_library_too_large_for_memory_is_searched_in_chroma_and_meanwhile_in_the_truth(
    settings: Settings, embedder: Embedder, folder: Path
) -> None:
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"Rule {number}: nobody sings song {number} in the house.")
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    await library.ingest([folder / "leave.md"], "other")
    vector = embedder.embed(["who sings song 7?"])[0]

    def nearest(*scopes: str) -> list[int]:
        return library._store.dense(vector, scopes, 12)

    exact = nearest("shared"), nearest("shared", "other"), nearest("other"), nearest("nobody's")
    assert await library.settled() == "ready" and library._store.keeper
    library._store.keeper.rows.give_up()
    assert (nearest("shared"), nearest("shared", "other"), nearest("other"), nearest("nobody's")) == exact
    library._store.handle.chroma.ready.clear()
    assert (nearest("shared"), nearest("shared", "other"), nearest("other"), nearest("nobody's")) == exact
    library._store.clear()
    library._store.keeper.rows.give_up()
    assert nearest("shared") == exact[0]
    assert "25 days" in await best(library, "how many days of annual leave?")
    assert await library.settled() == "ready"
    agree(library)
    await library.close()
