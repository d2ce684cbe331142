"""The folders that stay in step, and how their files looked last: two tables of the manifest. Knows no walk and no watcher."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any

from rag.report import Report
from rag.stamp import Stamp

SCHEMA = """
CREATE TABLE IF NOT EXISTS folders (
    scope TEXT NOT NULL, path TEXT NOT NULL, watched INTEGER NOT NULL, synced REAL NOT NULL, report TEXT NOT NULL,
    PRIMARY KEY (scope, path));
CREATE TABLE IF NOT EXISTS files (
    document TEXT PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    changed INTEGER NOT NULL, device TEXT NOT NULL);
"""
"""Tables of their own: a library of an older Relay gets them when it is opened, and an older Relay passes them over. A file's
stamp goes with its document, so none outlives a change."""


@dataclass(frozen=True, slots=True)
class FolderInfo:
    """A folder that was taken in, and is remembered."""

    scope: str
    path: str
    watched: bool
    """Whether the chat keeps it in step by itself."""
    synced: float
    """Seconds since 1970; 0: never."""
    report: Report | None
    """Of the last sync that found something new to tell; without the documents' ids."""

    @property
    def state(self) -> str:
        """In a few words."""
        if self.report is None:
            return "not read yet"
        if not self.report.reached:
            return "cannot be reached"
        failed = len(self.report.failed)
        return f"{failed} file{'s' if failed > 1 else ''} failed" if failed else "in step"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FolderInfo:
        """From the plain values of `asdict`."""
        return cls(**{**data, "report": Report.from_json(data["report"]) if data["report"] else None})


class Folders:
    """The two tables, through the manifest's connections. Methods block; one writer at a time."""

    def __init__(
        self, transaction: Callable[[], AbstractContextManager[sqlite3.Connection]], rows: Callable[[str, Sequence[Any]], list[Any]]
    ) -> None:
        self._transaction, self._rows = transaction, rows

    def all(self, scope: str | None = None) -> list[FolderInfo]:
        """All folders, or those of one scope, by path."""
        where, values = ("WHERE scope = ?", (scope,)) if scope is not None else ("", ())
        rows = self._rows(f"SELECT scope, path, watched, synced, report FROM folders {where} ORDER BY path, scope", values)  # noqa: S608
        return [_info(row) for row in rows]

    def find(self, scope: str, path: str) -> FolderInfo | None:
        """One folder, if it is remembered."""
        return next((info for info in self.all(scope) if info.path == path), None)

    def remember(self, scope: str, path: str, watched: bool | None) -> None:
        """From now on; `watched` None leaves that as it is, and is no for a new one."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO folders VALUES (?, ?, 0, 0, '')", (scope, path))
            if watched is not None:
                db.execute("UPDATE folders SET watched = ? WHERE scope = ? AND path = ?", (watched, scope, path))

    def told(self, scope: str, path: str, synced: float, report: Report | None) -> None:
        """How a sync went; nothing for a folder that was forgotten meanwhile."""
        text = json.dumps(asdict(replace(report, documents=()))) if report else ""
        with self._transaction() as db:
            db.execute("UPDATE folders SET synced = ?, report = ? WHERE scope = ? AND path = ?", (synced, text, scope, path))

    def forget(self, folders: Iterable[tuple[str, str]]) -> None:
        """Remember these (scope, path) no longer. Their documents are not touched."""
        with self._transaction() as db:
            db.executemany("DELETE FROM folders WHERE scope = ? AND path = ?", list(folders))

    def stamps(self, scope: str) -> dict[str, Stamp]:
        """Document id to how its file looked when it was last read or compared."""
        columns = "f.document, f.size, f.modified, f.changed, f.device"
        sql = f"SELECT {columns} FROM files f JOIN documents d ON d.id = f.document WHERE d.scope = ?"  # noqa: S608
        return {str(row[0]): Stamp(*row[1:]) for row in self._rows(sql, (scope,))}

    def stamp(self, stamps: Mapping[str, Stamp]) -> None:
        """Keep how the files of these documents look; a document that is gone is passed over."""
        rows = [(one.size, one.modified, one.changed, one.device, document) for document, one in stamps.items()]
        with self._transaction() as db:
            sql = (
                "INSERT OR REPLACE INTO files (size, modified, changed, device, document) SELECT ?, ?, ?, ?, id FROM documents WHERE id = ?"
            )
            db.executemany(sql, rows)


def _info(row: Sequence[Any]) -> FolderInfo:
    scope, path, watched, synced, report = row
    return FolderInfo(scope, path, bool(watched), float(synced), Report.from_json(json.loads(report)) if report else None)
