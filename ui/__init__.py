"""The page's parts. Knows which modules must outlive `chainlit run -w`; nothing of the page itself.

On a change of any file, `-w` drops the project's modules and imports them again in the same process. The assistant
lives on, and its events are instances of the classes it was made with: so the rooms below the page stay as they
were loaded, and only the page is new. A change below the page takes effect with the next start.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

ROOMS = ("agents", "base", "rag", "router")


def kept() -> dict[str, Any]:
    """What outlives a reload: this process's one assistant, and the rooms it is made of."""
    store: dict[str, Any] = vars(sys).setdefault("relay_kept", {})
    return store


def remember_rooms() -> None:
    """Note the loaded rooms; some modules are imported late, so this is done more than once."""
    rooms: dict[str, ModuleType] = {name: module for name, module in list(sys.modules.items()) if name.split(".")[0] in ROOMS}
    kept().setdefault("rooms", {}).update(rooms)


def recall_rooms() -> None:
    """Put the rooms back where `-w` took them away."""
    for name, module in kept().get("rooms", {}).items():
        sys.modules.setdefault(name, module)


recall_rooms()
