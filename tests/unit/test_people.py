"""Who may come in: users.yaml, passwords, a proxy's headers, what locks, and what the trace says of people."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import access, people
from agents.access import Access, TooMany, require
from agents.events import Event, StepDone, Turn
from agents.ledger import ledger
from agents.people import People
from base.errors import SettingsError, SetupError
from base.settings import Settings, load_settings

NAMES = [f"user{n}" for n in range(10)]
CHEAP = (14, 8, 1)
"""A sixth of what a password costs."""


def listing(home: Path, who: list[str], groups: dict[str, frozenset[str]] | None = None) -> None:
    """users.yaml at a stroke, with nobody's password."""
    people.change(home, lambda _: People(dict.fromkeys(who, ""), groups or {}))


def listed(home: Path, **passwords: str) -> None:
    people.change(
        home, lambda _: People({name: people.hashed(word, CHEAP) for name, word in passwords.items()}, {"staff": frozenset(passwords)})
    )


def test_one_person_needs_no_login_and_has_a_collection_of_their_own(settings: Settings) -> None:
    access = Access(settings)
    assert access.open and access.scopes("local") == ("shared", "user:local", "demo")
    assert access.scopes("ann") == () and access.enter("ann", "whatever it is") == ""


def test_a_password_opens_and_a_wrong_one_does_not(settings: Settings) -> None:
    listed(settings.home, ann="correct horse", bob="battery staple")
    access = Access(settings)
    assert not access.open and access.enter(" Ann ", "correct horse") == "ann"
    assert access.scopes("ann") == ("shared", "user:ann", "group:staff", "demo")
    for name, word in (
        ("ann", "battery staple"),
        ("ann", ""),
        ("carol", "correct horse"),
        ("local", "correct horse"),
        ("../x", "y" * 5000),
    ):
        assert access.enter(name, word) == "", name
    mark = access.mark("ann")
    assert access.stands("ann", mark) and not access.stands("bob", mark) and not access.stands("carol", "")
    listed(settings.home, ann="another horse", bob="battery staple")
    assert not access.stands("ann", mark), "a new password ends the logins of the old one"
    record = people.read(settings.home).passwords["ann"]  # type: ignore[union-attr]
    assert "horse" not in (settings.home / people.FILE).read_text() and record != people.hashed("another horse"), "each has its own salt"
    assert sys.platform == "win32" or stat.S_IMODE((settings.home / people.FILE).stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match="8 to 1024"):
        people.hashed("short")


def test_a_guesser_is_stopped_and_nobody_else(settings: Settings) -> None:
    listed(settings.home, ann="correct horse", bob="battery staple")
    access = Access(settings)
    for _ in range(5):
        assert access.enter("ann", "a guess of mine", "10.0.0.1") == ""
    with pytest.raises(TooMany, match="Wait a minute"):
        access.enter("ANN", "correct horse", "10.0.0.1")
    assert access.enter("ann", "correct horse", "10.0.0.2") == "ann" and access.enter("bob", "battery staple", "10.0.0.1") == "bob"
    for at in range(25):
        access.enter("ann", "a guess of mine", f"10.0.1.{at}")
    with pytest.raises(TooMany):
        access.enter("ann", "correct horse", "10.0.0.2")


def test_an_unknown_name_costs_as_much_as_a_wrong_password() -> None:
    """In this thread's work, whatever else the machine does; a short cut for unknown names would cost nothing."""
    record = people.hashed("correct horse")

    def work(record: str) -> float:
        began = time.thread_time()
        assert not people.matches("wrong horse", record)
        return time.thread_time() - began

    unknown, wrong = min(work("") for _ in range(3)), min(work(record) for _ in range(3))
    assert 0.5 < unknown / wrong < 2


