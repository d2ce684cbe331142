"""Memory that was freed goes back to the system. Knows the C library, nothing of who used the memory."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back() -> None:
    """Ask glibc to return what it keeps for later: 100 MB after an answer, 500 MB after a model was unloaded. Some ms."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such call
            ctypes.CDLL(None).malloc_trim(0)
