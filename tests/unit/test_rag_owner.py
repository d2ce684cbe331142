"""The hand-over: a second opener works through the owner, over a real server on the loopback."""

import asyncio
import json
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import uvicorn

from base.errors import KnowledgeError, LibraryInUse
from base.settings import ROOT, Settings
from rag import owner
from rag.embed import Embedder
from rag.library import Library
from rag.owner import RemoteLibrary


@pytest.fixture
async def served(tmp_path: Path, models: Path) -> AsyncIterator[tuple[Library, str]]:
    """A library that this process owns and serves, and the address."""
    library = await Library.open(Settings(home=tmp_path / "home"), Embedder.load(models))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/relay/library"
    server = uvicorn.Server(uvicorn.Config(owner.serve(library), lifespan="off", log_level="error"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    owner.announce(library, url)
    yield library, url
    server.should_exit = True
    await task
    listener.close()
    await library.close()
    assert not (library.settings.library / owner.NOTE).exists()


OTHER = """
import asyncio, json, sys
from dataclasses import asdict
from pathlib import Path
from base.settings import Settings
from rag.embed import Embedder
from rag.owner import open_library

async def main(home, models, path):
    library = await open_library(Settings(home=Path(home)), lambda: Embedder.load(Path(models)))
    told = []
    report = await library.ingest([Path(path)], progress=lambda label, fraction=None: told.append((label, fraction)))
    found = await library.search("how many days of annual leave?", ["shared"], 0.35)
    documents = await library.documents("shared")
    await library.close()
    print(json.dumps([type(library).__name__, asdict(report), told, found.to_json(), [info.name for info in documents]]))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_another_process_hands_its_work_over(served: tuple[Library, str], models: Path, tmp_path: Path) -> None:
    library, _ = served
    (tmp_path / "leave.md").write_text("# Leave\n\nEvery employee has 25 days of annual leave.\n")
    command = [sys.executable, "-c", OTHER, str(library.settings.home), str(models), str(tmp_path / "leave.md")]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    kind, report, told, found, names = json.loads(done.stdout)
    assert kind == "RemoteLibrary" and report["added"] == 1 and told and names == ["leave.md"]
    assert "25 days" in found["passages"][0]["text"]
    assert len(await library.documents()) == 1


async def test_values_arrive_as_they_left(served: tuple[Library, str], tmp_path: Path) -> None:
    library, url = served
    remote = RemoteLibrary(library.settings, url, library.token)
    (tmp_path / "a.py").write_text("def annual_leave():\n    return 25\n")
    (tmp_path / "empty.md").write_text("")
    first = await remote.ingest([tmp_path / "a.py", tmp_path / "empty.md"])
    assert first.added == 1 and first.failed[0][0] == "empty.md"
    assert (await remote.ingest([tmp_path / "a.py"])) == (await library.ingest([tmp_path / "a.py"]))
    there = await remote.search("annual leave function", ["shared"], -1)
    here = await library.search("annual leave function", ["shared"], -1)
    assert there.passages == here.passages and there.passages[0].lines == (1, 2)
    one = here.passages[0]
    assert await remote.passage(one.id, ("shared",)) == await library.passage(one.id, ("shared",))
    assert await remote.neighbours(one.id, ("shared",)) == await library.neighbours(one.id, ("shared",))
    assert await remote.opening([one.document_id], 2, ("shared",)) == await library.opening([one.document_id], 2, ("shared",))
    assert await remote.documents() == await library.documents()
    assert await remote.document_text(one.document_id, ("shared",)) == await library.document_text(one.document_id, ("shared",))
    await remote.remove(one.document_id)
    with pytest.raises(KnowledgeError, match="no longer in the library"):
        await remote.passage(one.id, ("shared",))
    await remote.close()


async def test_folders_are_kept_through_the_owner(served: tuple[Library, str], tmp_path: Path) -> None:
    library, url = served
    remote = RemoteLibrary(library.settings, url, library.token)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "tea.md").write_text("Tea is served at four.")
    await remote.ingest([folder], "group:a", watched=True, full=True)
    (folder / "tea.md").rename(folder / "drinks.md")
    told: list[str] = []
    report = await remote.sync(folder, "group:a", lambda label, fraction=None: told.append(label))
    assert report.moved == 1 and told
    (info,) = await remote.folders("group:a")
    assert (info,) == await library.folders() and info.watched and info.report is not None and info.report.moved == 1
    await remote.watch(folder, "group:a", False)
    assert not (await remote.folders())[0].watched
    await remote.forget_folder(folder, "group:a")
    assert await remote.folders() == () and await remote.documents() == ()
    with pytest.raises(KnowledgeError, match="not a folder of the collection"):
        await remote.sync(folder, "group:a")
    await remote.close()


async def test_only_the_token_opens_it(served: tuple[Library, str]) -> None:
    library, url = served
    note = library.settings.library / owner.NOTE
    assert sys.platform == "win32" or stat.S_IMODE(note.stat().st_mode) == 0o600
    good = {"Authorization": f"Bearer {library.token}"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        call = {"call": "documents", "arguments": {}}
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": library.token}):
            assert (await client.post(url, json=call, headers=headers)).status_code == 401
        assert (await client.get(url, headers=good)).status_code == 405
        assert (await client.post(url, json=call, headers=good)).status_code == 200
        for name, arguments in (("close", {}), ("_intake", {}), ("passage", {"x": 1}), ("search", [])):
            bad: dict[str, object] = {"call": name, "arguments": arguments}
            assert (await client.post(url, json=bad, headers=good)).status_code == 400
        assert (await client.post(url, content=b"x" * 1_000_001, headers=good)).status_code == 413


async def test_an_ingest_ends_when_its_asker_goes_away(served: tuple[Library, str], tmp_path: Path) -> None:
    library, url = served
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text(f"Rule {number}: nobody sings song {number} in the house. " * 12)
    remote = RemoteLibrary(library.settings, url, library.token)
    task = asyncio.create_task(remote.ingest([tmp_path]))
    while not await library.documents():
        await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await remote.close()
    await asyncio.sleep(1.5)
    count = len(await library.documents())
    await asyncio.sleep(0.5)
    assert len(await library.documents()) == count < 300


HOLDER = OTHER.split("async def main")[0] + (
    "async def main(home, models):\n"
    "    library = await open_library(Settings(home=Path(home)), lambda: Embedder.load(Path(models)))\n"
    "    print('open', flush=True)\n    sys.stdin.readline()\n    await library.close()\nasyncio.run(main(*sys.argv[1:]))\n"
)


def holder(settings: Settings, models: Path) -> subprocess.Popen[str]:
    """A process that has the library open and serves it to nobody, until a line comes."""
    command = [sys.executable, "-c", HOLDER, str(settings.home), str(models)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def test_a_short_command_is_waited_for(tmp_path: Path, models: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with holder(settings, models) as process:
        assert process.stdout is not None and process.stdin is not None and process.stdout.readline() == "open\n"
        waiting = asyncio.create_task(owner.open_library(settings, lambda: Embedder.load(models)))
        await asyncio.sleep(1)
        assert not waiting.done()
        process.stdin.write("\n")
        process.stdin.flush()
        library = await waiting
    assert isinstance(library, Library)
    await library.close()


async def test_an_owner_that_does_not_answer(tmp_path: Path, models: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with holder(settings, models) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        with pytest.raises(LibraryInUse, match="owns this library"):
            await owner.open_library(settings, lambda: Embedder.load(models), patience=0.5)
        (settings.library / owner.NOTE).write_text(json.dumps({"url": "http://127.0.0.1:9/", "token": "t", "pid": 1}))
        with pytest.raises(LibraryInUse, match="does not answer"):
            await owner.open_library(settings, lambda: Embedder.load(models), patience=0.5)
        process.kill()
    library = await owner.open_library(settings, lambda: Embedder.load(models), patience=0.5)
    assert isinstance(library, Library)
    await library.close()
