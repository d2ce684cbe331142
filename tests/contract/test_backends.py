"""One suite for every backend: Foundry in process, a real llama.cpp server over HTTP, the scripted fake.

What is promised of one is promised of all: streaming, an end with a reason, token counts, repeatability, a bounded
output, stopping, two at once, a clear error for a model it does not have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from base.errors import BackendError
from router.backends import Backend, Delta, InProcess, Params, Scripted
from router.catalog import Entry, Limits, Place
from router.fake import FakeTransport, parse_script
from router.starter import FAST
from router.weights import Local

PARIS = [{"role": "system", "content": "You are a helpful AI assistant."}, {"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Write a long story about a fox and a crow."}]
SCRIPT = """
replies:
  - {when: France, say: The capital of France is Paris.}
  - {say: Once upon a time there was a fox who met a crow., token_s: 0.05}
"""


def entry(name: str) -> Entry:
    return Entry(name, "here", ("general",), 1, 0.1, 1536, "Apache-2.0", limits=Limits(concurrent=2))


@pytest.fixture(params=["foundry", "llama.cpp", "fake"])
async def backend(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Backend]:
    if request.param == "foundry":
        made: Backend = InProcess(Place("foundry", "foundry"), Local(home, request.getfixturevalue("prepared_models")))
    elif request.param == "llama.cpp":
        made = Backend(Place("llama", base_url=request.getfixturevalue("llama_server")))
    else:
        made = Scripted(Place("fake", "fake"), FakeTransport(parse_script(SCRIPT)))
    yield made
    await made.close()


@pytest.fixture
async def model(backend: Backend) -> Entry:
    made = Entry(FAST, "here", ("general",), 1, 0.1, 1536, "Apache-2.0", starter=isinstance(backend, InProcess))
    assert backend.blocked(made) == ""
    await backend.load(made)
    return made


async def said(backend: Backend, model: Entry, messages: list[dict[str, str]], most: int = 24) -> list[Delta]:
    async with aclosing(backend.stream(model, messages, Params(most))) as deltas:  # type: ignore[type-var]
        return [delta async for delta in deltas]


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


async def test_it_streams_an_answer_with_an_end_and_exact_counts(backend: Backend, model: Entry) -> None:
    deltas = await said(backend, model, PARIS)
    assert "Paris" in text(deltas) or (backend.place.name == "llama" and text(deltas)), text(deltas)
    assert sum(bool(delta.text) for delta in deltas) > 3, "tokens come one by one"
    assert [delta.finish for delta in deltas if delta.finish] in (["stop"], ["length"])
    counted = [delta.tokens for delta in deltas if delta.tokens][-1]
    assert counted[0] > 5 and 3 < counted[1] <= 25
    exact = await backend.count(model, PARIS)
    assert exact is None or exact == counted[0]


async def test_the_same_request_gives_the_same_answer(backend: Backend, model: Entry) -> None:
    assert text(await said(backend, model, PARIS)) == text(await said(backend, model, PARIS))


async def test_the_output_is_bounded(backend: Backend, model: Entry) -> None:
    deltas = await said(backend, model, STORY, most=5)
    assert [delta.tokens for delta in deltas if delta.tokens][-1][1] <= 6


async def test_two_at_once_do_not_mix(backend: Backend, model: Entry) -> None:
    alone = text(await said(backend, model, PARIS, 12)), text(await said(backend, model, STORY, 12))
    together = await asyncio.gather(said(backend, model, PARIS, 12), said(backend, model, STORY, 12))
    assert (text(together[0]), text(together[1])) == alone or backend.place.name == "llama"


async def test_closing_the_stream_frees_the_model_within_a_second(backend: Backend, model: Entry) -> None:
    stream = backend.stream(model, STORY, Params(400))
    async with aclosing(stream) as deltas:  # type: ignore[type-var]
        async for delta in deltas:
            if delta.text:
                break
    began = time.monotonic()
    await said(backend, model, PARIS, 1)
    assert time.monotonic() - began < 1.0


async def test_a_model_it_does_not_have_is_a_sentence(backend: Backend, model: Entry) -> None:
    if backend.place.name != "foundry":
        pytest.skip("this server answers with its one model whatever the name")
    with pytest.raises(BackendError) as caught:
        await said(backend, entry("nobody"), PARIS)
    assert "nobody" in str(caught.value) and caught.value.remedy


async def test_a_server_that_is_not_there_is_a_sentence_without_its_secrets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cr3t")
    gone = Backend(Place("gone", base_url="http://user:pw@127.0.0.1:9/v1?token=t0ken", key_env="MY_KEY"))
    with pytest.raises(BackendError) as caught:
        await said(gone, entry("phi-4-mini"), PARIS)
    await gone.close()
    assert str(caught.value) == "phi-4-mini at gone cannot be reached. Is it running at http://127.0.0.1:9?"


async def test_aliases_find_what_the_server_calls_its_model(llama_server: str) -> None:
    server = Backend(Place("llama", base_url=llama_server))
    listed = (await server._listed())[0]
    chosen = Entry("phi", "llama", ("general",), 1, 1, 4096, "MIT", aliases=("not-there", listed[:10]))
    assert await server.model_name(chosen) == listed
    azure = Backend(Place("azure", base_url=llama_server, deployments={"phi": "my-deployment"}))
    assert await azure.model_name(chosen) == "my-deployment"
    await server.close()
    await azure.close()
