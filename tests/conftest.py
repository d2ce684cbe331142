"""What all tests share: models prepared once, a data home of their own, no network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LOCAL = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session")
def prepared_models(request: pytest.FixtureRequest) -> Path:
    """Starters and embedder, made on the first run (the one fetch), then kept in pytest's own cache folder."""
    import asyncio

    from agents.setup import prepare
    from base.settings import load_settings

    folder = Path(os.environ.get("RELAY_TEST_MODELS") or request.config.cache.mkdir("relay") / "models")  # type: ignore[union-attr]
    home = folder.parent
    asyncio.run(prepare(load_settings({"RELAY_HOME": str(home), "RELAY_MODELS_DIR": str(folder)})))
    return folder


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
