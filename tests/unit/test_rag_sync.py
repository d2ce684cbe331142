"""Folders that stay in step: real files, a real library; what is read again, moved, kept and forgotten."""

import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from base.errors import KnowledgeError
from base.settings import Settings
from rag.embed import Embedder
from rag.library import DEMO, Library
from rag.report import Report

FLOOR = Settings(home=Path()).floor
OLD = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    id TEXT PRIMARY KEY, scope TEXT NOT NULL, source TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL, size INTEGER NOT NULL,
    kind TEXT NOT NULL, title TEXT NOT NULL, passages INTEGER NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,
    added REAL NOT NULL, changed REAL NOT NULL, pipeline TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (scope, source));
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE, ordinal INTEGER NOT NULL,
    text TEXT NOT NULL, heading TEXT NOT NULL, page INTEGER, lines TEXT, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    vector BLOB NOT NULL);
CREATE INDEX passages_document ON passages (document, ordinal);
CREATE TABLE sentences (passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE, width INTEGER NOT NULL,
    vectors BLOB NOT NULL);
"""
"""The manifest before folders were remembered."""


class Counting(Embedder):
    """The real embedder; remembers what it was given."""

    texts: list[str]

    def embed_parts(self, texts, spans):  # type: ignore[no-untyped-def]
        self.texts = [*getattr(self, "texts", []), *texts]
        return super().embed_parts(texts, spans)


@pytest.fixture
async def library(settings: Settings, models: Path) -> AsyncIterator[Library]:
    one = await Library.open(settings, Counting.load(models))
    one._embedder.texts = []  # type: ignore[attr-defined]
    yield one
    await one.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = (tmp_path / "docs").resolve()
    for name, text in {
        "leave.md": "# Leave\n\nEvery employee has 25 days of annual leave.\n",
        "travel.txt": "Taxi receipts are needed above 75 dollars.\n",
        "sub/keys.md": "Lost keys are reported to the front desk.\n",
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    age(made)
    return made


def age(folder: Path, seconds: float = 60) -> None:
    """Let the files be from a while ago."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - seconds,) * 2)


def counts(report: Report) -> dict[str, int]:
    names = ("added", "changed", "moved", "unchanged", "deleted")
    return {name: getattr(report, name) for name in names if getattr(report, name)} | (
        {"failed": len(report.failed)} if report.failed else {}
    )


def embedded(library: Library) -> list[str]:
    """What was embedded since the last question."""
    texts, library._embedder.texts = library._embedder.texts, []  # type: ignore[attr-defined]
    return texts


def agree(library: Library) -> None:
    vectors, words = library._store.ids()
    assert vectors == words == library._manifest.ids()


async def test_folders_are_remembered_and_forgotten(library: Library, folder: Path, tmp_path: Path) -> None:
    first = await library.ingest([folder, folder / "leave.md"], watched=True)
    await library.ingest([folder / "sub"], "user:local")
    await library.ingest([DEMO], "demo")
    upload = tmp_path / "x.tmp"
    upload.write_text("Tea is served at four.")
    await library.ingest([upload], "chat:1", names=["tea.txt"])
    one, two = await library.folders()
    assert (one.scope, one.path, one.watched, one.state) == ("shared", str(folder), True, "in step")
    assert one.report is not None and counts(one.report) == {"added": 3} and abs(one.synced - time.time()) < 60
    assert (two.scope, two.path, two.watched) == ("user:local", str(folder / "sub"), False)
    assert counts(first) == {"added": 3, "unchanged": 1}
    await library.ingest([folder])
    assert (await library.folders("shared"))[0].watched, "an ingest that says nothing of it leaves it watched"
    await library.watch(folder, "shared", False)
    assert not (await library.folders("shared"))[0].watched
    with pytest.raises(KnowledgeError, match="not a folder of the collection"):
        await library.sync(tmp_path, "shared")
    await library.ingest([folder / "sub"])
    await library.forget_folder(folder, "shared")
    assert [info.name for info in await library.documents("shared")] == ["keys.md"], "it is in another folder that is remembered"
    await library.forget_folder(folder / "sub", "user:local", documents=False)
    assert len(await library.documents("user:local")) == 1 and len(await library.folders()) == 1
    await library.remove_scope("shared")
    assert await library.folders() == ()
    agree(library)


