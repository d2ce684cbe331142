"""users.yaml: who may sign in, who is in which group, what is kept to groups. Reads, checks and rewrites it; knows no document.

people:                       # each may sign in
  ann: {password: "scrypt$…"}
groups:                       # each has documents of its own
  finance: [ann, bob]
restrict:                     # optional: 'shared' for these groups alone
  shared: [staff]
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from base.errors import SettingsError
from base.files import write_atomic
from base.yamls import MAX_BYTES, parse_mapping

FILE = "users.yaml"
LOCAL = "local"
"""Whoever sits at the machine: the one person of a chat without a login, and the operator of the command line."""
HEAD = "# Written by `relay users`, which keeps no comments. Changes by hand count within a second.\n"
SHORTEST, LONGEST = 8, 1024
"""Characters of a password."""
COST = (15, 8, 3)
"""scrypt's log2(n), r and p: 32 MB and a fifth of a second for a try (OWASP's advice of 2024)."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_RECORD = re.compile(r"scrypt\$(1[4-9])\$(8)\$([1-9])\$([A-Za-z0-9+/=]{20,64})\$([A-Za-z0-9+/=]{40,100})")


@dataclass(frozen=True, slots=True)
class People:
    """The file as values. `passwords`: id to record, '' for one who signs in at a proxy only."""

    passwords: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shared: frozenset[str] | None = None
    """The groups that 'shared' is kept to; None for everybody."""

    def groups_of(self, id: str) -> frozenset[str]:
        """The groups that someone is a member of."""
        return frozenset(name for name, members in self.groups.items() if id in members)


def normal(name: str, kind: str = "user") -> str:
    """A user's or a group's name as it is compared and stored. Raises SettingsError."""
    plain = name.strip().lower()
    if not _NAME.fullmatch(plain):
        raise SettingsError(
            f"'{name[:40]}' is no name for a {kind}.",
            "Use letters from a to z, digits and . _ @ + -, 64 at most, a letter or digit first.",
        )
    if kind == "user" and plain == LOCAL:
        raise SettingsError(f"'{LOCAL}' is Relay's own name for whoever sits at the machine.", "Choose another.")
    return plain


def hashed(password: str, cost: tuple[int, int, int] = COST) -> str:
    """A record of the password, from which it cannot be read. Blocks for a moment. Raises SettingsError."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise SettingsError(f"A password has {SHORTEST} to {LONGEST} characters.", "Choose another; several words are easy to remember.")
    salt = secrets.token_bytes(16)
    made = _scrypt(password, salt, *cost)
    return "$".join(("scrypt", *map(str, cost), *(base64.b64encode(part).decode() for part in (salt, made))))


def matches(password: str, record: str) -> bool:
    """Whether it is the password of this record. Takes as long for no record as for a wrong password."""
    found = _RECORD.fullmatch(record or _NOBODY)
    if found is None or len(password) > LONGEST:
        return False
    cost, salt, kept = (int(part) for part in found.groups()[:3]), base64.b64decode(found[4]), base64.b64decode(found[5])
    return hmac.compare_digest(_scrypt(password, salt, *cost), kept) and bool(record)


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    data = unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
    return hashlib.scrypt(data, salt=salt, n=1 << log_n, r=r, p=p, maxmem=(256 << log_n) * r, dklen=32)


_NOBODY = "$".join(("scrypt", *map(str, COST), base64.b64encode(bytes(16)).decode(), base64.b64encode(bytes(32)).decode()))
"""A record in the place of one that is missing; no password has it, and none is let in by it."""


def parse(text: str) -> People:
    """What the file says. Raises SettingsError that names what is wrong; half a file gives no rights at all."""
    written = parse_mapping(text, FILE)
    _known(written, ("people", "groups", "restrict"), "")
    people, groups, restrict = (_mapping(written, key) for key in ("people", "groups", "restrict"))
    _known(restrict, ("shared",), "restrict: ")
    return People(
        {_name(key): _record(key, value) for key, value in people.items()},
        {_name(key, "group"): _list(value, f"groups: {key}", "user") for key, value in groups.items()},
        _list(restrict["shared"], "restrict: shared", "group") if "shared" in restrict else None,
    )


def _known(written: Mapping[Any, Any], keys: tuple[str, ...], where: str) -> None:
    for key in written:
        if key not in keys:
            raise SettingsError(f"{FILE}, line {key.line}: {where}unknown key '{key[:40]}'.", f"Known: {', '.join(keys)}.")


def _mapping(written: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    value = written.get(key)
    if not isinstance(value, dict | None):
        raise SettingsError(f"{FILE}: '{key}' should hold 'name: …' lines.", "Correct the file.")
    return value or {}


def _name(key: Any, kind: str = "user") -> str:
    """The name of an entry, which must stand there as it is compared: two of them may not become one."""
    plain = normal(key, kind)
    if plain != key:
        raise SettingsError(f"{FILE}, line {key.line}: write '{plain}' for '{key[:40]}'.", "Names are in small letters.")
    return plain


def _record(key: Any, value: Any) -> str:
    _known(value if isinstance(value, dict) else {}, ("password",), f"people: {key}: ")
    record = value.get("password", "") if isinstance(value, dict) else ("" if value is None else None)
    if not isinstance(record, str) or (record and not _RECORD.fullmatch(record)):
        raise SettingsError(f"{FILE}, line {key.line}: '{key}' has no password that Relay wrote.", f"Run 'relay users password {key}'.")
    return record


def _list(value: Any, where: str, kind: str) -> frozenset[str]:
    if not isinstance(value, list | None) or not all(isinstance(one, str) for one in value or ()):
        raise SettingsError(f"{FILE}: '{where}' should be a list of names, such as [ann, bob].", "Correct it; quote numbers and 'no'.")
    return frozenset(normal(one, kind) for one in value or ())


def read(home: Path) -> People | None:
    """The people of this home, None when there is no file. Raises SettingsError."""
    try:
        return parse((home / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE} cannot be read ({type(error).__name__}).", "Check that it is a UTF-8 text file of yours.") from None


def change(home: Path, by: Callable[[People], People]) -> People:
    """Read, change and write the file; of two at once one waits. Raises SettingsError, and then nothing is changed."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f".{FILE}.lock"):
        people = by(read(home) or People())
        text = HEAD + yaml.safe_dump(_plain(people), sort_keys=False, default_flow_style=None, allow_unicode=True, width=200)
        if len(text.encode()) > MAX_BYTES:
            raise SettingsError("So many people do not fit into one file.", "Put a proxy that knows them in front of Relay.")
        parse(text)  # what cannot be read again would lock everybody out
        write_atomic(home / FILE, text, private=True)
    return people


def _plain(people: People) -> dict[str, Any]:
    written: dict[str, Any] = {
        "people": {str(id): {"password": record} if record else None for id, record in people.passwords.items()},
        "groups": {str(name): sorted(members) for name, members in people.groups.items()},
    }
    return written if people.shared is None else {**written, "restrict": {"shared": sorted(people.shared)}}
