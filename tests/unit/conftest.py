"""What the knowledge room's tests share: one embedder, and a data home for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.settings import Settings
from rag.embed import Embedder


@pytest.fixture(scope="session")
def embedder(models: Path) -> Embedder:
    return Embedder.load(models)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")
