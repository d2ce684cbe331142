"""Works on a library on a small disk that is filled to the brim again and again; test_rag_full.py starts it. Not a test."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from base.errors import KnowledgeError
from base.settings import Settings
from rag.embed import Embedder
from rag.library import Library
from rag.owner import announce

LEFT = (0, 4096, 12_000, 20_000, 40_000, 80_000, 130_000, 200_000, 300_000, 600_000)
"""Bytes that are left free, in turn: enough for nothing, for a part, for a part of another file, for all."""
KILLED = """
import asyncio, os, sys
from pathlib import Path
from base.settings import Settings
from rag.embed import Embedder
from rag.library import Library

async def main(home, models, file):
    library = await Library.open(Settings(home=Path(home)), Embedder.load(Path(models)))
    await library.ingest([Path(file)])
    os.kill(os.getpid(), 9)

asyncio.run(main(*sys.argv[1:]))
"""


class Disk:
    """The small disk, and files to ingest that are not on it."""

    def __init__(self, path: Path, files: Path, embedder: Embedder) -> None:
        self.path, self.files, self.embedder = path, files, embedder
        self.ballast, self.settings = path / "ballast", Settings(home=path / "home")

    def fill(self, leave: int) -> None:
        self.ballast.unlink(missing_ok=True)
        self.ballast.write_bytes(b"\0" * max(0, shutil.disk_usage(self.path).free - leave))

    def file(self, name: str, text: str) -> Path:
        (self.files / name).write_text(text)
        return self.files / name


def full(error: KnowledgeError) -> None:
    assert str(error) == "The disk is full; nothing was changed. Free some space and try again.", error


async def answers(library: Library) -> None:
    found = await library.search("how many days of annual leave?", ("shared",), 0.5)
    assert "25 days" in found.passages[0].text


async def opened_full(disk: Disk, leave: int) -> bool:
    """Whether a library opens while `leave` bytes are free; it says why it does not."""
    disk.fill(leave)
    try:
        library = await Library.open(disk.settings, disk.embedder)
    except KnowledgeError as error:
        full(error)
        return False
    announce(library, "http://127.0.0.1:9/")
    if await library.documents():
        await answers(library)
    await library.close()
    return True


async def taken_in(disk: Disk, library: Library, name: str, text: str) -> bool:
    """Whether a document got in: wholly or not at all, and what was there answers."""
    before = library._manifest.ids()
    try:
        report = await library.ingest([disk.file(name, text)])
        assert report.added + report.changed == 1, report
        done = True
    except KnowledgeError as error:
        full(error)
        done = False
    (body,) = [await library.document_text(one.id, (one.scope,)) for one in await library.documents() if one.name == name] or [""]
    assert (body.strip() == text.strip()) == done
    assert done or library._manifest.ids() == before
    assert library._store.keywords.ids() - library._store.handle.doomed == library._manifest.ids()
    await answers(library)
    return done


async def main(path: str, files: str, models: str) -> None:
    disk = Disk(Path(path), Path(files), Embedder.load(Path(models)))
    leave = disk.file("leave.md", "Every employee has 25 days of annual leave.")
    print("new:", [await opened_full(disk, free) for free in LEFT])
    disk.ballast.unlink()
    shutil.rmtree(disk.settings.home, ignore_errors=True)
    command = [sys.executable, "-c", KILLED, str(disk.settings.home), models, str(leave)]
    await asyncio.to_thread(subprocess.run, command)
    print("killed:", [await opened_full(disk, free) for free in LEFT])
    disk.ballast.unlink()
    library = await Library.open(disk.settings, disk.embedder)
    assert await library.settled() == "ready"
    done = []
    for number, free in enumerate(LEFT):
        for name, times in (("short", 1), ("long", 40), ("leave", 0)):
            disk.fill(free)
            text = f"Zebra {number} eats grass. " * times or f"Every employee has 25 days of annual leave, says rule {number}."
            done.append(await taken_in(disk, library, f"{name}{number}.md" if times else "leave.md", text))
    print("ingest:", done)
    assert not done[0] and done[-1] and library.state.startswith("waiting: The disk is full")
    disk.fill(0)
    try:
        await library.remove((await library.documents())[0].id)
    except KnowledgeError as error:
        full(error)
    await answers(library)
    await library.close()
    disk.ballast.unlink()
    library = await Library.open(disk.settings, disk.embedder)
    assert await library.settled() == "ready"
    assert library._store.ids() == (library._manifest.ids(),) * 2
    assert len((await library.ingest([disk.files])).documents) == 1 + 2 * len(LEFT)
    await answers(library)
    await library.close()


asyncio.run(main(*sys.argv[1:]))
