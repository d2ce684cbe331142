"""`relay doctor`: what this machine has, what is missing, what to do. Changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import psutil

from agents.assistant import open_local, open_router
from agents.setup import chosen, missing
from base.errors import RelayError, SetupError
from base.settings import Settings, load_settings

NEED_GB = 2.0
"""Disk for both starters, the embedder and the work in between."""
MEMORY_GB = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `state`: ok, note (works all the same) or bad."""

    name: str
    state: str
    said: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--json", action="store_true", help="the findings as one JSON array")


def run(options: argparse.Namespace) -> int:
    """Print the findings; 1 when one is bad."""
    settings = load_settings()
    found = [*machine(settings), *models(settings)]
    if options.json:
        print(json.dumps([asdict(check) for check in found], ensure_ascii=False))
    else:
        for check in found:
            print(f"{ {'ok': '✓', 'note': '·', 'bad': '✗'}[check.state] } {check.name:16} {check.said}")
    return int(any(check.state == "bad" for check in found))


def machine(settings: Settings) -> Iterator[Check]:
    """Python, disk, memory, port: what a start needs."""
    good = sys.version_info >= (3, 11)
    yield Check("Python", "ok" if good else "bad", f"{platform.python_version()}{'' if good else ': Relay needs 3.11 or newer.'}")
    yield _disk(settings)
    free = psutil.virtual_memory().available / 1e9
    yield Check(
        "Memory", "ok" if free >= MEMORY_GB else "note", f"{free:.1f} GB available" + ("" if free >= MEMORY_GB else "; models may be slow.")
    )
    said = port_taken(settings.host, settings.port)
    yield Check("Port", "note" if said else "ok", said or f"{settings.port} is free")


def _disk(settings: Settings) -> Check:
    home = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    if not os.access(home, os.W_OK):
        return Check("Disk", "bad", f"{home} cannot be written to. Set RELAY_HOME to a folder of yours.")
    free, need = shutil.disk_usage(home).free / 1e9, NEED_GB if missing(settings) else 0.2
    if free < need:
        return Check(
            "Disk", "bad", f"{free:.1f} GB free under {settings.home}, {need:g} GB needed. Free some, or set RELAY_HOME to another disk."
        )
    return Check("Disk", "ok", f"{free:.0f} GB free under {settings.home}")


def port_taken(host: str, port: int) -> str:
    """Why the port cannot be used; '' when it can."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if sys.platform != "win32":  # there, SO_REUSEADDR would share a port in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        return f"Port {port} is not allowed for you. Choose one above 1023: relay up --port {port + 8000}"
    except OSError as error:
        if isinstance(error, socket.gaierror):
            return f"{host} is no address of this machine. Use --host 127.0.0.1"
        return f"Port {port} is in use. Close what runs there, or choose another: relay up --port {port + 1}"
    return ""


def require(settings: Settings) -> None:
    """Raise SetupError for the first finding that prevents a start."""
    for check in machine(settings):
        if check.state == "bad" or (check.name == "Port" and check.state == "note"):
            raise SetupError(check.said)


def models(settings: Settings) -> Iterator[Check]:
    """What is prepared, what the catalog's models are waiting for, and the public catalog."""
    absent = missing(settings)
    yield Check(
        "Prepared",
        "note" if absent else "ok",
        f"missing: {', '.join(absent)}; `relay up` makes them" if absent else "starters and embedder",
    )
    for kind, state, said in chosen(settings):
        yield Check(kind.capitalize(), {"ready": "ok", "unfit": "bad"}.get(state, "note"), said)
    try:
        router = open_router(settings)
        catalog = router.current()
        blocked = router.backends.blocked(catalog)
        yield Check("Catalog", "bad" if router.catalogs.error else "ok", str(router.catalogs.error or f"{len(catalog.models)} models"))
        for name in catalog.models:
            yield Check(name, "note" if name in blocked else "ok", blocked.get(name, "ready"))
    except RelayError as error:
        yield Check("Catalog", "bad", str(error))
    yield _public(settings)


def _public(settings: Settings) -> Check:
    if settings.offline:
        return Check("Foundry catalog", "note", "not asked: offline")
    try:
        offered = asyncio.run(open_local(settings)[1].foundry.public_models())
    except RelayError as error:
        return Check("Foundry catalog", "bad", str(error))
    cached = sum(model.cached for model in offered)
    said = f"{len(offered)} models offered, {cached} cached" if offered else "cannot be reached; local models and starters work without it"
    return Check("Foundry catalog", "ok" if offered else "note", said)
