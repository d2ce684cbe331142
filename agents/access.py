"""Who may read what, at this very moment. Knows people, groups and the names of collections; no page, no document, no search.

Every document lives in one collection, its scope: 'shared' (everyone who may use this Relay), 'user:<id>' (that person),
'group:<name>' (its members), 'chat:<id>' (what was added to one chat, for that chat alone) and 'demo'. Rights are worked
out anew for every search from users.yaml as it stands: of a file that cannot be read nothing is kept, so that a mistake
locks people out and never lets anyone in.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from agents.events import Turn
from agents.people import FILE, LOCAL, People, matches, normal, parse
from base.errors import RelayError, SettingsError, SetupError
from base.settings import Settings

log = logging.getLogger("relay.access")
SHARED, DEMO_SCOPE, CHAT = "shared", "demo", "chat:"
SETTLED_S = 2.0
"""A file changed more recently than this is read again even when its time and size are the same."""
TRIES, TRIES_OF_ALL, WINDOW_S = 5, 30, 60.0
"""Wrong passwords for one name within a window: from one address, and from all."""
REMEMBERED = 10_000


class TooMany(RelayError):
    """Too many wrong passwords of late."""


class Access:
    """The rights of everyone. One for a process; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._path = settings, settings.home / FILE
        self._proxies = settings.proxies()
        self._turn = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._text: bytes | None = None
        self._people: People | None = None
        self._listed = False
        """A list of people was there: from then on its absence locks, and does not open."""
        self._told: dict[str, frozenset[str]] = {}
        """What the proxy said last of someone's groups."""
        self._tries = Tries()
        self.problem = ""
        """Why nobody may come in, '' when the list is well."""

    @property
    def open(self) -> bool:
        """One person, no login: nobody is listed and no proxy names anyone."""
        self._now()
        return not self._settings.user_header and not self._listed

    @property
    def proxied(self) -> bool:
        """A proxy says who comes."""
        return bool(self._settings.user_header)

    def scopes(self, user: str) -> tuple[str, ...]:
        """The collections that this user may read now; none for whoever may not come in."""
        people, demo = self._now(), (DEMO_SCOPE,) if self._settings.demo else ()
        if user == LOCAL:
            return (SHARED, f"user:{LOCAL}", *demo)
        if people is None or not self._may_enter(people, user):
            return ()
        groups = people.groups_of(user) | self._told.get(user, frozenset())
        shared = (SHARED,) if people.shared is None or people.shared & groups else ()
        return (*shared, f"user:{user}", *(f"group:{name}" for name in sorted(groups)), *demo)

    def of_turn(self, turn: Turn) -> tuple[str, ...]:
        """Those of the turn's collections that its user may read now. A chat's own were named by the server."""
        allowed = self.scopes(turn.user)
        demo = (DEMO_SCOPE,) if DEMO_SCOPE in allowed else ()
        return tuple(scope for scope in dict.fromkeys((*turn.scopes, *demo)) if scope in allowed or (allowed and scope.startswith(CHAT)))

    def mark(self, user: str) -> str:
        """What a login carries, so that it ends with the person's removal or a new password. '' for whoever may not come in."""
        people = self._now()
        if people is None or not self._may_enter(people, user):
            return ""
        return keyed(self._settings.home, "login", f"{user} {people.passwords.get(user, '')}")[:24]

    def stands(self, user: str, mark: str) -> bool:
        """Whether a login from before still holds."""
        now = self.mark(user)
        return bool(now) and hmac.compare_digest(now, mark)

    def enter(self, name: str, password: str, peer: str = "") -> str:
        """The user's id when the password is right, '' when not. Blocks. Raises TooMany, and SettingsError for a broken list."""
        try:
            id = normal(name)
        except SettingsError:
            id = ""
        self._tries.may(name, peer)
        people = self._now()
        if self.problem:
            raise SettingsError(self.problem)
        record = people.passwords.get(id, "") if people and not self.proxied else ""
        if matches(password, record):
            return id
        self._tries.failed(name, peer)
        return ""

    def named(self, peer: str, user: str, groups: str = "") -> str:
        """The user whom a request's headers name, '' for nobody: they count only from the proxy, and only a name."""
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
            # An IPv4 address that came to an IPv6 socket.
            address = getattr(address, "ipv4_mapped", None) or address
            if not self.proxied or not any(address in network for network in self._proxies):
                return ""
            id = normal(user)
        except (ValueError, SettingsError):
            return ""
        people = self._now()
        if people is None or not self._may_enter(people, id):
            return ""
        self._told[id] = frozenset(_groups(groups))
        return id

    def pseudonym(self, user: str) -> str:
        """A user in the trace: the same for all their turns, and no name for whoever has the trace alone."""
        return user if user == LOCAL or self._settings.trace_text else keyed(self._settings.home, "trace", user)[:12]

    def _may_enter(self, people: People, user: str) -> bool:
        """Behind a proxy whoever it names, unless people are listed; else who is listed."""
        return user in people.passwords or (self.proxied and not people.passwords and user != LOCAL)

    def _now(self) -> People | None:
        """The people as the file has them now; None when nobody may come in: it is broken or gone, or there never was one."""
        with self._turn:
            text = self._read()
            if text != self._text or (text is None and self._listed):
                self._text = text
                self._take(text)
            if self._people is None and not self._listed and self.proxied:
                return People()
            return self._people

    def _read(self) -> bytes | None:
        """The file's bytes, read again only when it may have changed."""
        try:
            about = self._path.stat()
            stamp = (about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino)
            if stamp == self._stamp:
                return self._text
            text = self._path.read_bytes()
        except OSError as error:
            self._stamp = ()
            # What cannot be read is as good as broken.
            return None if isinstance(error, FileNotFoundError) else b"\xff"
        newest = max(about.st_mtime, about.st_ctime)
        self._stamp = stamp if time.time() - newest > SETTLED_S else ()
        return text

    def _take(self, text: bytes | None) -> None:
        before, self._people, problem = self.problem, None, ""
        self._listed = self._listed or text is not None
        try:
            if text is None:
                raise SettingsError(f"{FILE} is gone.", "Put it back; or restart Relay for a chat without a login.")
            self._people = parse(text.decode())
        except UnicodeDecodeError:
            problem = f"{FILE} cannot be read. Check that it is a UTF-8 text file of yours."
        except SettingsError as error:
            problem = str(error)
        self.problem = problem if self._listed else ""
        if self.problem and self.problem != before:
            log.error("Nobody may come in until this is put right: %s", self.problem)


