"""The bounded queue: order, bound, and waiters that go away."""

from __future__ import annotations

import asyncio

import pytest

from base.errors import Busy
from router.queues import Line


async def test_first_come_first_served_and_the_one_too_many_is_told() -> None:
    line, order = Line("small", 1, 2), list[str]()

    async def take(name: str) -> None:
        async with line.place():
            order.append(name)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(take(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert line.ahead == 3
    with pytest.raises(Busy, match="small is busy, and 2 messages already wait"):
        await take("d")
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"] and line.ahead == 0


async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    line = Line("small", 1, 2)
    async with line.place():
        waiting = asyncio.create_task(line.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert line.ahead == 1
    # cancelled in the very moment in which the place is given: it must go on to the next
    await line.enter()
    late = asyncio.create_task(line.enter())
    await asyncio.sleep(0)
    line.leave()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    await asyncio.sleep(0)
    assert line.ahead == 0
