"""What every command says beside its output: on standard error, in one line."""

from __future__ import annotations

import sys


def warn(problem: object) -> None:
    """A problem that does not stop the command; nothing for ''."""
    if problem:
        print(f"relay: {problem}", file=sys.stderr, flush=True)