def _groups(told: str) -> Iterator[str]:
    """The proxy's groups that can be names of ours; a directory has others, to which no document belongs."""
    for part in told.split(","):
        with contextlib.suppress(SettingsError):
            yield normal(part, "group")


class Tries:
    """Wrong passwords of late, by name and address: a guesser is slowed, and one from elsewhere locks nobody out for long."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._failed: OrderedDict[tuple[str, ...], list[float]] = OrderedDict()

    def may(self, name: str, peer: str) -> None:
        """Raise TooMany when it is too early for another try."""
        with self._turn:
            now = time.monotonic()
            if any(len(self._of(key, now)) >= most for key, most in self._keys(name, peer)):
                raise TooMany("There were too many tries for this name.", "Wait a minute, then try again.")

    def failed(self, name: str, peer: str) -> None:
        """Note a wrong password."""
        with self._turn:
            now = time.monotonic()
            for key, _ in self._keys(name, peer):
                self._failed[key] = [*self._of(key, now), now]
                self._failed.move_to_end(key)
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)

    def _of(self, key: tuple[str, ...], now: float) -> list[float]:
        return [at for at in self._failed.get(key, ()) if now - at < WINDOW_S]

    @staticmethod
    def _keys(name: str, peer: str) -> tuple[tuple[tuple[str, ...], int], ...]:
        plain = name.strip().lower()[:64]
        return ((plain, peer), TRIES), ((plain,), TRIES_OF_ALL)


def keyed(home: Path, purpose: str, text: str = "") -> str:
    """A keyed hash, as 64 hex digits: nobody makes it without this home's secret."""
    return hmac.new(_secret(home), f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()


_secrets: dict[Path, bytes] = {}


def _secret(home: Path) -> bytes:
    """This home's secret, made once and kept to its user."""
    if home not in _secrets:
        path = home / "secret"
        home.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(48))
        except FileExistsError:
            path.chmod(0o600)
        kept, end = path.read_bytes(), time.monotonic() + 1
        while len(kept) < 32 and time.monotonic() < end:  # another process is just writing it
            time.sleep(0.01)
            kept = path.read_bytes()
        if len(kept) < 32:
            raise SetupError(f"The file {path.name} in the data folder is damaged.", "Delete it; everybody signs in anew.")
        _secrets[home] = kept
    return _secrets[home]


def require(settings: Settings, *hosts: str) -> None:
    """Raise SetupError when other machines would be served without a login, unless the user wants just that."""
    beyond = [host for host in hosts if not _loopback(host)]
    if beyond and Access(settings).open and not settings.anyone:
        raise SetupError(
            f"At {beyond[0]} everyone on the network could read your documents: nobody is asked who they are.",
            "Add people with 'relay users add NAME', set RELAY_USER_HEADER behind a proxy that signs people in, or RELAY_ANYONE=true.",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
