"""Watched folders: who notices that something changed, and when to look. Knows paths and times; what a look does is handed in.

Every folder has a task of its own, so one that fails or hangs holds up no other. The operating system tells of changes; on
network drives, where it cannot, and where it refuses, the folder is looked at every few seconds instead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import watchfiles

from base.errors import RelayError
from rag.kinds import readable

CALM_S = 1.0
"""So long nothing may change before a look: a thousand changes at once are one."""
LONGEST_S = 10.0
"""A folder that never comes to rest is looked at this often."""
CHECK_S = 3.0
"""Between two glances whether the folder itself is there."""
POLL_S = 5.0
"""Between two looks at a folder that nobody tells of."""
BACKSTOP_S = 300.0
"""Between two looks at any other: the operating system drops news when there are too many."""
SHARE = 20
"""A poll that takes a second comes no more often than every so many."""
STEP_MS = 200
RETRY_S = 2.1
"""Until what was not at rest is looked at again."""
REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "afpfs", "webdav", "davfs", "fuse.", "ncpfs", "gpfs", "lustre", "ceph", "vboxsf", "prl_fs")
"""What the names of file systems begin with whose changes may be made elsewhere."""

Key = tuple[str, str]
"""Scope and path."""
Identity = tuple[int, int]
log = logging.getLogger(__name__)


class Watcher:
    """Keeps the watched folders in step, until it is closed."""

    def __init__(
        self,
        watched: Callable[[], Awaitable[list[Key]]],
        look: Callable[[Key], Awaitable[bool]],
        stumbled: Callable[[Key, str], Awaitable[None]],
    ) -> None:
        """`look` brings the library in step with a folder, and says whether something was left for another look soon."""
        self._watched, self._look, self._stumbled = watched, look, stumbled
        self._woken = asyncio.Event()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        # It would tell the terminal of every change.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        self._main = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Other folders are watched now."""
        self._woken.set()

    async def drop(self, key: Key) -> None:
        """Leave a folder alone; its look has ended when this returns."""
        if task := self._tasks.pop(key, None):
            await _ended(task)

    async def close(self) -> None:
        """End all looks. Nothing runs any more when it returns."""
        if self._main is not None:
            await _ended(self._main)
        for key in list(self._tasks):
            await self.drop(key)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                wanted = set(await self._watched())
            except RelayError as error:
                log.warning("The watched folders cannot be listed: %s", error)
                wanted = set(self._tasks)
            for key in set(self._tasks) - wanted:
                await self.drop(key)
            for key in wanted:
                if (task := self._tasks.get(key)) is None or task.done():
                    self._tasks[key] = asyncio.create_task(self._tend(key))
            try:
                async with asyncio.timeout(BACKSTOP_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _tend(self, key: Key) -> None:
        """Look after one folder, again and again."""
        folder, unrest = Path(key[1]), asyncio.Event()
        eye: Eye | None = None
        tried: Identity | None = None
        try:
            while True:
                here = await asyncio.to_thread(_identity, folder)
                if eye and (eye.blind or here != tried):
                    await asyncio.to_thread(eye.close)
                    eye = None
                if here and here != tried and not await asyncio.to_thread(remote, folder):
                    eye = Eye(folder, unrest)
                tried = here
                unrest.clear()
                began = time.monotonic()
                soon = await self._looked(key)
                took = time.monotonic() - began
                sees = eye is not None and not eye.blind
                await self._rest(folder, here, unrest, _pause(soon, sees, here is not None, took), sees)
        finally:
            if eye:
                await asyncio.to_thread(eye.close)

    async def _looked(self, key: Key) -> bool:
        try:
            return await self._look(key)
        except (RelayError, OSError) as error:
            log.warning("The folder %s could not be kept in step: %s", key[1], error)
            sentence = str(error) if isinstance(error, RelayError) else f"It cannot be read ({type(error).__name__}). Check the disk."
        try:
            await self._stumbled(key, sentence)
        except RelayError as error:
            log.warning("That could not be noted: %s", error)
        return False

    async def _rest(self, folder: Path, here: Identity | None, unrest: asyncio.Event, pause: float, sees: bool) -> None:
        """Until something changed and it is calm since, the folder came or went, or `pause` seconds are over."""
        end = time.monotonic() + pause
        while not await _within(unrest, min(CHECK_S, end - time.monotonic())):
            if time.monotonic() >= end or ((sees or not here) and await asyncio.to_thread(_identity, folder) != here):
                return
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end:
            unrest.clear()
            if not await _within(unrest, CALM_S):
                return


class Eye:
    """A thread that hears of changes under one folder from the operating system."""

    def __init__(self, folder: Path, unrest: asyncio.Event) -> None:
        self.blind = False
        """Blind: the operating system does not tell (any more)."""
        self._folder, self._unrest, self._loop = folder, unrest, asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch {folder.name}", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        seen = False
        try:
            for changes in watchfiles.watch(
                self._folder,
                watch_filter=None,
                step=STEP_MS,
                stop_event=self._stop,
                rust_timeout=1000,
                yield_on_timeout=True,
                raise_interrupt=False,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                # The first sign of life says that it hears now: what changed before that is looked for once more.
                if not seen or any(_matters(self._folder, Path(path)) for _, path in changes):
                    seen = True
                    self._tell()
        except (OSError, RuntimeError) as error:  # too many folders for the operating system, or the folder is gone
            log.info("Changes in %s are polled for: %s", self._folder, error)
            self.blind = True
            self._tell()

    def _tell(self) -> None:
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._unrest.set)

    def close(self) -> None:
        """End the thread. Blocks for a fraction of a second."""
        self._stop.set()
        self._thread.join()


def remote(folder: Path) -> bool:
    """Whether the folder is on a drive whose changes may be made by another machine, which nobody tells of."""
    if folder.drive.startswith("\\\\"):
        return True
    try:
        parts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    except OSError:
        return False
    nearest = max(parts, key=lambda part: len(part.mountpoint), default=None)
    return nearest is not None and (nearest.fstype.lower().startswith(REMOTE) or "remote" in nearest.opts.split(","))


def _pause(soon: bool, sees: bool, there: bool, took: float) -> float:
    """Seconds until the next look when nothing is heard."""
    if soon:
        return max(RETRY_S, took)
    return max(POLL_S, SHARE * took) if there and not sees else BACKSTOP_S


def _identity(folder: Path) -> Identity | None:
    """What tells it from another one of the same name; None when it is not there."""
    try:
        status = folder.stat()
        return (status.st_dev, status.st_ino) if folder.is_dir() else None
    except OSError:
        return None


def _matters(root: Path, path: Path) -> bool:
    """Whether a change may concern a file that Relay reads. What is gone may have been a folder."""
    parts = path.parts[len(root.parts) :]
    if any(part.startswith(".") for part in parts):
        return False
    return readable(path.name) or not path.is_file()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
