"""Watched folders with the real watcher: changes are taken in by themselves, soon, and nothing is lost on the way."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from base.settings import Settings
from rag import watch
from rag.embed import Embedder
from rag.library import Library

WITHIN = 25.0
"""A busy machine's few seconds."""


@pytest.fixture
async def library(settings: Settings, embedder: Embedder) -> AsyncIterator[Library]:
    one = await Library.open(settings, embedder)
    one.keep_in_step()
    yield one
    await one.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "docs"
    made.mkdir()
    (made / "leave.md").write_text("# Leave\n\nEvery employee has 25 days of annual leave.\n")
    return made


async def until(library: Library, wanted: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Names and ids of the shared documents, once they are as `wanted`."""
    end = time.monotonic() + WITHIN
    while True:
        names = {info.name: info.id for info in await library.documents("shared") if info.state == "ready"}
        if wanted(names):
            return names
        assert time.monotonic() < end, names
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("told", [True, False])
async def test_changes_are_taken_in(library: Library, folder: Path, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the operating system tells, and on a network drive."""
    if not told:
        monkeypatch.setattr(watch, "remote", lambda _folder: True)
        monkeypatch.setattr(watch, "POLL_S", 0.5)
    before = (await library.ingest([folder], watched=True)).documents
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "tea.md").write_text("Tea is served at four.")
    shutil.copytree(folder / "deep", folder / "brief")
    shutil.rmtree(folder / "brief")
    await until(library, lambda names: set(names) == {"leave.md", "tea.md"})
    (folder / "leave.md").rename(folder.parent / "on its way")
    while not any(memory.missing for memory in library._sync._memories.values()):
        await asyncio.sleep(0.02)
    (folder.parent / "on its way").rename(folder / "deep" / "holidays.md")
    names = await until(library, lambda names: set(names) == {"holidays.md", "tea.md"})
    assert (names["holidays.md"],) == before, "a move"
    (folder / "deep" / "er" / "tea.md").unlink()
    await until(library, lambda names: set(names) == {"holidays.md"})


async def test_a_file_that_is_being_written_is_left_until_it_is_quiet(library: Library, folder: Path) -> None:
    await library.ingest([folder], watched=True)
    with (folder / "slow.md").open("w") as file:
        for line in range(14):
            file.write(f"Rule {line} of the house is that nobody sings.\n")
            file.flush()
            await asyncio.sleep(0.3)
            assert "slow.md" not in {info.name for info in await library.documents()}
        end = file.tell()
    slow = (await until(library, lambda names: "slow.md" in names))["slow.md"]
    assert len(await library.document_text(slow, ("shared",))) == end - 1


async def test_many_changes_at_once(library: Library, folder: Path) -> None:
    await library.ingest([folder], watched=True)
    for number in range(2000):
        file = folder / f"{number % 7}" / f"{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"Song {number}.")
        if number >= 60:
            file.unlink()
    await until(library, lambda names: len(names) == 61)


async def test_a_folder_that_vanishes_loses_nothing_and_stops_no_other(library: Library, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    await library.ingest([folder], watched=True)
    await library.ingest([other], watched=True)
    folder.rename(tmp_path / "unplugged")
    end = time.monotonic() + WITHIN
    while {info.path: info.state for info in await library.folders()}[str(folder)] != "cannot be reached":
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    (other / "tea.md").write_text("Tea is served at four.")
    await until(library, lambda names: set(names) == {"leave.md", "tea.md"})
    (tmp_path / "unplugged").rename(folder)
    (folder / "keys.md").write_text("Lost keys are reported to the front desk.")
    await until(library, lambda names: set(names) == {"leave.md", "tea.md", "keys.md"})
    (folder / "late.md").write_text("The last bus leaves at eight.")
    await until(library, lambda names: "late.md" in names)
    await library.forget_folder(folder, "shared")
    (folder / "more.md").write_text("More.")
    await asyncio.sleep(3)
    assert {info.name for info in await library.documents()} == {"tea.md"}


async def test_a_bad_file_is_told_once_and_read_again_when_it_changes(library: Library, folder: Path) -> None:
    await library.ingest([folder], watched=True)
    (folder / "bad.pdf").write_bytes(b"no pdf")
    end = time.monotonic() + WITHIN
    while not ((info := (await library.folders())[0]).report and info.report.failed):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    assert info.state == "1 file failed" and info.report.failed[0][0] == "bad.pdf"
    (memory,) = library._sync._memories.values()
    assert [Path(source).name for source in memory.troubles] == ["bad.pdf"]
    (folder / "bad.pdf").rename(folder / "bad.md")
    await until(library, lambda names: "bad.md" in names)
    end = time.monotonic() + WITHIN
    while (await library.folders())[0].state != "in step":
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def test_closing_ends_a_look_under_way(settings: Settings, embedder: Embedder, folder: Path) -> None:
    for number in range(400):
        (folder / f"{number}.txt").write_text(f"Rule {number}: nobody sings song {number} in the house. " * 12)
    library = await Library.open(settings, embedder)
    await library.ingest([folder / "leave.md"])
    with library._store.write:
        library._manifest.folders.remember("shared", str(folder), True)
    library.keep_in_step()
    while len(await library.documents()) < 50:
        await asyncio.sleep(0.05)
    await asyncio.wait_for(library.close(), 10)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch ")]
    library = await Library.open(settings, embedder)
    assert 50 <= len(await library.documents()) < 401
    vectors, words = library._store.ids()
    assert vectors == words == library._manifest.ids()
    await library.close()
