"""`relay ingest [PATH…]`: files and folders into the library. A chat that runs does the work itself, asked over the loopback."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from agents.assistant import open_knowledge
from agents.events import plain
from agents.setup import prepare, prepare_chosen
from base.errors import KnowledgeError
from base.progress import Progress
from base.settings import Settings, load_settings
from cli.bars import bars
from cli.say import warn
from rag.library import FolderInfo, Library, Report
from rag.owner import RemoteLibrary
from rag.report import total
from rag.scopes import SHARED, scope_named

TOLD = ("added", "changed", "moved", "deleted", "unchanged")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a file or a folder; without one, all remembered folders")
    parser.add_argument("--to", metavar="NAME", help="the collection: shared (the default), mine, user:NAME or group:NAME")
    parser.add_argument("--watch", action=argparse.BooleanOptionalAction, help="keep the folder in step while the chat runs, or no longer")
    parser.add_argument("--no-delete", dest="delete", action="store_false", help="keep documents whose file is gone")
    parser.add_argument("--full", action="store_true", help="look into files that seem untouched, too")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument("--again", action="store_true", help="sync all remembered folders")
    parser.add_argument("--list", action="store_true", dest="listed", help="show the remembered folders")
    parser.add_argument("--forget", type=Path, metavar="PATH", help="forget a folder and its documents; with --no-delete keep these")


def run(options: argparse.Namespace) -> int:
    """Ingest and report; 1 when a file failed."""
    modes = [bool(options.paths), options.again, options.listed, options.forget is not None]
    if sum(modes) > 1:
        raise KnowledgeError("PATH, --again, --list and --forget do not go together.", "Use one of them.")
    if options.watch is not None and not options.paths:
        raise KnowledgeError("--watch needs a folder.", "Name it: relay ingest FOLDER --watch")
    options.to = scope_named(options.to) if options.to else ""
    for path in options.paths:
        if not path.exists():
            raise KnowledgeError(f"{path} does not exist.", "Check the path.")
        if options.watch and not path.is_dir():
            raise KnowledgeError(f"{path} is not a folder, and only folders are watched.", "Name its folder.")
    return asyncio.run(_ingest(options, load_settings()))


async def _ingest(options: argparse.Namespace, settings: Settings) -> int:
    with bars() as progress:
        await prepare(settings, progress)
        for failed in await prepare_chosen(settings, progress):
            warn(failed)
        library = await open_knowledge(settings)
        try:
            if options.listed:
                return _list(await library.folders(options.to or None), options.json)
            if options.forget is not None:
                return await _forget(library, options)
            report = await _taken(library, options, progress)
        finally:
            await library.close()
    _show(report, options.json)
    return 1 if report.failed else 0


async def _taken(library: Library | RemoteLibrary, options: argparse.Namespace, progress: Progress) -> Report:
    """The paths, or the folders of each collection together: a file may have moved from one to the other."""
    if options.paths:
        paths = [path.resolve() for path in options.paths]
        return await library.ingest(paths, options.to or SHARED, progress, None, options.delete, options.full, options.watch)
    folders = await library.folders(options.to or None)
    if not folders:
        raise KnowledgeError("No folder is remembered yet.", "Name one: relay ingest FOLDER")
    scopes = {info.scope: [Path(one.path) for one in folders if one.scope == info.scope] for info in folders}
    return total([await library.ingest(paths, one, progress, None, options.delete, options.full) for one, paths in scopes.items()])


async def _forget(library: Library | RemoteLibrary, options: argparse.Namespace) -> int:
    path = str(options.forget.expanduser().resolve())
    found = [info for info in await library.folders(options.to or None) if info.path == path]
    if not found:
        raise KnowledgeError(f"{path} is not remembered.", "'relay ingest --list' shows the folders that are.")
    for info in found:
        await library.forget_folder(path, info.scope, options.delete)
    if options.json:
        print(json.dumps({"forgotten": [[info.scope, info.path] for info in found]}, ensure_ascii=False))
    else:
        print(f"Forgot {path}; its documents are {'gone from the library, the files untouched' if options.delete else 'kept'}.")
    return 0


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain(report), ensure_ascii=False))
        return
    counts = [f"{getattr(report, name)} {name}" for name in TOLD]
    counts += [f"{len(report.failed)} failed", f"{len(report.no_text)} no text"]
    print(f"{', '.join(counts)}; {report.passages} passage{'' if report.passages == 1 else 's'}")
    for name, sentence in (*report.failed, *report.no_text):
        print(f"  {name}: {sentence}")


def _list(folders: Sequence[FolderInfo], as_json: bool) -> int:
    if as_json:
        print(json.dumps([{**plain(info), "state": info.state} for info in folders], ensure_ascii=False))
        return 0
    if not folders:
        print("No folder is remembered yet.")
    for info in folders:
        when = f"synced {datetime.fromtimestamp(info.synced):%Y-%m-%d %H:%M}" if info.synced else "never synced"
        print(f"{info.path}  ({', '.join([info.scope, *(['watched'] if info.watched else []), when, info.state])})")
        for name, sentence in info.report.failed if info.report else ():
            print(f"  {name}: {sentence}")
    return 0