BROKEN = {
    "no yaml": "people: {ann: [",
    "an unknown key": "people: {ann: }\nadmins: [ann]\n",
    "a word in the place of a list": "people: {ann: }\ngroups: {staff: ann}\n",
    "a password in the clear": "people: {ann: {password: correct horse}}\n",
    "no utf-8": "people: {\xff}",
    "an alias": "people: &a {ann: }\ngroups: *a\n",
    "a name that is none": "people: {'user:ann': }\n",
    "the operator's name": "people: {local: }\n",
    "a number as a member": "people: {ann: }\ngroups: {staff: [1]}\n",
    "capitals": "people: {Ann: }\n",
    "a group that restricts nothing known": "people: {ann: }\nrestrict: {shred: [staff]}\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_list_locks_everybody_out_and_says_why(settings: Settings, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    listing(settings.home, ["ann"], {"staff": frozenset({"ann"})})
    access = Access(settings)
    mark = access.mark("ann")
    assert "group:staff" in access.scopes("ann") and access.stands("ann", mark)
    with caplog.at_level(logging.ERROR):
        (settings.home / people.FILE).write_bytes(BROKEN[kind].encode("latin-1"))
        assert access.scopes("ann") == () and not access.open and not access.stands("ann", mark)
    assert (len(caplog.records) == 1 and "Nobody may come in" in caplog.text and people.FILE in access.problem) or "name" in access.problem
    with pytest.raises(SettingsError):
        access.enter("ann", "correct horse")
    (settings.home / people.FILE).write_text("people: {ann: }\n")
    assert access.scopes("ann") == ("shared", "user:ann", "demo") and not access.problem


def test_a_list_that_vanishes_locks_and_does_not_open(settings: Settings) -> None:
    listing(settings.home, ["ann"])
    access = Access(settings)
    assert not access.open
    (settings.home / people.FILE).unlink()
    assert not access.open and access.scopes("ann") == () and "is gone" in access.problem
    listing(settings.home, ["ann"])
    assert access.scopes("ann")


def test_a_change_of_the_same_size_in_the_same_moment_counts(settings: Settings) -> None:
    """A clock as coarse as some disks': time, size and file stay the same."""
    path = settings.home / people.FILE
    settings.home.mkdir()
    path.write_text("people: {ann: }\ngroups: {staff: [ann]}\n")
    about = path.stat()
    access = Access(settings)
    assert "group:staff" in access.scopes("ann")
    with path.open("r+") as file:
        file.write("people: {ann: }\ngroups: {staff: [bob]}\n")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert "group:staff" not in access.scopes("ann")


def test_shared_documents_can_be_kept_to_groups(settings: Settings) -> None:
    people.change(settings.home, lambda _: People({"ann": "", "bob": ""}, {"staff": frozenset({"ann"})}, frozenset({"staff"})))
    access = Access(settings)
    assert access.scopes("ann")[0] == "shared" and access.scopes("bob") == ("user:bob", "demo")


def test_a_proxys_headers_count_from_the_proxy_alone(settings: Settings) -> None:
    settings = replace(settings, user_header="X-Forwarded-User")
    access = Access(settings)
    assert not access.open and access.proxied
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert access.named(peer, "Ann@Example.com", "Staff, CN=Other,admins") == "ann@example.com"
    assert access.scopes("ann@example.com") == ("shared", "user:ann@example.com", "group:admins", "group:staff", "demo")
    for peer, name in (
        ("10.0.0.5", "ann"),
        ("", "ann"),
        ("testclient", "ann"),
        ("127.0.0.1", "local"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "a:b"),
    ):
        assert access.named(peer, name) == "", (peer, name)
    assert access.enter("ann@example.com", "correct horse") == "", "behind a proxy no password opens"
    assert access.named("127.0.0.1", "ann@example.com", "") and "group:staff" not in access.scopes("ann@example.com"), (
        "the newest word counts"
    )
    listing(settings.home, ["bob"])
    assert access.named("127.0.0.1", "ann@example.com") == "" and access.scopes("ann@example.com") == (), "who is listed counts here too"
    (settings.home / people.FILE).write_text("people: [")
    assert access.named("127.0.0.1", "bob") == ""
    elsewhere = Access(replace(settings, home=settings.home / "other", proxy="10.0.0.0/24"))
    assert elsewhere.named("10.0.0.5", "ann") == "ann" and elsewhere.named("127.0.0.1", "ann") == ""


def test_other_machines_are_not_served_without_a_login_unless_that_is_wished(settings: Settings) -> None:
    require(settings, "127.0.0.1", "localhost", "::1")
    for host in ("0.0.0.0", "::", "192.168.1.5", "", "example.com"):
        with pytest.raises(SetupError, match="relay users add"):
            require(settings, "127.0.0.1", host)
    require(replace(settings, anyone=True), "0.0.0.0")
    require(replace(settings, user_header="X-Forwarded-User"), "0.0.0.0")
    listing(settings.home, ["ann"])
    require(settings, "0.0.0.0")
    with pytest.raises(SettingsError, match="no address"):
        load_settings({"RELAY_HOME": str(settings.home), "RELAY_PROXY": "somewhere"})


async def test_the_trace_tells_users_apart_and_names_nobody(settings: Settings, tmp_path: Path) -> None:
    access = Access(settings)

    async def answer(_turn: Turn) -> AsyncIterator[Event]:
        yield StepDone("answer", "answer", "m", "b", 0, None, 1, 1, 1, None, 0, "provider")

    async def traced(user: str, made: Access) -> str:
        shutil.rmtree(tmp_path / "traces", ignore_errors=True)
        stream: Any = ledger(answer, tmp_path / "traces", pseudonym=made.pseudonym)(Turn("Hi", user=user))
        assert [event async for event in stream]
        (file,) = (tmp_path / "traces").iterdir()
        assert "ann" not in file.read_text()
        return str(json.loads(file.read_text())["user"])

    ann, again, bob = [await traced(name, access) for name in ("ann", "ann", "bob")]
    assert ann == again != bob and len(ann) == 12 and await traced("local", access) == "local"
    elsewhere = Access(replace(settings, home=tmp_path / "elsewhere"))
    assert elsewhere.pseudonym("ann") != ann, "without the home's secret a name cannot be tried"
    assert stat.S_IMODE((settings.home / "secret").stat().st_mode) == 0o600 or sys.platform == "win32"
    assert Access(replace(settings, trace_text=True)).pseudonym("ann") == "ann"


def test_a_key_is_made_once(settings: Settings) -> None:
    first = access.keyed(settings.home, "session")
    access._secrets.clear()
    assert access.keyed(settings.home, "session") == first != access.keyed(settings.home, "trace")


def test_two_changes_at_once_lose_nothing(settings: Settings) -> None:
    def add(name: str) -> None:
        people.change(settings.home, lambda now: replace(now, passwords={**now.passwords, name: ""}))

    threads = [threading.Thread(target=add, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = people.read(settings.home)
    assert found and set(found.passwords) == set(NAMES)
    with pytest.raises(SettingsError, match="do not fit"):
        people.change(settings.home, lambda now: replace(now, groups={"g": frozenset(f"someone{n:05d}" for n in range(30_000))}))
    assert people.read(settings.home) == found, "what cannot be read again is not written"
