"""Files that come with a message: read into the chat's own collection, each with a visible step. Knows no file format."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import chainlit as cl
import chainlit.config
from chainlit import server
from chainlit.config import config
from chainlit.context import local_steps
from chainlit.logger import logger
from chainlit.utils import utc_now

from agents.assistant import Assistant
from base.errors import RelayError
from rag.kinds import KINDS
from rag.library import Report
from ui.steps import count


def keep_in(folder: Path) -> None:
    """Chainlit keeps what a browser sends while its page is open; that is user data, and has no place in the checkout."""
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir(parents=True, exist_ok=True)
    chainlit.config.FILES_DIRECTORY = vars(server)["FILES_DIRECTORY"] = folder


def accept(max_mb: int) -> None:
    """Take exactly the endings that Relay reads; browsers disagree on the types of source files, so any type may carry them."""
    uploads = config.features.spontaneous_file_upload
    if uploads is not None:
        uploads.accept = {"*/*": sorted(KINDS)}
        uploads.max_size_mb = max_mb


def sentence(name: str, report: Report) -> str:
    """What became of one file: 'Read handbook.pdf · 12 passages', or plainly why not."""
    if refused := (*report.failed, *report.no_text):
        return f"Could not read {name} · {refused[0][1]}"
    if report.unchanged:
        return f"Read {name} · already in this chat"
    return f"Read {name} · {count(report.passages, 'passage')}"


async def read(assistant: Assistant, elements: Sequence[object], scope: str) -> dict[str, Path]:
    """Read a message's files, one visible step each; returns the documents that can be used, by id, with their files.

    Chainlit keeps a file as long as its page may come back.
    """
    documents: dict[str, Path] = {}
    for element in elements:
        path, name = getattr(element, "path", None), getattr(element, "name", "")
        if path:
            found = await _read_one(assistant, Path(path), name or Path(path).name, scope)
            documents |= dict.fromkeys(found, Path(path))
    return documents


async def _read_one(assistant: Assistant, path: Path, name: str, scope: str) -> Sequence[str]:
    runs = local_steps.get() or []
    step = cl.Step(name=f"Reading {name}", type="tool", icon="file-text", parent_id=runs[-1].id if runs else None)
    step.start = utc_now()
    await step.send()
    documents: Sequence[str] = ()
    try:
        report = await assistant.add_files([(path, name)], scope)
        step.name, documents = sentence(name, report), report.documents
    except RelayError as error:
        step.name = f"Could not read {name} · {error}"
    except Exception as error:
        logger.exception("A file could not be read")
        step.name = f"Could not read {name} · {type(error).__name__}."
    finally:
        step.end, step.is_error = utc_now(), not documents
        await step.update()
    return documents
