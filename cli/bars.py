"""Progress in a terminal: bars where somebody watches, plain lines where not. Always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from base.progress import Progress


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
    """A line when a label is new."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, label: str, fraction: float | None = None, /) -> None:
        if label != self._said:
            self._said = label
            print(f"{label} …", file=sys.stderr, flush=True)
