"""What the knowledge room's tests share: one embedder, and a data home for each test."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from base.settings import Settings
from rag import prepare
from rag.embed import Embedder

VARIANTS = Path(__file__).with_name("variants.py")


@pytest.fixture(scope="session")
def embedder(models: Path) -> Embedder:
    return Embedder.load(models)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def variants(cached: Path) -> Path:
    """Real models that differ from the shipped one, made on the first run: see variants.py."""
    folder = cached / f"variants-{hashlib.sha256(VARIANTS.read_bytes()).hexdigest()[:8]}"
    if not (folder / "done").is_file():
        subprocess.run([sys.executable, str(VARIANTS), str(folder)], check=True, capture_output=True)
        (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def made(variants: Path, prepared_models: Path) -> Callable[[str], Path]:
    """A variant's prepared folder, made when it is first asked for."""

    def make(name: str, kind: str = "embedder") -> Path:
        return prepare.prepare(prepared_models, prepare.source(prepared_models, kind, str(variants / name)))

    return make
