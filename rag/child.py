"""What the child processes of rag.prepare have in common: how they tell, refuse, and end. Knows no model.

They tell their progress, and at the end what they made, as JSON lines on standard output; everything that libraries print
goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from base.errors import PrepareError


class Tell(Protocol):
    """Says how far the work is: 0 to 1."""

    def __call__(self, label: str, fraction: float, /) -> None: ...


def serve(work: Callable[[Tell], dict[str, Any]]) -> None:
    """Do the work and tell what came of it; a PrepareError becomes a refusal in its own words."""
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", TOKENIZERS_PARALLELISM="false")
    threading.Thread(target=_die_with_parent, daemon=True).start()
    out, sys.stdout = sys.stdout, sys.stderr

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=out, flush=True)

    try:
        say(work(lambda label, fraction: say({"label": label, "fraction": fraction})))
    except PrepareError as error:
        say({"refused": [error.what, error.remedy]})
        sys.exit(3)


def _die_with_parent() -> None:
    """The parent holds our standard input open; its end means that it is gone, however it went."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 1024):
            pass
    os._exit(3)
