"""`relay users`: who may sign in, their passwords and groups. Writes users.yaml, which a chat that runs takes up within a second."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from agents import people
from agents.people import People, normal
from base.errors import SettingsError
from base.settings import Settings, load_settings

ACTIONS = ("list", "add", "remove", "password", "groups")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "action", nargs="?", default="list", choices=ACTIONS, help="groups: set someone's groups to those given by --group, or to none"
    )
    parser.add_argument("name", nargs="?", help="the person's name")
    parser.add_argument("--group", action="append", default=[], metavar="G", help="a group; may be given several times")
    parser.add_argument("--no-password", action="store_true", help="with add: for one whom a proxy in front of Relay signs in")
    parser.add_argument("--json", action="store_true", help="with list: a JSON array")


def run(options: argparse.Namespace) -> int:
    """Do it, and say what came of it."""
    settings = load_settings()
    if options.action == "list":
        _list(settings, options.json)
        return 0
    if not options.name:
        raise SettingsError("Whose?", f"Write a name: relay users {options.action} NAME")
    name, groups = normal(options.name), tuple(normal(group, "group") for group in options.group)
    print({"add": _add, "remove": _remove, "password": _password, "groups": _groups}[options.action](settings, name, groups, options))
    return 0


def _list(settings: Settings, as_json: bool) -> None:
    found = people.read(settings.home)
    names = sorted({*found.passwords, *(one for members in found.groups.values() for one in members)}) if found else []
    rows: list[dict[str, Any]] = [
        {"name": name, "groups": sorted(found.groups_of(name)), "password": bool(found.passwords.get(name))} for name in names if found
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
    elif not found:
        print("Nobody is listed: the chat asks for no login.")
    else:
        for row in rows:
            print(f"{row['name']:24} {'password' if row['password'] else 'no password':12} {', '.join(row['groups'])}".rstrip())
        if not rows:
            print("Nobody is listed, and so nobody may sign in.")


def _add(settings: Settings, name: str, groups: tuple[str, ...], options: argparse.Namespace) -> str:
    _must(settings, name, known=False)
    record = "" if options.no_password else people.hashed(_asked(name))

    def by(now: People) -> People:
        _check(now, name, known=False)
        return _placed(replace(now, passwords={**now.passwords, name: record}), name, {*now.groups_of(name), *groups})

    changed = people.change(settings.home, by)
    first = " From now on the chat asks for a login." if len(changed.passwords) == 1 and record else ""
    return f"{name} may sign in.{first}" if record else f"{name} is listed, and signs in at the proxy."


def _remove(settings: Settings, name: str, _groups: tuple[str, ...], _options: argparse.Namespace) -> str:
    def by(now: People) -> People:
        _check(now, name, known=True)
        return _placed(replace(now, passwords={id: record for id, record in now.passwords.items() if id != name}), name, ())

    left = people.change(settings.home, by)
    kept = f"Their documents are kept, in the collection 'user:{name}'."
    last = f" Nobody may sign in now; delete {people.FILE} and restart Relay for a chat without a login." if not left.passwords else ""
    return f"{name} may no longer sign in, and open pages of theirs end. {kept}{last}"


def _password(settings: Settings, name: str, _groups: tuple[str, ...], _options: argparse.Namespace) -> str:
    _must(settings, name, known=True)
    record = people.hashed(_asked(name))

    def by(now: People) -> People:
        _check(now, name, known=True)
        return replace(now, passwords={**now.passwords, name: record})

    people.change(settings.home, by)
    return f"{name} has a new password, and signs in anew."


def _groups(settings: Settings, name: str, groups: tuple[str, ...], _options: argparse.Namespace) -> str:
    people.change(settings.home, lambda now: _placed(now, name, groups))
    return f"{name} is in {', '.join(groups) if groups else 'no group'}."


def _placed(now: People, name: str, groups: Iterable[str]) -> People:
    """The people with someone in exactly these groups. A group that is left without members stays: its documents are there."""
    wanted = set(groups)
    members = {group: now.groups.get(group, frozenset()) for group in [*now.groups, *sorted(wanted - now.groups.keys())]}
    return replace(now, groups={group: held | {name} if group in wanted else held - {name} for group, held in members.items()})


def _must(settings: Settings, name: str, known: bool) -> None:
    """Say before a password is asked for what would only be said after it."""
    _check(people.read(settings.home) or People(), name, known)


def _check(now: People, name: str, known: bool) -> None:
    listed = name in now.passwords or (known and bool(now.groups_of(name)))
    if listed and not known:
        raise SettingsError(f"There is a user '{name}' already.", f"'relay users password {name}' gives a new password.")
    if known and not listed:
        raise SettingsError(f"There is no user '{name}'.", "'relay users list' shows who there is.")


def _asked(name: str) -> str:
    """A password from the terminal, twice, or the first line of what is piped in."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(f"Password for {name}: ")
    if getpass.getpass("Once more: ") != first:
        raise SettingsError("These were two different passwords.", "Try again.")
    return first
