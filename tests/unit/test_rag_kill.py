"""kill -9 at any moment: a process works on one real library, is killed in the middle again and again, and nothing is lost."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from base.settings import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
KILLS = 55
CHILD = Path(__file__).with_name("library_child.py")

Held = dict[str, int]
Change = dict[str, int | None]


class Killed:
    """The library's lives, and what must be in it."""

    def __init__(self, process: subprocess.Popen[str], work: Path) -> None:
        self._process, self._work, self.dice = process, work, random.Random(7)
        self.library = work / "home" / "library"
        self.held: Held = {}
        self.under_way: list[Change] = []
        self.next = 0
        self.slowest = 0.0
        self.hits: Counter[str] = Counter()
        (work / "files").mkdir()
        assert self.read() == {"ready": True}

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        fact: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in fact, fact["error"]
        return fact

    def live(self, work: bool, whole: bool, searched: list[str]) -> None:
        """Begin a life: it compares what it finds with what must or may be there, and so settles what was under way."""
        maybe: dict[str, list[int | None]] = {}
        for change in self.under_way:
            for name, version in change.items():
                maybe.setdefault(name, []).append(version)
        folders = {"home": str(self._work / "home"), "folder": str(self._work / "files")}
        order = {"held": self.held, "maybe": maybe, "next": self.next, "seed": self.dice.random(), "whole": whole, "work": work, **folders}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**order, "searched": searched}) + "\n")
        self._process.stdin.flush()
        opened = self.read()
        self.pid, self.slowest = int(opened["pid"]), max(self.slowest, opened["seconds"])
        self.held = self.read()["held"]
        self.under_way = []

    def some(self, names: Collection[str]) -> list[str]:
        """A few of them."""
        return self.dice.sample(sorted(names), min(4, len(names)))

    def note(self, fact: dict[str, Any]) -> None:
        """What the process says it does, and has done."""
        if "begin" in fact:
            self.under_way.append(fact["begin"])
            self.next = max([self.next, *(version for version in fact["begin"].values() if version)])
        else:
            self.under_way.remove(fact["done"])
            for name, version in fact["done"].items():
                if version is None:
                    self.held.pop(name, None)
                else:
                    self.held[name] = version

    def kill(self) -> None:
        """After some acknowledgements, wait for a commit to begin, and a little longer."""
        for _ in range(self.dice.choice((0, 1, 2, 4, 8))):
            self.note(self.read())
        if self.dice.random() < 0.8:
            file = self.library / self.dice.choice(("manifest.sqlite-wal", "keywords.sqlite-wal"))
            before, end = changed(file), time.monotonic() + 2
            while changed(file) == before and time.monotonic() < end:
                time.sleep(0.00005)
        time.sleep(self.dice.choice((0, 0.001, 0.004, 0.015)) * self.dice.random())
        os.kill(self.pid, signal.SIGKILL)
        while "end" not in (fact := self.read()):
            self.note(fact)
        assert fact["end"] == signal.SIGKILL
        self.hits[self.moment()] += 1

    def moment(self) -> str:
        """Where the kill hit, from a copy of what it left."""
        copy = self._work / "copy"
        shutil.copytree(self.library, copy, ignore=shutil.ignore_patterns("chroma", "*.lock"))
        with closing(sqlite3.connect(copy / "manifest.sqlite")) as truth, closing(sqlite3.connect(copy / "keywords.sqlite")) as words:
            true = {row[0] for row in truth.execute("SELECT id FROM passages")}
            held = {row[0] for row in words.execute("SELECT id FROM words_docsize")}
            now = {f"{scope}/{name}" for scope, name in truth.execute("SELECT scope, name FROM documents")}
        shutil.rmtree(copy)
        assert true <= held, "what the manifest knows was in the keyword index before"
        if held - true:
            return "between the keyword index and the manifest"
        done = any((name in now) == (version is not None) != (name in self.held) for one in self.under_way for name, version in one.items())
        return "between a commit and its acknowledgement" if done else "elsewhere"


def changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


@contextmanager
def child(models: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(CHILD), str(models)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def test_nothing_is_lost_however_often_it_is_killed(tmp_path: Path, models: Path) -> None:
    with child(models) as process:
        lives = Killed(process, tmp_path)
        for number in range(KILLS):
            touched = [name for change in lives.under_way for name in change]
            lives.live(True, number % 6 == 5, [*lives.some(touched), *lives.some(lives.held)])
            lives.kill()
        lives.live(False, True, sorted({*lives.held, *(name for change in lives.under_way for name in change)}))
        assert lives.read() == {"end": 0}
    print(f"slowest opening {lives.slowest:.2f} s, {len(lives.held)} documents; kills hit {dict(lives.hits)}")
    assert lives.slowest <= 10 and len(lives.held) > 5
    assert sum(count for moment, count in lives.hits.items() if moment != "elsewhere") >= 3, lives.hits
