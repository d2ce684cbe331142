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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from base.errors import Unreadable
from base.settings import ROOT
from rag.document import Document
from rag.kinds import kind_of


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
        task = asyncio.create_task(asyncio.to_thread(self._read, path, name))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._kill()
            await asyncio.wait([task])
            task.exception()
            raise

    def _read(self, path: Path, name: str) -> Document:
        self._check_size(path, name)
        with self._turn:
            body, late = self._ask(json.dumps({"path": str(path.absolute()), "name": name}).encode() + b"\n")
        if late:
            raise Unreadable(f"{name} took longer than {self.limits.seconds:g} s to read.", "Split it, or save it in a simpler format.")
        if body is None:
            raise Unreadable(f"{name} made the reader fail (broken, or too large in memory).", "Save it anew or split it, and add that.")
        answer = json.loads(body)
        if "what" in answer:
            raise Unreadable(answer["what"], answer["remedy"])
        return Document.from_json(answer["document"])

    def _check_size(self, path: Path, name: str) -> None:
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise Unreadable(f"{name} is not a file.", "Add a file, or a folder of files.")
        except OSError as error:
            raise Unreadable(f"{name} cannot be opened ({type(error).__name__}).", "Check that it exists and you may read it.") from None
        if size > self.limits.megabytes * 1_000_000:
            raise Unreadable(
                f"{name} has {size / 1_000_000:.0f} MB, and {self.limits.megabytes:g} MB are allowed.",
                "Split it, or raise max_upload_mb in the settings.",
            )

    def _ask(self, request: bytes) -> tuple[bytes | None, bool]:
        """(the answer or None when the child died, whether it was killed for being late)"""
        child = self._child = self._child if self._child and self._child.poll() is None else self._start()
        assert child.stdin is not None and child.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self.limits.seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            child.stdin.write(request)
            child.stdin.flush()
            length = child.stdout.read(8)
            body = child.stdout.read(int.from_bytes(length, "big")) if len(length) == 8 else b""
            whole = len(length) == 8 and len(body) == int.from_bytes(length, "big")
        except OSError:
            body, whole = b"", False
        finally:
            timer.cancel()
        if not whole:
            self._reap()
        return (body if whole else None), late.is_set() and not whole

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
