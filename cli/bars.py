"""Progress in a terminal: bars where somebody watches, plain lines where not. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from base.progress import Progress

MINUTE_S = 60.0
OFTEN_S, SELDOM_S = 10.0, 30.0
"""Between two lines, in the first minute and after it."""


@contextmanager
def bars() -> Iterator[Progress]:
    """A Progress to hand to a room."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=False) as shown:
        yield _Bars(shown)


class _Bars:
    """A bar for every label."""

    def __init__(self, shown: Bars) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, fraction: float | None = None, /) -> None:
        if label not in self._tasks:
            self._finish()
            self._tasks[label] = self._shown.add_task(label, total=None if fraction is None else 1.0)
        if fraction is not None:
            self._shown.update(self._tasks[label], total=1.0, completed=fraction)

    def _finish(self) -> None:
        for task in self._tasks.values():
            self._shown.update(task, total=1.0, completed=1.0)


class _Lines:
    """A line when a label is new, and now and then one that tells how far it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = ""
        self._began = self._told = 0.0
        self._first = 0.0

    def __call__(self, label: str, fraction: float | None = None, /) -> None:
        now = self._clock()
        if label != self._said:
            self._said, self._began, self._told, self._first = label, now, now, fraction or 0.0
            self._print(f"{label} …")
        elif fraction is not None and now - self._told >= (OFTEN_S if now - self._began < MINUTE_S else SELDOM_S):
            self._told = now
            done = fraction - self._first
            left = (now - self._began) * (1 - fraction) / done if done > 0 else None
            self._print(f"{label} … {fraction:.0%}".replace("%", " %") + (f", about {spell(left)} left" if left is not None else ""))

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def spell(seconds: float) -> str:
    """A time in its largest unit: nobody knows it better."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * MINUTE_S else f"{seconds / 3600:.1f} h"
