"""Chatting asks no network: the server's own system calls are watched, as a user runs it, without the marks of a CI."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import finished, relay_up, send
from playwright.sync_api import Page

IDLE_S = 40
"""The runtimes' telemetry wakes up late: with it on, look-ups came within this time."""
ADDRESS = re.compile(r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")")


def reached(trace: str) -> set[str]:
    """Every address outside the loopback, and every name server, that a system call named."""
    found = set()
    for port, four, six in ADDRESS.findall(trace):
        host = four or six
        if port == "53" or not (host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1")):
            found.add(f"{host}:{port}")
    return found


def test_the_watch_itself_sees_a_look_up_and_a_connection() -> None:
    assert reached('connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16)') == {"127.0.0.53:53"}
    assert reached('sendto(3, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("20.1.2.3")}, 16)') == {"20.1.2.3:443"}
    line = 'connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2a01::1", &sin6_addr)}, 28)'
    assert reached(line) == {"2a01::1:443"}
    assert reached('connect(3, {sa_family=AF_INET, sin_port=htons(8000), sin_addr=inet_addr("127.0.0.1")}, 16)') == set()


def test_a_chatting_server_reaches_nobody(tmp_path: Path, prepared_models: Path, new_page: Callable[..., Page], outside: list[str]) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing, and here the server must be watched")
        pytest.skip("no strace on this machine")
    trace = tmp_path / "trace"
    # -D: the server stays our child, so that ending it ends the watch too.
    watch = (strace, "-D", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-s", "16", "-o", str(trace))
    with relay_up(tmp_path / "home", prepared_models, prefix=watch, RELAY_OFFLINE="0") as server:
        page = new_page(server.url)
        send(page, "How many weeks of paid parental leave may an employee take?")
        finished(page)
        time.sleep(IDLE_S)
    text = trace.read_text(errors="replace")
    assert "sa_family=AF_INET" in text or "sendto" in text, "the watch saw nothing at all"
    assert reached(text) == set()
    assert outside == []
    home = tmp_path / "home"
    assert {item.name for item in home.iterdir()} <= {"foundry", "library", "secret", "traces", "server.log"}
