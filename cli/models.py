"""`relay models`: what the catalog names and what is on this machine; download and forget real models."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import threading
from typing import Any

from agents.assistant import open_local, open_router
from base.errors import SettingsError, SetupError
from base.settings import Settings, load_settings
from cli.bars import bars
from cli.say import warn


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "action", nargs="?", default="list", choices=("list", "download", "forget", "public"), help="public: what Foundry's catalog offers"
    )
    parser.add_argument("name", nargs="?", help="the model to download, by its name in the catalog")
    parser.add_argument("--json", action="store_true", help="a JSON array")


def run(options: argparse.Namespace) -> int:
    """List or download."""
    settings = load_settings()
    if options.action == "download":
        return _download(settings, options.name)
    if options.action == "forget":
        return _forget(settings, options.name)
    rows = _public(settings) if options.action == "public" else _listed(settings)
    print(json.dumps(rows, ensure_ascii=False) if options.json else "\n".join(_line(row) for row in rows))
    return 0


def _listed(settings: Settings) -> list[dict[str, Any]]:
    router = open_router(settings)
    catalog = router.current()
    warn(router.catalogs.error)
    blocked = router.backends.blocked(catalog)
    return [
        {
            "name": e.name,
            "state": blocked.get(e.name, "ready"),
            "place": catalog.place(e).name,
            "capabilities": list(e.capabilities),
            "priority": e.priority,
            "size_gb": e.size_gb,
            "context": e.context,
            "licence": e.licence,
        }
        for e in catalog.models.values()
    ]


def _public(settings: Settings) -> list[dict[str, Any]]:
    _forbid_offline(settings)
    offered = asyncio.run(open_local(settings)[1].foundry.public_models())
    if not offered:
        raise SetupError("The public catalog cannot be reached.", "Check the connection; local models and starters work without it.")
    return [{"name": m.alias, "state": "cached" if m.cached else "offered", "size_gb": round(m.megabytes / 1000, 2)} for m in offered]


def _download(settings: Settings, name: str | None) -> int:
    _forbid_offline(settings)
    catalogs, local = open_local(settings)
    entry = catalogs.current().models.get(name or "")
    if entry is None or not entry.aliases:
        names = ", ".join(e.name for e in catalogs.current().models.values() if e.aliases)
        raise SettingsError(f"'{name or ''}' is no model that can be downloaded.", f"Known: {names}.")
    cancel = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: cancel.set())
    with bars() as progress:
        local.record(entry.name, asyncio.run(local.foundry.download(entry.aliases, progress, cancel)))
    print(f"{entry.name} is on this machine. It answers from the next message on.")
    return 0


def _forget(settings: Settings, name: str | None) -> int:
    if not name or not open_local(settings)[1].forget(name):
        raise SettingsError(f"'{name or ''}' was not downloaded by Relay.", "`relay models` shows what is on this machine.")
    print(f"{name} is no longer on this machine.")
    return 0


def _forbid_offline(settings: Settings) -> None:
    if settings.offline:
        raise SetupError("This asks the network, and Relay is set to stay offline.", "Leave out --offline, or unset RELAY_OFFLINE.")


def _line(row: dict[str, Any]) -> str:
    more = f"{', '.join(row['capabilities'])} · priority {row['priority']} · {row['licence']}" if "priority" in row else ""
    return f"{row['name']:24} {row['state']:24} {row['size_gb']:>6g} GB  {more}".rstrip()
