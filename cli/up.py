"""`relay up`: check the machine, prepare what is missing, serve the chat page."""

from __future__ import annotations

import argparse
import asyncio
import os
import runpy
import sys

from agents import access
from agents.assistant import open_router
from agents.setup import chosen, missing, prepare, prepare_chosen
from base.settings import ROOT, Settings, load_settings
from cli import doctor
from cli.bars import bars
from cli.say import warn


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--host", help="address to listen at (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen at (default 8000)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument("--watch", "-w", action="store_true", help="reload when the code changes")


def run(options: argparse.Namespace) -> int:
    """Serve until stopped."""
    settings = load_settings(host=options.host, port=options.port)
    access.require(settings, settings.host)
    doctor.require(settings)
    router = open_router(settings)
    router.current()
    warn(router.catalogs.error)
    if missing(settings):
        print("Setting up for the first time; later starts take seconds.", file=sys.stderr)
        with bars() as progress:
            asyncio.run(prepare(settings, progress))
    if any(state != "ready" for _, state, _ in chosen(settings)):
        with bars() as progress:
            failed = asyncio.run(prepare_chosen(settings, progress))
        for sentence in failed:
            warn(f"{sentence} Relay starts without it.")
    serve(settings, browser=not options.no_browser and _has_screen(), watch=options.watch)
    return 0


def serve(settings: Settings, browser: bool, watch: bool) -> None:
    """Hand this process to Chainlit, which serves app.py; app.py says when it is ready."""
    root = str(ROOT)
    os.environ |= {"RELAY_HOST": settings.host, "RELAY_PORT": str(settings.port), "CHAINLIT_APP_ROOT": root}
    os.chdir(root)
    headless = [] if browser else ["--headless"]
    sys.argv = [
        "chainlit",
        "run",
        str(ROOT / "app.py"),
        "--host",
        settings.host,
        "--port",
        str(settings.port),
        *headless,
        *(["-w"] if watch else []),
    ]
    runpy.run_module("chainlit", run_name="__main__", alter_sys=True)


def _has_screen() -> bool:
    """Whether a browser window can open: somebody sits at a terminal with a display."""
    display = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return display and sys.stdout.isatty()
