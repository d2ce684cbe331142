"""Starting a real server (`relay up`, in a data home of its own) and driving its page. Knows no test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "tests" / "artefacts"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--no-first-run"]
CI_MARKS = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "JENKINS_URL", "BUILD_ID", "GITLAB_CI", "TRAVIS", "CIRCLECI", "TEAMCITY_VERSION")
"""Variables in whose presence the runtime keeps silent; servers under test run without them, as users' do."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `relay up`."""

    url: str
    home: Path
    process: subprocess.Popen[str]

    @property
    def log(self) -> str:
        return (self.home / "server.log").read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def relay_up(home: Path, models: Path, prefix: tuple[str, ...] = (), **settings: str) -> Iterator[Server]:
    """Start it, wait for the page, and end it with everything it started."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_") and name not in CI_MARKS}
    env |= {"RELAY_HOME": str(home), "RELAY_MODELS_DIR": str(models), "RELAY_OFFLINE": "1", **settings}
    command = [*prefix, sys.executable, "-m", "cli.main", "up", "--port", str(port), "--no-browser"]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, text=True)
    server = Server(f"http://127.0.0.1:{port}", home, process)
    try:
        wait_until(lambda: answers(server.url) or process.poll() is not None, 60)
        assert process.poll() is None, server.log
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as page:
            return bool(page.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.1)


def send(page: Page, text: str) -> None:
    """Type and send, once the pickers are there."""
    expect(page.locator("#mode-picker-trigger-model")).to_be_visible(timeout=30_000)
    page.locator("#chat-input").fill(text)
    page.locator("#chat-submit").click()


def pick(page: Page, picker: str, option: str) -> None:
    """Choose in a picker beside the composer."""
    page.locator(f"#mode-picker-trigger-{picker}").click(timeout=30_000)
    page.locator(f"#mode-picker-popover-{picker}").get_by_text(option, exact=True).first.click()


def finished(page: Page, count: int = 1, state: str = "done", seconds: float = 60) -> None:
    """Wait until so many answers have come to their end."""
    expect(page.locator(f'[data-relay-state="{state}"]')).to_have_count(count, timeout=seconds * 1_000)
    expect(page.locator("#stop-button")).to_have_count(0, timeout=10_000)
