"""This process's one assistant: opened once, warmed in the background, closed at the end. Knows no chat and no page.

The server answers at once; a message that comes before the models are warm waits, and is told for what. When opening
fails the page still stands, and says what happened and what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from chainlit.config import config
from chainlit.logger import logger
from chainlit.server import app
from starlette.routing import Mount

from agents.access import Access
from agents.assistant import Assistant, open_assistant
from agents.setup import missing, prepare
from base.errors import RelayError
from base.settings import Settings, load_settings
from ui import kept, remember_rooms

TIDY_S = 20.0
"""Seconds between two looks at what may be let go of."""
LIBRARY = "/relay/library/"
"""With its slash: a mount does not answer to its bare name, and Chainlit's route for everything would."""


class Runtime:
    """The assistant on its way, there, or failed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.access = Access(settings)
        self.doing = "Opening Relay"
        """What is being prepared, for the page's clock; '' when all is warm."""
        self.problem = ""
        """What went wrong while opening, safe to show."""
        self._assistant: Assistant | None = None
        self._opened = asyncio.Event()
        self._warm = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tidier: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to open, once."""
        if self._task is None:
            self._task = asyncio.create_task(self._open())

    async def assistant(self, tell: Callable[[str], None] | None = None, warm: bool = False) -> Assistant:
        """The assistant once it is open, and with `warm` once its models are. Raises RelayError when it cannot be."""
        if self.problem and self._task is not None and self._task.done():
            # What stood in the way may be gone, such as a command that held the library.
            self._task, self.problem, self.doing = None, "", "Opening Relay"
            self._opened.clear()
            self._warm.clear()
        self.start()
        waited = self._warm if warm else self._opened
        while not waited.is_set():
            if tell:
                tell(self.doing)
            # The label changes while it is prepared, so the wait is cut into looks.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await waited.wait()
        if self._assistant is None:
            raise RelayError(self.problem)
        return self._assistant

    async def _open(self) -> None:
        try:
            if missing(self.settings):
                await prepare(self.settings, self._progress)
            self.doing = "Opening the library"
            self._assistant = await open_assistant(self.settings, owner=True, announce_url=f"{address()}{LIBRARY}", access=self.access)
            _mount(self._assistant)
            self._opened.set()
            await self._assistant.ready(self._progress)
            self._tidier = self._tidier or asyncio.create_task(self._tidy(self._assistant))
            logger.info("Relay is ready at %s", address())
        except RelayError as error:
            self.problem = str(error)
            logger.error(self.problem)
        except Exception as error:
            self.problem = f"Relay could not be started ({type(error).__name__}). 'relay doctor' checks this machine."
            logger.exception("Relay could not be started")
        finally:
            self.doing = ""
            remember_rooms()
            self._opened.set()
            self._warm.set()

    @staticmethod
    async def _tidy(assistant: Assistant) -> None:
        """Now and then, give memory back that nobody uses."""
        while True:
            await asyncio.sleep(TIDY_S)
            try:
                await assistant.rest()
            except Exception:
                logger.exception("Memory could not be given back")

    def _progress(self, label: str, fraction: float | None = None, /) -> None:
        self.doing = label if fraction is None else f"{label} ({fraction:.0%})"

    async def close(self) -> None:
        """Stop opening, and let go of the models and the library."""
        for task in (self._task, self._tidier):
            if task and not task.done():
                task.cancel()
        if self._assistant is not None:
            await self._assistant.close()


def address() -> str:
    """Where this process serves, as this machine reaches it."""
    everywhere = config.run.host in {"0.0.0.0", "::", ""}  # noqa: S104 - a comparison, nothing is bound here
    host = "127.0.0.1" if everywhere else config.run.host
    return f"http://[{host}]:{config.run.port}" if ":" in host else f"http://{host}:{config.run.port}"


def _mount(assistant: Assistant) -> None:
    """Let the command line hand its work to the library's owner; before Chainlit's route for everything."""
    app.router.routes.insert(0, Mount(LIBRARY.rstrip("/"), app=assistant.library_app))


def quiet() -> None:
    """Keep the terminal to what a person wants to read there."""
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    # There is one language, and chainlit.md is in it.
    # Relay says itself when and where it is ready.
    said = ("Translated markdown file", "Your app is available at")
    logger.addFilter(lambda record: not record.getMessage().startswith(said))


def runtime() -> Runtime:
    """The process's runtime; it outlives a reload of the page's code."""
    store = kept()
    if "runtime" not in store:
        store["runtime"] = Runtime(load_settings())
    found: Runtime = store["runtime"]
    return found
