"""What the library survives: damaged index files, an end without closing, a full disk. Real Chroma, SQLite and files."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from base.errors import KnowledgeError
from base.settings import ROOT, Settings
from rag import seal
from rag.embed import Embedder
from rag.library import Library
from rag.store import Row, Store

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
    agree(library)
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
from rag.store import Store

store = Store.open(Path(sys.argv[1]))
print(store.counts(), len(store.dense(np.full(384, 0.05, dtype=np.float32), ("shared",), 100)), flush=True)
"""


@pytest.mark.parametrize("damage", ["none", "vectors scrambled", "vectors cut off", "lengths gone"])
def test_chroma_never_opens_damaged_vectors(tmp_path: Path, damage: str) -> None:
    store = Store.open(tmp_path / "library")
    # From 1,000 passages on Chroma reads its graph from these files, and dies of what it finds there.
    store.add([Row(number, "shared", "", "text") for number in range(2500)], np.random.default_rng(1).random((2500, 384), dtype=np.float32))
    store.close()
    for file in [] if damage == "none" else (tmp_path / "library").glob(DAMAGES[damage][0]):
        DAMAGES[damage][1](file)
    done = subprocess.run([sys.executable, "-c", NEAREST, str(store.folder)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "(2500, 2500) 100\n" if damage == "none" else "(0, 0) 0\n"), done.stderr


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "vectors scrambled": ("chroma/*/data_level0.bin", scramble),
    "vectors cut off": ("chroma/*/data_level0.bin", lambda file: os.truncate(file, 1000)),
    "lengths gone": ("chroma/*/length.bin", lambda file: file.unlink()),
    "chroma's tables scrambled": ("chroma/chroma.sqlite3", scramble),
    "words scrambled": ("keywords.sqlite", scramble),
    "words cut off": ("keywords.sqlite", lambda file: os.truncate(file, 5000)),
    "never closed": (seal.NOTE, lambda file: file.unlink()),
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
    library = await Library.open(settings, embedder)
    assert not seal.intact(settings.library)
    await library.ingest([folder])
    assert not seal.intact(settings.library)
    await library.close()
    assert seal.intact(settings.library)
    library = await Library.open(settings, embedder)
    assert (settings.library / seal.NOTE).exists(), "a reader that is killed now costs no rebuild"
    await library.remove_scope("chat:1")
    assert (settings.library / seal.NOTE).exists(), "nothing was there to remove"
    await library.remove_scope("shared")
    assert not (settings.library / seal.NOTE).exists()
    await library.close()
    assert seal.intact(settings.library)


async def test_damage_while_it_is_open_is_said_and_mended(settings: Settings, embedder: Embedder, folder: Path) -> None:
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    with library._store.write, library._store._writer as db:
        db.execute("UPDATE words_data SET block = randomblob(60) WHERE id > 10")
    with pytest.raises(KnowledgeError, match=r"files are damaged.*Restart Relay"):
        await library.search("annual leave", ("shared",), FLOOR)
    await library.close()
    library = await Library.open(settings, embedder)
    assert "25 days" in await best(library, "annual leave")
    await library.close()


async def test_a_full_disk_is_said_plainly(settings: Settings, embedder: Embedder, folder: Path) -> None:
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    (pages,) = library._manifest._write.execute("PRAGMA page_count").fetchone()
    library._manifest._write.execute(f"PRAGMA max_page_count = {pages + 2}")
    (folder / "long.md").write_text("Nobody sings in the house after ten. " * 4000)
    with pytest.raises(KnowledgeError, match=r"The disk is full.*Free some space and ingest again"):
        await library.ingest([folder])
    assert "25 days" in await best(library, "how many days of annual leave?")
    library._manifest._write.execute("PRAGMA max_page_count = 1000000")
    assert (await library.ingest([folder])).added == 1
    await library.close()
