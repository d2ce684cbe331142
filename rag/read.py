"""A file to a Document, in a child process with limits of time, memory and size. Knows no format and no store.

A child serves many files (a start costs ~0.1 s) and is started anew after it was killed or died.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from base.errors import Unreadable
from base.settings import ROOT
from rag.document import Document
from rag.guard import Cause, Watch
from rag.kinds import kind_of
from rag.unfit import broken, late, memory

MOST_ANSWER = 400_000_000
"""Bytes: no document is larger (MAX_CHARACTERS, MAX_BLOCKS in rag/document.py), so it is nonsense."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost."""

    megabytes: float = 25
    """Size of the file."""
    seconds: float = 30
    memory_mb: int = 1536
    """Address space of the child, where the platform can bound it."""


async def read(path: Path, name: str = "", limits: Limits | None = None) -> Document:
    """Read one file in a child of its own. Raises Unreadable."""
    with Reader(limits or Limits()) as reader:
        return await reader.read(path, name)


class Reader:
    """Reads files one after another in one child. Close it, or use it as a context."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def read(self, path: Path, name: str = "") -> Document:
        """The document in `path`, called `name` in messages. Raises Unreadable; cancelling kills the child."""
        name = name or path.name
        kind_of(name)
        cancelled = threading.Event()
        task = asyncio.create_task(asyncio.to_thread(self._read, path, name, cancelled))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled.set()
            self._kill()
            await asyncio.wait([task])
            task.exception()
            raise

    def _read(self, path: Path, name: str, cancelled: threading.Event) -> Document:
        self._check_size(path, name)
        most = int(self.limits.megabytes * 1_000_000)
        request = json.dumps({"path": str(path.absolute()), "name": name, "most": most}).encode() + b"\n"
        with self._turn:
            answer, again = self._ask(request)
            if again and not cancelled.is_set():
                answer, _ = self._ask(request)
        if answer == "late":
            raise late(name, self.limits.seconds)
        if answer == "memory":
            raise memory(name)
        if isinstance(answer, str):
            raise broken(name)
        if "what" in answer:
            raise Unreadable(answer["what"], answer["remedy"])
        return Document.from_json(answer["document"])

    def _check_size(self, path: Path, name: str) -> None:
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise Unreadable(f"{name} is not a regular file.", "Add a file, or a folder of files.")
        except OSError as error:
            raise Unreadable(
                f"{name} cannot be opened ({type(error).__name__}).", "Check that it exists and that you may read it."
            ) from None
        if size > self.limits.megabytes * 1_000_000:
            raise Unreadable(
                f"{name} has {size / 1_000_000:.0f} MB, and {self.limits.megabytes:g} MB are allowed.",
                "Split it, or raise max_upload_mb in the settings.",
            )

    def _ask(self, request: bytes) -> tuple[Cause | dict[str, Any], bool]:
        """(what the child answers, or why it cannot answer any more; whether other files may be to blame for that)"""
        worn = self._child is not None
        child = self._child = self._child if self._child and self._child.poll() is None else self._start()
        with Watch(child, self.limits.seconds, self.limits.memory_mb) as watch:
            body = _exchange(child, request)
        answer = json.loads(body) if body else {}
        if not body and not watch.killed:
            _let_die(child)
        if not answer or answer.get("spent") or watch.killed:
            self._reap()
        if answer and not answer.get("spent"):
            return answer, False
        return "memory" if answer else watch.cause(), worn and not watch.killed and (watch.grown or not watch.large)

    def _start(self) -> subprocess.Popen[bytes]:
        self._reap()
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        return subprocess.Popen(
            # -P and cwd: a json.py in the current directory must not be taken for a module.
            [sys.executable, "-P", "-m", "rag.read_child", str(self.limits.memory_mb)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _reap(self) -> None:
        """Kill, collect and forget the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue
            child.wait()

    def close(self) -> None:
        """End the child."""
        self._kill()
        with self._turn:
            self._reap()


def _exchange(child: subprocess.Popen[bytes], request: bytes) -> bytes:
    """A request to an answer; empty when the child dies over it."""
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(request)
        child.stdin.flush()
        length = int.from_bytes(child.stdout.read(8), "big")
        body = child.stdout.read(length) if length <= MOST_ANSWER else b""
    except OSError:
        return b""
    return body if len(body) == length else b""


def _let_die(child: subprocess.Popen[bytes]) -> None:
    """Its pipe closes before it has ended; how it ends says why, unless it is killed first."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(2)
