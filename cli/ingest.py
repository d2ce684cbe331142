"""`relay ingest PATH…`: files and folders into the library. A chat that runs does the work itself, asked over the loopback."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from agents.assistant import open_knowledge
from agents.events import plain
from agents.setup import prepare, prepare_chosen
from base.errors import KnowledgeError
from base.settings import Settings, load_settings
from cli.bars import bars
from cli.say import warn


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Ingest and report; 1 when a file failed."""
    for path in options.paths:
        if not path.exists():
            raise KnowledgeError(f"{path} does not exist.", "Check the path.")
    return asyncio.run(_ingest(options, load_settings()))


async def _ingest(options: argparse.Namespace, settings: Settings) -> int:
    with bars() as progress:
        await prepare(settings, progress)
        for failed in await prepare_chosen(settings, progress):
            warn(failed)
        library = await open_knowledge(settings)
        try:
            report = await library.ingest([path.resolve() for path in options.paths], progress=progress)
        finally:
            await library.close()
    if options.json:
        print(json.dumps(plain(report), ensure_ascii=False))
    else:
        counts = {name: getattr(report, name) for name in ("added", "changed", "unchanged", "deleted")}
        print(
            ", ".join(f"{number} {name}" for name, number in counts.items())
            + f"; {report.passages} passage{'' if report.passages == 1 else 's'}"
        )
        for name, sentence in (*report.failed, *report.no_text):
            print(f"  {name}: {sentence}")
    return 1 if report.failed else 0
