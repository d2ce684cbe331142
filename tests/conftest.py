"""What all tests share: models prepared once, a data home of their own, no network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from base.progress import silent
from base.settings import Settings
from rag import embed
from router import starter

CACHE = os.environ.get("RELAY_TEST_CACHE", "")
LOCAL = ("127.0.0.1", "::1", "localhost")
CORPUS = {
    "leave": "Every employee has 25 days of annual leave.\nUnused days lapse in March.",
    "travel": "Taxi receipts are needed above 75 dollars.",
    "tea": "Tea & <biscuits> are served in the kitchen at four.",
    "keys": "Lost keys are reported to the front desk within a day.",
    "": "The untitled page tells how the printer is fed with paper.",
    "bikes": "",
}


@pytest.fixture(scope="session")
def cached(request: pytest.FixtureRequest) -> Path:
    """Where what is expensive to make is kept between runs: pytest's own cache folder, or RELAY_TEST_CACHE."""
    folder = Path(CACHE or request.config.cache.mkdir("relay"))  # type: ignore[union-attr]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def gguf(cached: Path) -> Path:
    """The starter's weights as they are fetched, once: the tests' only way to the network."""
    kept = cached / "starter.gguf"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=cached) as work:
            starter.obtain(Settings(cached), Path(work), silent).replace(kept)
    return kept


@pytest.fixture(scope="session")
def prepared_models(cached: Path, gguf: Path) -> Path:
    """Starters and embedder, made on the first run."""
    settings = Settings(cached, starter_file=str(gguf), offline=True)
    starter.prepare(settings)
    embed.prepare(settings.models)
    return settings.models


@pytest.fixture(scope="session")
def models(prepared_models: Path) -> Path:
    """The prepared embedder's folder."""
    return prepared_models / embed.NAME


@pytest.fixture(scope="session")
def llama_server(gguf: Path) -> Iterator[str]:
    """The address of a real llama.cpp server on the starter's weights, in its own process."""
    script = Path(__file__).parent / "contract" / "llama_server.py"
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, str(script), str(gguf)], text=True, **quiet) as server:  # type: ignore[call-overload]
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), "the llama.cpp server did not start"
        yield address
        server.kill()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh RELAY_HOME, and no setting of the developer's own."""
    for name in [name for name in os.environ if name.startswith("RELAY_") or name == "FOUNDRY_LOCAL_ENDPOINT"]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("RELAY_HOME", str(folder))
    return folder


@pytest.fixture
def ready_home(home: Path, prepared_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`home` with the prepared models in reach."""
    monkeypatch.setenv("RELAY_MODELS_DIR", str(prepared_models))
    return home


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that leaves the loopback fails. Set-up's own fetch runs in a child process and is not held here."""
    connect = socket.socket.connect

    def only_local(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise AssertionError(f"a test reached for {address[0]}")
        connect(self, address)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", only_local)
        yield


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    """Six documents, two judged queries and one without a judgement, in BEIR layout."""
    made = tmp_path / "beir"
    (made / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d/{n}", "title": title, "text": text} for n, (title, text) in enumerate(CORPUS.items())]
    (made / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = {"q1": "how many days of annual leave are there?", "q2": "when is tea served?", "unjudged": "anything?"}
    (made / "queries.jsonl").write_text("\n".join(json.dumps({"_id": id, "text": text}) for id, text in asked.items()) + "\n")
    (made / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td/0\t2\nq1\td/1\t1\nq2\td/2\t1\nq2\td/3\t0\n")
    return made
