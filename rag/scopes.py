"""Names of collections: what a user may call one, and what it is called inside. Knows not who may read which."""

from __future__ import annotations

import re

from base.errors import KnowledgeError

SHARED = "shared"
DEMO = "demo"
MINE = "user:local"
"""The collection of the one user of a machine without accounts."""
OWNED = re.compile(r"(user|group):[a-z0-9][a-z0-9._@+-]{0,63}")


def scope_named(name: str) -> str:
    """The scope that a user means by `name`. Raises KnowledgeError for what is none, or none to add to."""
    name = name.strip().lower()
    if name == "mine":
        return MINE
    if name == SHARED or OWNED.fullmatch(name):
        return name
    known = "Use shared, mine, user:NAME or group:NAME; a name has letters, digits and . _ @ + -"
    if name == DEMO:
        raise KnowledgeError("The collection demo holds what ships with Relay, and takes nothing else in.", f"{known}.")
    if name.startswith("chat:"):
        raise KnowledgeError("The files of a chat go when it ends; add them in the chat itself.", f"{known}.")
    raise KnowledgeError(f"'{name[:100]}' is not the name of a collection.", f"{known}.")
