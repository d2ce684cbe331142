"""What stands in the library, page by page, and only within the scopes that are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from base.settings import Settings
from rag.embed import Embedder
from rag.library import Library
from rag.overview import Wanted


@pytest.fixture
async def library(home: Path, models: Path, tmp_path: Path) -> AsyncIterator[Library]:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(7):
        (folder / f"note_{number}.md").write_text(f"# Note {number}\n\nThe canteen opens at {number} o'clock.\n")
    (folder / "100%.md").write_text("# Whole\n\nAll of it.\n")
    (folder / "empty.md").write_text("")
    opened = await Library.open(Settings(home), Embedder.load(models))
    await opened.ingest([folder])
    await opened.ingest([folder / "note_0.md"], "chat:other", names=["secret.md"])
    yield opened
    await opened.close()


async def test_sums_are_those_of_the_scopes_asked_for(library: Library) -> None:
    (shared,) = (await library.overview(["shared", "nobody"])).collections
    assert (shared.documents, shared.ready, shared.failed, shared.no_text) == (9, 8, 1, 0)
    whole = await library.overview(["chat:other", "shared"])
    assert [one.scope for one in whole.collections] == ["chat:other", "shared"]
    assert await library.settled() == "ready" == (await library.overview(["shared"])).state
    assert whole.disk > 10_000


async def test_pages_follow_each_other_and_every_document_comes_once(library: Library) -> None:
    seen = []
    for offset in (0, 4, 8):
        page = await library.listing(["shared"], Wanted(offset=offset, limit=4))
        assert page.total == 9
        seen += [one.name for one in page.documents]
    assert seen == sorted(seen) and len(seen) == len(set(seen)) == 9


async def test_a_filter_takes_words_as_they_are(library: Library) -> None:
    async def names(**wanted: object) -> list[str]:
        return [one.name for one in (await library.listing(["shared"], Wanted(**wanted))).documents]  # type: ignore[arg-type]

    assert await names(words=("NOTE", "3")) == ["note_3.md"]
    assert await names(words=("%",)) == ["100%.md"], "a per cent sign is no wildcard"
    assert await names(words=("e_4",)) == ["note_4.md"], "nor is an underscore"
    assert await names(problems=True) == ["empty.md"]


async def test_an_id_is_no_right(library: Library) -> None:
    (secret,) = await library.documents("chat:other")
    assert await library.document(secret.id, ["shared"]) is None
    assert await library.document(secret.id, []) is None
    assert (await library.document(secret.id, ["chat:other"])) == secret
