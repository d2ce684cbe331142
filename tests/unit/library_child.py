"""A process that works on a real library until it is killed; test_rag_kill.py starts it. Not a test.

It forks once for each line on its input, so that imports and the embedder's weights are paid for once. A fork opens the
library, compares it with what it is told to find, then adds, changes, deletes and syncs documents, several at a time, and
says before and after each operation what it does: {"begin": {name: version or null}}, {"done": …}.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import chromadb  # noqa: F401  imported before the fork

from base.settings import Settings
from rag.embed import Embedder
from rag.library import Library

# A session without threads of its own outlives a fork.
os.cpu_count = lambda: 1  # type: ignore[assignment]

TURNS = ("baker", "captain", "clerk", "diver", "farmer", "gardener", "hunter", "judge", "lawyer", "miller", "nurse", "painter", "pilot")
THINGS = ("anchor", "basket", "candle", "drum", "engine", "fiddle", "globe", "harp", "kettle", "ladder", "mirror", "needle", "organ")
PLACES = ("Athens", "Bergen", "Cairo", "Dublin", "Geneva", "Havana", "Kyoto", "Lima", "Madrid", "Nairobi", "Oslo", "Prague", "Quito")


def say(**fact: Any) -> None:
    os.write(1, json.dumps(fact).encode() + b"\n")


def word(version: int) -> str:
    """No other version holds it."""
    letters = "bcdfghjklm"
    return "zq" + "".join(letters[int(digit)] + "o" for digit in f"{version:05}")


def sentence(version: int) -> str:
    """Nor this."""
    at = random.Random(version)
    who, other, town, thing = at.choice(TURNS), at.choice(TURNS), at.choice(PLACES), at.choice(THINGS)
    return f"In {1500 + version} the {who} of {town} sold {10 + version % 83} {thing}s to a {other}."


def text(version: int) -> str:
    return f"{sentence(version)}\n\nIts mark is {word(version)}.\n"


class Work:
    """One fork's."""

    def __init__(self, library: Library, order: dict[str, Any]) -> None:
        self.library, self.dice = library, random.Random(order["seed"])
        self.next = int(order["next"])
        self.folder = Path(order["folder"])
        self.held: dict[str, int] = order["held"]
        """Document to version: all that was acknowledged, and what is now known of what was not."""

    def version(self) -> int:
        self.next += 1
        return self.next

    async def check(self, maybe: dict[str, list[int | None]], searched: list[str], whole: bool) -> None:
        """Compare the library with what it may hold, and tell what it holds."""
        found: dict[str, int] = {}
        infos = {f"{info.scope}/{info.name}": info for info in await self.library.documents()}
        for name, info in infos.items():
            body = await self.library.document_text(info.id, (info.scope,))
            versions = [self.held.get(name), *maybe.get(name, ())]
            (found[name],) = [one for one in versions if one is not None and text(one).strip() == body.strip()] or [-1]
        for name in {*self.held, *maybe}:
            allowed = [*maybe.get(name, ()), self.held.get(name)]
            assert found.get(name) in allowed, (name, found.get(name), allowed)
        assert set(found) <= {*self.held, *maybe}
        store, true = self.library._store, self.library._manifest.ids()
        assert store.keywords.ids() == true
        for name in searched:
            await self.look(name, found.get(name), {one for one in (self.held.get(name), *maybe.get(name, ())) if one is not None})
        if whole:
            assert store.ids() == (true, true) and self.library.state == "ready"
        self.held = found

    async def look(self, name: str, version: int | None, versions: set[int]) -> None:
        """A document is found by its word, by its sentence, and by both indexes; its other versions by none."""
        scope = name.partition("/")[0]
        for one in versions:
            for question in (word(one), sentence(one)):
                hits = (await self.library.search(question, (scope,), -1)).passages
                own = [hit for hit in hits if word(one) in hit.text]
                assert [sentence(one) in hit.text for hit in own] == [True] * (one == version), (name, one, version, question, own)
            for hit in own:
                store, vector = self.library._store, self.library._embedder.embed([sentence(one)])[0]
                assert int(hit.id) in dict(store.keyword(word(one), (scope,), 1))
                assert int(hit.id) in store.dense(vector, (scope,), 5)

    async def work(self) -> None:
        await asyncio.gather(self.files("docs"), self.files("more"), self.uploads())

    async def files(self, scope: str) -> None:
        """Add, change and delete files of a folder, and sync it."""
        folder = self.folder / scope
        folder.mkdir(exist_ok=True)
        while True:
            names = [name for name in self.held if name.startswith(f"{scope}/")]
            gone = self.dice.sample(names, min(len(names), self.dice.randint(0, 3) if len(names) > 12 else 0))
            changed = self.dice.sample(sorted({*names} - {*gone}), min(len(names) - len(gone), self.dice.randint(0, 3)))
            fresh = [f"{scope}/{self.version()}.txt" for _ in range(self.dice.randint(1, 3))]
            after: dict[str, int | None] = {**dict.fromkeys(gone), **{name: self.version() for name in (*changed, *fresh)}}
            # What an earlier fork left on the disk without having it taken in goes with it.
            stray = {f"{scope}/{path.name}" for path in folder.iterdir()} - {*names, *fresh}
            for name, version in {**dict.fromkeys(stray), **after}.items():
                if version is None:
                    (folder / Path(name).name).unlink(missing_ok=True)
                else:
                    (folder / Path(name).name).write_text(text(version))
            for name in {*names} - {*after}:
                (folder / Path(name).name).write_text(text(self.held[name]))
            say(begin=after)
            report = await self.library.ingest([folder], scope)
            assert not report.failed and report.deleted == len(gone), (report, after)
            self.done(after)

    async def uploads(self) -> None:
        """Take uploads in, then remove them one by one, and the last ones with their chat."""
        scope = "chat:1"
        while True:
            names = sorted(name for name in self.held if name.startswith(f"{scope}/"))
            for name in names[3:]:
                await self.remove(name)
            if names:
                say(begin=dict.fromkeys(names[:3]))
                await self.library.remove_scope(scope)
                self.done(dict.fromkeys(names[:3]))
            after: dict[str, int | None] = {f"{scope}/{version}.txt": version for version in (self.version() for _ in range(12))}
            files = [self.folder / Path(name).name for name in after]
            for file, version in zip(files, after.values(), strict=True):
                file.write_text(text(int(version or 0)))
            say(begin=after)
            await self.library.ingest(files, scope, names=[file.name for file in files])
            self.done(after)

    async def remove(self, name: str) -> None:
        (id,) = [info.id for info in await self.library.documents("chat:1") if info.name == name.partition("/")[2]]
        say(begin={name: None})
        await self.library.remove(id)
        self.done({name: None})

    def done(self, after: dict[str, int | None]) -> None:
        say(done=after)
        for name, version in after.items():
            if version is None:
                self.held.pop(name, None)
            else:
                self.held[name] = version


async def fork(embedder: Embedder, order: dict[str, Any]) -> None:
    """One life."""
    began = time.perf_counter()
    library = await Library.open(Settings(home=Path(order["home"])), embedder)
    await library.search("anything", ("docs",), -1)
    say(pid=os.getpid(), seconds=time.perf_counter() - began)
    work = Work(library, order)
    await work.check(order["maybe"], order["searched"], order["whole"])
    say(held=work.held)
    if order["work"]:
        await work.work()
    await library.close()


def main(models: str) -> None:
    """A fork for each line."""
    embedder = Embedder.load(Path(models))
    say(ready=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                asyncio.run(fork(embedder, json.loads(line)))
            except BaseException as error:
                say(error=f"{type(error).__name__}: {error}"[:3000])
                raise
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        say(end=status)


if __name__ == "__main__":
    main(sys.argv[1])
