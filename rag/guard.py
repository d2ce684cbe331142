"""The bounds of a child while it works at one file: time, and memory where the platform cannot bound it. Knows no format.

The child's own limit (rag/read_child.py) is exact, but Linux alone knows it; looking from outside works everywhere, and
tells afterwards whether a child that died had grown large.
"""

from __future__ import annotations

import subprocess
import threading
import time
from types import TracebackType
from typing import Literal

import psutil

EVERY = 0.03
"""Seconds between two looks."""
LARGE = 0.6
"""The part of the allowed memory from which a death is laid to memory: an allocation that fails is never seen from outside."""
GROWN = 0.25
"""The part of the allowed memory that a child keeps after other files, from which it is one that has grown."""
OUT_OF_MEMORY = -9
"""How a child ends that the system killed for memory; this process kills it too, but then it knows why."""

Cause = Literal["", "late", "memory", "broken"]


class Watch:
    """Kills the child when it is late or too large, as long as the context is open."""

    def __init__(self, child: subprocess.Popen[bytes], seconds: float, megabytes: int) -> None:
        self._child, self._end, self._most = child, time.monotonic() + seconds, megabytes << 20
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._killed: Cause = ""
        self._peak = 0
        self.grown = False
        """Whether the child was large before it began: the file may be innocent of what it takes."""

    def __enter__(self) -> Watch:
        self.grown = self._size() > GROWN * self._most
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        # Joined: a kill on its way must not hit the next file.
        self._thread.join()

    @property
    def killed(self) -> Cause:
        """Why the child was killed, or "" when it was not."""
        return self._killed

    @property
    def large(self) -> bool:
        """Whether the child was seen to be about as large as it may be."""
        return self._peak > LARGE * self._most

    def cause(self) -> Cause:
        """Why the child is dead; it has been waited for."""
        return self._killed or ("memory" if self.large or self._child.returncode == OUT_OF_MEMORY else "broken")

    def _run(self) -> None:
        while not self._done.wait(max(0.0, min(EVERY, self._end - time.monotonic()))):
            if time.monotonic() >= self._end:
                self._kill("late")
            elif self._size() > self._most:
                self._kill("memory")
            if self._killed:
                return

    def _kill(self, cause: Cause) -> None:
        self._killed = cause
        self._child.kill()

    def _size(self) -> int:
        """Bytes in memory; 0 when the child has gone."""
        try:
            size = psutil.Process(self._child.pid).memory_info().rss
        except psutil.Error:
            return 0
        self._peak = max(self._peak, size)
        return size
