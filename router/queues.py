"""A bounded queue before a model: so many requests at once, so many waiting, the next one is told. Knows no backend."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator

from base.errors import Busy


class Line:
    """First come, first served. Any thread may leave it; every waiter wakes on its own event loop."""

    def __init__(self, name: str, concurrent: int, waiting: int) -> None:
        self.name, self.concurrent, self.room = name, concurrent, waiting
        self.running = 0
        self.waiters: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()

    @property
    def ahead(self) -> int:
        """How many requests come before one that asks now; 0 when it can begin at once."""
        return 0 if self.running < self.concurrent else self.running + len(self.waiters)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place. Raises Busy at once when too many wait."""
        await self.enter()
        try:
            yield
        finally:
            self.leave()

    async def enter(self) -> None:
        """Wait for a place. A waiter that is cancelled leaves no trace. Raises Busy."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.running < self.concurrent:
                self.running += 1
                return
            if len(self.waiters) >= self.room:
                raise Busy(
                    f"{self.name} is busy, and {len(self.waiters)} messages already wait for it.",
                    "Try again in a moment, or choose another model.",
                )
            future: asyncio.Future[None] = loop.create_future()
            self.waiters.append((loop, future))
        try:
            await future
        except asyncio.CancelledError:
            with self._lock, contextlib.suppress(ValueError):
                self.waiters.remove((loop, future))
            if future.done() and not future.cancelled():
                self.leave()  # the place was given in the same moment
            raise

    def leave(self) -> None:
        """Give the place to the next who waits."""
        with self._lock:
            while self.waiters:
                loop, future = self.waiters.popleft()
                with contextlib.suppress(RuntimeError):  # that loop is closed, so nobody waits
                    loop.call_soon_threadsafe(self._grant, future)
                    return
            self.running -= 1

    def _grant(self, future: asyncio.Future[None]) -> None:
        if future.done():
            self.leave()
        else:
            future.set_result(None)