async def test_untouched_files_are_not_opened(library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await library.ingest([folder])
    time.sleep(2.1)  # the files' entries were made just before: such are looked into once more
    await library.sync(folder, "shared")
    opened: list[Path] = []
    monkeypatch.setattr("rag.look.sha256", lambda path: opened.append(path) or "other")
    assert counts(await library.sync(folder, "shared")) == {"unchanged": 3} and not opened
    (folder / "leave.md").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rag.look.sha256", lambda path: opened.append(path) or library._manifest.find("shared", path.as_posix()).hash)
        assert counts(await library.sync(folder, "shared")) == {"unchanged": 3}
        assert [path.name for path in opened] == ["leave.md"]
        opened.clear()
        assert counts(await library.sync(folder, "shared", full=True)) == {"unchanged": 3} and len(opened) == 3


async def test_a_change_right_after_a_sync_is_seen_though_size_and_time_are_the_same(library: Library, folder: Path) -> None:
    file = folder / "leave.md"
    file.write_text("We have 25 days of annual leave.")
    await library.ingest([folder])
    before = file.stat()
    file.write_text("We have 30 days of annual leave.")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(await library.sync(folder, "shared")) == {"changed": 1, "unchanged": 2}


@pytest.mark.parametrize("apart", [False, True])
async def test_a_moved_file_keeps_its_document(library: Library, folder: Path, tmp_path: Path, apart: bool) -> None:
    """Within a folder, and from one that stays in step to another."""
    other = tmp_path / "other" if apart else folder / "deep" / "er"
    other.mkdir(parents=True)
    await library.ingest([folder, tmp_path / "other"] if apart else [folder])
    before = {info.name: info for info in await library.documents()}
    (passage,) = (await library.search("taxi receipts", ("shared",), -1)).passages[:1]
    embedded(library)
    (folder / "travel.txt").rename(other / "Zebulon.txt")
    (folder / "leave.md").rename(other / "leave.md")
    if apart:
        report = await library.ingest([folder, tmp_path / "other"])
    else:
        report = await library.sync(folder, "shared")
    assert counts(report) == {"moved": 2, "unchanged": 1} and not embedded(library)
    after = {info.name: info for info in await library.documents()}
    assert after["Zebulon.txt"].id == before["travel.txt"].id
    assert after["Zebulon.txt"].title == "Zebulon", "it was the file's name, and follows it"
    assert (after["leave.md"].title, after["leave.md"].source) == ("Leave", (other.resolve() / "leave.md").as_posix())
    now = await library.passage(passage.id, ("shared",))
    assert (now.text, now.document) == (passage.text, "Zebulon")
    assert [str(id) for id, _ in library._store.keyword("zebulon", ("shared",), 9)] == [passage.id], "the new name's words are found"
    assert library._store.keyword("travel", ("shared",), 9) == []
    agree(library)
    assert counts(await library.sync(folder, "shared", full=True)).keys() == {"unchanged"}


async def test_what_is_no_move(library: Library, folder: Path) -> None:
    await library.ingest([folder])
    keys = {info.name: info.id for info in await library.documents()}["keys.md"]
    shutil.copy(folder / "sub" / "keys.md", folder / "copy.md")
    assert counts(await library.sync(folder, "shared")) == {"added": 1, "unchanged": 3}, "the first is still there"
    (folder / "travel.txt").rename(folder / "travel.py")
    assert counts(await library.sync(folder, "shared")) == {"added": 1, "unchanged": 3, "deleted": 1}, "it is read another way now"
    (folder / "sub" / "keys.md").replace(folder / "leave.md")
    assert counts(await library.sync(folder, "shared")) == {"moved": 1, "unchanged": 2, "deleted": 1}
    names = {info.name: info.id for info in await library.documents()}
    assert names["leave.md"] == keys and set(names) == {"leave.md", "copy.md", "travel.py"}
    agree(library)


async def test_documents_are_kept_on_demand(library: Library, folder: Path) -> None:
    await library.ingest([folder])
    (folder / "travel.txt").unlink()
    assert counts(await library.sync(folder, "shared", delete=False)) == {"unchanged": 2}
    assert counts(await library.sync(folder, "shared")) == {"unchanged": 2, "deleted": 1}


async def test_an_unplugged_disk_loses_nothing(library: Library, folder: Path, tmp_path: Path) -> None:
    await library.ingest([folder])
    folder.rename(tmp_path / "away")
    report = await library.sync(folder, "shared")
    assert not report.reached and "cannot be reached" in report.failed[0][1] and report.deleted == 0
    (info,) = await library.folders()
    assert info.state == "cannot be reached" and info.synced > 0
    folder.mkdir()
    with library._store.write, library._manifest.folders._transaction() as db:
        assert db.execute("UPDATE files SET device = 'another disk'").rowcount == 3
    report = await library.sync(folder, "shared")
    assert not report.reached and "its disk is not connected" in report.failed[0][1] and report.deleted == 0, "an empty mount point"
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    assert counts(await library.sync(folder, "shared")) == {"unchanged": 3}
    for file in list(folder.rglob("*.*")):
        file.unlink()
    assert counts(await library.sync(folder, "shared")) == {"deleted": 3}, "emptied on the same disk, it is empty"


async def test_an_older_library_is_taken_over(settings: Settings, embedder: Embedder, folder: Path) -> None:
    library = await Library.open(settings, embedder)
    await library.ingest([folder])
    before = await library.documents()
    await library.close()
    file = settings.library / "manifest.sqlite"
    new = sqlite3.connect(file)
    with sqlite3.connect(settings.library / "old.sqlite") as old:
        old.executescript(OLD)
        for table in ("meta", "documents", "passages", "sentences"):
            rows = new.execute(f"SELECT * FROM {table}").fetchall()
            old.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
    old.close()
    new.close()
    for ending in ("-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
    (settings.library / "old.sqlite").replace(file)
    library = await Library.open(settings, embedder)
    assert await library.documents() == before and await library.folders() == ()
    assert counts(await library.ingest([folder])) == {"unchanged": 3} and len(await library.folders()) == 1
    assert len(library._manifest.folders.stamps("shared")) == 3
    assert (await library.search("annual leave days", ("shared",), FLOOR)).passages
    agree(library)
    await library.close()


async def test_the_library_does_not_take_itself_in(settings: Settings, library: Library, folder: Path) -> None:
    settings.library.joinpath("owner.json").write_text("{}")
    report = await library.ingest([settings.home.parent])
    assert counts(report) == {"added": 3} and {info.name for info in await library.documents()} == {"leave.md", "travel.txt", "keys.md"}
