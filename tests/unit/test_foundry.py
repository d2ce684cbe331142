"""The real runtime with the real starter, through the real openai client; prepared once per machine, about 25 s."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest

from base.errors import FetchError, Unreachable
from base.settings import ROOT, Settings
from router import starter
from router.catalog import Entry
from router.foundry import Foundry, Weights
from router.weights import Local

PARIS = [{"role": "system", "content": "You are a helpful AI assistant."}, {"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Write a long story about a fox."}]


@pytest.fixture(scope="module")
def weights(prepared_models: Path) -> Weights:
    return Weights(starter.FAST, starter.folder(prepared_models, starter.FAST), waiting=2)


@pytest.fixture
async def foundry(weights: Weights) -> Foundry:
    foundry = Foundry.shared(weights.folder.parent.parent)
    await asyncio.gather(*(foundry.load(weights) for _ in range(3)))
    return foundry


@pytest.fixture
async def client(foundry: Foundry) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=foundry.transport())
    async with openai.AsyncOpenAI(base_url="http://foundry.local/v1", api_key="local", max_retries=0, http_client=http) as client:
        yield client


async def test_an_answer_is_repeatable_bounded_and_counted(client: openai.AsyncOpenAI, foundry: Foundry) -> None:
    assert [model.id for model in (await client.models.list()).data] == [starter.FAST]
    done = await client.chat.completions.create(model=starter.FAST, messages=PARIS, temperature=0, frequency_penalty=0.3, user="dropped")
    assert "Paris" in (done.choices[0].message.content or "")
    assert done.choices[0].finish_reason == "stop"
    assert done.usage and done.usage.prompt_tokens == await foundry.tokens(starter.FAST, PARIS)

    texts = []
    for _ in range(2):
        stream = await client.chat.completions.create(
            model=starter.FAST, messages=STORY, temperature=0, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
        assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 12
    assert texts[0] == texts[1] != ""


async def test_refusals_have_their_status_and_say_the_numbers(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="nobody", messages=PARIS)
    with pytest.raises(openai.BadRequestError, match=r"3031 tokens.*1536"):
        await client.chat.completions.create(model=starter.FAST, messages=[{"role": "user", "content": "word " * 3000}])


async def test_a_closed_stream_frees_the_model_within_a_second(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model=starter.FAST, messages=STORY, max_tokens=1000, stream=True)
    await anext(aiter(stream))
    begun = time.monotonic()
    await stream.close()
    await client.chat.completions.create(model=starter.FAST, messages=PARIS, max_tokens=1)
    assert time.monotonic() - begun < 1


async def test_a_cancelled_caller_is_let_go_while_the_prompt_is_read(client: openai.AsyncOpenAI) -> None:
    reading = asyncio.create_task(client.chat.completions.create(model=starter.FAST, messages=[{"role": "user", "content": "word " * 600}]))
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert time.monotonic() - begun < 0.2
    await client.chat.completions.create(model=starter.FAST, messages=PARIS, max_tokens=1)


async def test_the_queue_is_bounded_and_empties(client: openai.AsyncOpenAI, foundry: Foundry, weights: Weights) -> None:
    async def ask() -> str:
        try:
            return (await client.chat.completions.create(model=starter.FAST, messages=PARIS, max_tokens=3)).choices[0].finish_reason
        except openai.RateLimitError:
            return "busy"

    assert sorted(await asyncio.gather(*(ask() for _ in range(5)))) == ["busy", "busy", "length", "length", "length"]
    assert await ask() == "length"


async def test_a_moved_or_missing_folder(foundry: Foundry, weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be loaded"):
        await foundry.load(Weights("nowhere", tmp_path))
    for place in ("one", "two"):
        shutil.copytree(weights.folder, tmp_path / place, copy_function=os.link)
        moved = Weights("moved", tmp_path / place)
        await foundry.load(moved)
        assert await foundry.tokens("moved", PARIS) == 28
        await foundry.unload("moved")
        shutil.rmtree(tmp_path / place)
    assert foundry.loaded() == (starter.FAST,)


def test_state_survives_a_reload_of_the_modules(weights: Weights) -> None:
    script = """if True:
        import asyncio, sys
        from pathlib import Path
        home, folder = map(Path, sys.argv[1:])
        async def main():
            for _ in range(2):
                from router.foundry import Foundry, Weights
                foundry = Foundry.shared(home)
                before = foundry.loaded()
                await foundry.warm(Weights("again", folder))
                print(before)
                for name in [name for name in sys.modules if name.split(".")[0] in ("router", "base")]:
                    del sys.modules[name]
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(weights.folder.parent.parent), str(weights.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["()", "('again',)"]


def test_a_broken_starter_is_noticed_and_a_wrong_source_refused(weights: Weights, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(weights.folder, models / starter.FAST)
    assert starter.missing(models) == (starter.LARGE,)
    (models / starter.FAST / "model.onnx").write_bytes(b"short")
    assert starter.missing(models) == (starter.FAST, starter.LARGE)
    with pytest.raises(FetchError, match="--offline"):
        starter.prepare(Settings(home=tmp_path, offline=True))
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(FetchError, match="SHA-256"):
        starter.prepare(Settings(home=tmp_path, starter_file=str(tmp_path / "other.gguf")))
    assert json.loads((weights.folder / starter.MANIFEST).read_text())["source"] == starter.GGUF_SHA256
    assert not [path for path in models.iterdir() if path.name.startswith(".workshop")]


async def test_an_idle_model_is_let_go_and_the_first_one_stays(foundry: Foundry, weights: Weights, home: Path) -> None:
    local = Local(home, weights.folder.parent)
    entries = [Entry(name, "here", ("general",), 1, 0.1, 1536, "MIT", path=str(weights.folder)) for name in ("first", "second")]
    for entry in entries:
        await local.load(entry)
    await local.rest(idle_s=60, keep="first")
    assert {"first", "second"} <= set(local.foundry.loaded()), "nobody was idle for so long"
    await local.rest(idle_s=0, keep="first")
    assert "first" in local.foundry.loaded() and "second" not in local.foundry.loaded()
    await local.foundry.unload("first")
    await foundry.load(weights)
