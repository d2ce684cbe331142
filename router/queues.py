"""A bounded queue per model: so many requests at once, so many waiting, the next one is told. Knows no backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from base.errors import Busy


class Queue:
    """First come, first served. A waiter that is cancelled leaves no trace."""

    def __init__(self, name: str, concurrent: int, waiting: int) -> None:
        self.name = name
        self._places = asyncio.Semaphore(concurrent)
        self._limit = waiting
        self.ahead = 0
        """How many wait now."""

    @property
    def full(self) -> bool:
        """Whether a request that comes now has to wait."""
        return self._places.locked()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place. Raises Busy at once when too many wait."""
        if self.full and self.ahead >= self._limit:
            raise Busy(f"{self.name} is busy, and {self.ahead} messages already wait for it.", "Try again in a moment, or choose another model.")
        self.ahead += 1
        try:
            await self._places.acquire()
        finally:
            self.ahead -= 1
        try:
            yield
        finally:
            self._places.release()
