"""The folders that stay in step with the library: remembered, synced again, watched, forgotten. Knows no file's inside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from base.errors import KnowledgeError
from base.progress import Progress, silent
from rag.folders import FolderInfo
from rag.intake import Intake
from rag.look import Memory, Order
from rag.manifest import DocumentInfo, Manifest
from rag.plain import plain
from rag.report import Report, total
from rag.scopes import DEMO
from rag.store import Store
from rag.walk import UPLOAD, inside, under
from rag.watch import Key, Watcher

FRESH_S = 60.0
"""How old the time of a watched folder's last look may get: it is not written after each look that found nothing."""
TELL_S = 30.0


class Sync:
    """The folders of one open library."""

    def __init__(
        self, store: Store, manifest: Manifest, intake: Callable[[], Intake], ingesting: Callable[[], AbstractAsyncContextManager[None]]
    ) -> None:
        self._store, self._manifest, self._intake, self._ingesting = store, manifest, intake, ingesting
        self._turns: dict[Key, asyncio.Lock] = {}
        self._memories: dict[Key, Memory] = {}
        self._watcher: Watcher | None = None

    def start(self) -> None:
        """Keep the watched folders in step from now on, until `close`."""
        if self._watcher is None:
            self._watcher = Watcher(self._watched, self._step, self._stumbled)
            self._watcher.start()

    async def close(self) -> None:
        """End the watching, and a sync that it began."""
        if self._watcher is not None:
            await self._watcher.close()

    async def folders(self, scope: str | None = None) -> tuple[FolderInfo, ...]:
        """See Library.folders."""
        return tuple(await asyncio.to_thread(self._manifest.folders.all, scope))

    async def ingest(self, order: Order, progress: Progress, watched: bool | None) -> Report:
        """See Library.ingest. Its folders are remembered before they are read: an interrupted ingest can be taken up again."""
        folders = await asyncio.to_thread(self._folders_of, order)
        keys = [key for key in folders if key]
        await asyncio.to_thread(self._remember, keys, watched)
        # Two uploads of one name must not find it free at the same time.
        async with self._turn(keys or [(order.scope, UPLOAD)], progress):
            reports = await self._intake().run(order, progress)
        for key, report in zip(folders, reports, strict=False):
            if key:
                await asyncio.to_thread(self._tell, key, report)
        self._wake()
        return total(reports)

    async def sync(self, path: str | Path, scope: str, progress: Progress, delete: bool, full: bool) -> Report:
        """See Library.sync."""
        info = await self._found(path, scope)
        order = Order([Path(info.path)], scope, delete=delete, full=full)
        async with self._turn([(scope, info.path)], progress):
            (report,) = await self._intake().run(order, progress)
        await asyncio.to_thread(self._tell, (scope, info.path), report)
        return report

    async def watch(self, path: str | Path, scope: str, on: bool) -> None:
        """See Library.watch."""
        info = await self._found(path, scope)
        await asyncio.to_thread(self._remember, [(scope, info.path)], on)
        self._wake()

    async def forget(self, path: str | Path, scope: str, documents: bool) -> None:
        """See Library.forget_folder."""
        info = await self._found(path, scope)
        key = (scope, info.path)
        await asyncio.to_thread(self._forget, lambda one: one == key)
        if self._watcher is not None:
            await self._watcher.drop(key)
        self._memories.pop(key, None)
        async with self._turn([key]):
            if documents:
                await asyncio.to_thread(self._delete_under, key)

    def forget_scopes(self, wanted: Callable[[str], bool]) -> None:
        """Remember no folder of these scopes. Blocks."""
        self._forget(lambda key: wanted(key[0]))

    async def _found(self, path: str | Path, scope: str) -> FolderInfo:
        """The remembered folder. Raises KnowledgeError."""
        full = await asyncio.to_thread(full_path, path)
        info = await asyncio.to_thread(self._manifest.folders.find, scope, full)
        if info is None:
            raise KnowledgeError(f"{full} is not a folder of the collection {scope}.", "'relay ingest --list' shows those that are.")
        return info

    @asynccontextmanager
    async def _turn(self, keys: Sequence[Key], progress: Progress | None = None) -> AsyncIterator[None]:
        """One sync of a folder at a time; whoever waits tells so now and then."""
        async with AsyncExitStack() as held:
            for key in sorted(set(keys)):
                lock = self._turns.setdefault(key, asyncio.Lock())
                while progress and lock.locked():
                    progress("Waiting for a sync of the same folder", None)
                    try:
                        async with asyncio.timeout(TELL_S):
                            await lock.acquire()
                            lock.release()
                    except TimeoutError:
                        continue
                await held.enter_async_context(lock)
            await held.enter_async_context(self._ingesting())
            yield

    def _folders_of(self, order: Order) -> list[Key | None]:
        """For each path, the folder it is; one that is remembered may be out of reach now."""
        if order.names or order.scope == DEMO:
            return []
        known = {info.path for info in self._manifest.folders.all(order.scope)}
        paths = map(full_path, order.paths)
        return [(order.scope, path) if path in known or Path(path).is_dir() else None for path in paths]

    def _remember(self, keys: Sequence[Key], watched: bool | None) -> None:
        with self._store.write, plain():
            for scope, path in keys:
                self._manifest.folders.remember(scope, path, watched)

    def _forget(self, wanted: Callable[[Key], bool]) -> None:
        with self._store.write, plain():
            self._manifest.folders.forget([key for one in self._manifest.folders.all() if wanted(key := (one.scope, one.path))])

    def _delete_under(self, key: Key) -> None:
        """The documents of a forgotten folder, but for those in another one of its scope."""
        scope, path = key
        others = [inside(Path(one.path)) for one in self._manifest.folders.all(scope)]

        def wanted(info: DocumentInfo) -> bool:
            return info.scope == scope and under(info.source, [inside(Path(path))]) and not under(info.source, others)

        self._intake().writer.delete_where(wanted)

    def _tell(self, key: Key, report: Report) -> None:
        """Keep how a sync went. A folder that was not reached was not synced."""
        with self._store.write, plain():
            before = self._manifest.folders.find(*key)
            if before is not None:
                self._manifest.folders.told(*key, time.time() if report.reached else before.synced, report)

    def _wake(self) -> None:
        if self._watcher is not None:
            self._watcher.wake()

    async def _watched(self) -> list[Key]:
        return [(one.scope, one.path) for one in await self.folders() if one.watched]

    async def _step(self, key: Key) -> bool:
        """A look after a watched folder; whether something was left for the next one."""
        memory = self._memories.setdefault(key, Memory())
        memory.waiting = False
        order = Order([Path(key[1])], key[0], memory=memory)
        async with self._turn([key]):
            if await asyncio.to_thread(self._manifest.folders.find, *key) is None:
                return False  # forgotten while the watcher waited
            (report,) = await self._intake().run(order, silent)
        await asyncio.to_thread(self._tell_news, key, report)
        return memory.waiting

    def _tell_news(self, key: Key, report: Report) -> None:
        """A look that found nothing new leaves the last report that told something."""
        before = self._manifest.folders.find(*key)
        if before is None:
            return
        last = before.report
        same = last is not None and (report.failed, report.no_text, report.reached) == (last.failed, last.no_text, last.reached)
        if not report.quiet or not same:
            self._tell(key, report)
        elif report.reached and time.time() - before.synced > FRESH_S:
            with self._store.write, plain():
                self._manifest.folders.told(*key, time.time(), last)

    async def _stumbled(self, key: Key, sentence: str) -> None:
        """A look that failed as a whole: kept in the folder's report, which no other folder hears of."""
        before = await asyncio.to_thread(self._manifest.folders.find, *key)
        report = replace((before and before.report) or Report(), failed=((Path(key[1]).name, sentence),))
        if before is not None and report != before.report:
            await asyncio.to_thread(self._tell, key, report)


def full_path(path: str | Path) -> str:
    """How a folder is remembered."""
    return str(Path(path).expanduser().resolve())
