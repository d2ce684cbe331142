"""Embedders and rerankers by setting: real models prepared in real child processes, served, and refused in words."""

import http.server
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.setup import chosen, prepare_chosen
from base.errors import PrepareError, SettingsError, SetupError
from base.progress import silent
from base.settings import Settings
from rag import embed, prepare, scale
from rag.embed import Embedder
from rag.export_any import modules, prompts
from rag.hub import needed
from rag.library import DEMO, Library
from rag.rerank import READ, Reranker

FLOOR = Settings(home=Path()).floor
TEXT = "Vacation. Every employee has 25 days of annual leave. Taxi receipts are needed above 75 dollars."


@pytest.mark.parametrize(
    ("name", "dimensions", "precision", "slope"),
    [
        ("narrow", 256, "int8", (3, 6)),
        ("roberta", 384, "int8", (0.9, 1.1)),
        ("first", 384, "float32", (1.5, 3)),
        ("cased", 384, "int8", (0.99, 1.01)),
    ],
)
def test_other_models_are_prepared_and_served(
    made: Callable[[str], Path], name: str, dimensions: int, precision: str, slope: tuple[float, float]
) -> None:
    folder = made(name)
    note, one = prepare.read(folder / embed.NOTE), Embedder.load(folder)
    assert (one.name, one.label, one.dimensions, note["precision"]) == (folder.name, name, dimensions, precision)
    assert slope[0] < note["scale"][0] < slope[1]
    question = one.query("How many days off do I have?")
    spans = [(10, 53), (54, len(TEXT))]
    vectors, parts = one.embed_parts([TEXT, "word " * 900, ""], [spans, [], []])
    assert vectors.shape == (3, dimensions) and parts[0].shape == (2, dimensions) and len(parts[1]) == 0
    assert parts[0][0] @ question > parts[0][1] @ question
    assert np.allclose(np.linalg.norm([question, *vectors[:2], *parts[0]], axis=1), 1, atol=1e-3)
    # On the shipped model's scale, what is near is near and what is not is not.
    near, far = one.scaled(parts[0] @ question)
    assert near > 0.3 and far < 0.35 and near > far + 0.05
    assert "torch" not in sys.modules and "sentence_transformers" not in sys.modules


async def test_another_models_scale_keeps_refusal_sane(made: Callable[[str], Path], tmp_path: Path, prepared_models: Path) -> None:
    one = Embedder.load(made("narrow"))
    assert one.query("hello") @ one.query("who painted the Mona Lisa?") > 0.6, "its cosines alone would refuse nothing"
    library = await Library.open(Settings(tmp_path, models_dir=str(prepared_models)), one)
    await library.ingest([DEMO], "demo")
    for question in ("how quickly must I report a security incident?", "should I use a password manager?", "how do credit hours work?"):
        assert (await library.search(question, ("demo",), FLOOR)).passages, question
    for question in ("hello", "tell me a joke", "write a python function that reverses a string", "who painted the Mona Lisa?"):
        assert (await library.search(question, ("demo",), FLOOR)).passages == (), question
    await library.close()


def test_a_model_that_tells_nothing_apart_is_refused_and_remembered(variants: Path, prepared_models: Path) -> None:
    """A decoder that pools by its last token: exported like the original, and still no use."""
    one = prepare.source(prepared_models, "embedder", str(variants / "decoder"))
    with pytest.raises(PrepareError, match="does not tell related texts from others"):
        prepare.prepare(prepared_models, one)
    assert prepare.state(prepared_models, one, False)[0] == "unfit"
    ((kind, state, said),) = chosen(Settings(prepared_models.parent, embedder=str(variants / "decoder")))
    assert (kind, state) == ("embedder", "unfit") and "AUROC" in said


def test_other_weights_in_a_folder_are_another_model(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    first = prepare.source(tmp_path, "embedder", str(folder)).name
    (folder / "model.safetensors").write_bytes(b"another")
    second = prepare.source(tmp_path, "embedder", str(folder)).name
    assert first != second and first.startswith("mine-embedder-")
    prepared = tmp_path / second
    prepared.mkdir()
    (prepared / "embedder.json").write_text(json.dumps({"source": str(folder), "files": {}}))
    (folder / "model.safetensors").unlink()
    folder.rmdir()
    assert prepare.source(tmp_path, "embedder", str(folder)).name == second, "what was prepared outlives its folder"


async def test_what_cannot_be_had_is_said_and_stops_nothing(tmp_path: Path, models: Path) -> None:
    settings = Settings(tmp_path, models_dir=str(models.parent), offline=True, embedder="some/where", reranker=str(tmp_path / "none"))
    said = await prepare_chosen(settings)
    assert ["stay offline" in said[0], "There is no folder" in said[1]] == [True, True]
    assert [state for _, state, _ in chosen(settings)] == ["missing", "missing"]
    with pytest.raises(SettingsError, match="neither a whole path"):
        prepare.source(tmp_path, "embedder", "../models/mine")
    library = await Library.open(settings, embed.serving(settings.models, settings.embedder))
    assert "There is no folder" in library.notes and "Search goes on without it." in library.notes
    assert (await library.search("anything", ("shared",), FLOOR)).passages == ()
    await library.close()


@pytest.mark.parametrize(
    ("parts", "said"),
    [(["StaticEmbedding"], "built with StaticEmbedding"), (["Transformer", "Dense"], "does not pool"), (None, "no modules.json")],
)
def test_other_kinds_of_models_are_refused_by_name(tmp_path: Path, parts: list[str] | None, said: str) -> None:
    if parts is not None:
        (tmp_path / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.models.{part}"} for part in parts]))
    with pytest.raises(PrepareError, match=said):
        modules(tmp_path, "strange")


def test_prompts_are_the_models_own_or_its_familys() -> None:
    own = {"query": "", "document": "", "passage": "passage: "}
    assert prompts(own, None, "mine") == ("", "passage: ")
    assert prompts({"retrieval": "find: "}, "retrieval", "mine") == ("find: ", "find: ")
    assert prompts({"query": "", "document": ""}, None, "multilingual-e5-small ") == ("query: ", "passage: ")
    assert prompts({}, None, "multilingual-e5-large-instruct ")[1] == ""
    assert prompts({}, None, "bge-small-en-v1.5 ")[0].startswith("Represent this sentence")
    assert prompts({}, None, "paraphrase-multilingual-minilm-l12-v2 ") == ("", "")


def test_of_the_hubs_files_only_what_is_needed_is_fetched() -> None:
    offered = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "modeling.py"]
    more = ["1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "tokenizer.json", "sentencepiece.bpe.model"]
    assert needed([*offered, *more]) == sorted(
        [
            "config.json",
            "model.safetensors",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
            "tokenizer.json",
            "sentencepiece.bpe.model",
        ]
    )
    assert needed(["pytorch_model.bin"]) == ["pytorch_model.bin"]


@pytest.fixture
def hub(variants: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A model hub on the loopback that offers `acme/narrow`; yields the paths that were asked for."""
    source, asked, sha = variants / "narrow", list[str](), "c0ffee" + "0" * 34

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            files = [path for path in source.rglob("*") if path.is_file()]
            if not self.path.removeprefix("/api/models").startswith("/acme/narrow"):
                return self._send(b'{"error": "Repository not found"}', 404, {"X-Error-Code": "RepoNotFound"})
            if "/tree/" in self.path:
                tree = [
                    {"type": "file", "path": path.relative_to(source).as_posix(), "size": path.stat().st_size, "oid": path.name}
                    for path in files
                ]
                return self._send(json.dumps(tree).encode())
            if self.path.startswith("/api/"):
                return self._send(json.dumps({"id": "acme/narrow", "sha": sha, "siblings": []}).encode())
            file = source / self.path.partition(f"/resolve/{sha}/")[2]
            return self._send(file.read_bytes(), 200, {"ETag": f'"{file.name}-{file.parent.name}"', "X-Repo-Commit": sha})

        do_HEAD = do_GET

        def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield asked
        server.shutdown()
        thread.join()


def test_a_model_is_fetched_from_the_hub_during_set_up(tmp_path: Path, variants: Path, hub: list[str]) -> None:
    told = prepare.run("rag.hub", ("embedder", "acme/narrow", str(tmp_path / "to")), tmp_path, silent, "The model")
    folder = Path(told["folder"])
    assert folder.is_relative_to(tmp_path / "to")
    assert (folder / "model.safetensors").read_bytes() == (variants / "narrow" / "model.safetensors").read_bytes()
    assert (folder / "3_Dense" / "model.safetensors").is_file() and not (folder / "README.md").exists()
    with pytest.raises(PrepareError, match="knows no acme/nothing"):
        prepare.run("rag.hub", ("embedder", "acme/nothing", str(tmp_path / "to")), tmp_path, silent, "The model")
    count = len(hub)
    with pytest.raises(SetupError, match="stay offline"):
        prepare.prepare(tmp_path, prepare.source(tmp_path, "embedder", "acme/narrow"), offline=True)
    assert len(hub) == count


async def test_a_reranker_orders_the_first_candidates(
    made: Callable[..., Path], variants: Path, prepared_models: Path, tmp_path: Path
) -> None:
    made("cross", "reranker")
    plain = Settings(tmp_path / "home", models_dir=str(prepared_models), demo=False)
    with_one = replace(plain, reranker=str(variants / "cross"))
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(40):
        (docs / f"{number}.txt").write_text(f"Annual leave note {number}: employees take leave days each year.")
    # The words of the question, but little of its sense.
    (docs / "odd.txt").write_text("Carryover of cucumbers; an annual balance; leave the unused ones at the door; how odd they become.")
    query = "what becomes of unused annual leave balance carryover?"
    firsts, founds = [], []
    for settings in (plain, with_one):
        library = await Library.open(settings, embed.serving(prepared_models, ""))
        await library.ingest([docs])
        found = await library.search(query, ("shared",), FLOOR, 40)
        assert library.notes == ""
        assert [one.score for one in found.passages] == sorted((one.score for one in found.passages), reverse=True)
        firsts.append(found.passages[0].document)
        founds.append(found)
        await library.close()
    before, after = ([one.id for one in found.passages] for found in founds)
    assert before != after and set(before) == set(after) and before[READ:] == after[READ:] and founds[0].best == founds[1].best
    reranker = Reranker.load(made("cross", "reranker"))
    scores = reranker.scores(query, [one.text for one in founds[1].passages[:READ]])
    assert all(scores[:-1] >= scores[1:] - 0.2) and firsts[1] == "odd"
    assert reranker.scores("long " * 3000, ["word " * 3000]).shape == (1,)


async def test_a_broken_reranker_does_not_take_the_search_down(
    made: Callable[..., Path], variants: Path, prepared_models: Path, tmp_path: Path
) -> None:
    good = made("cross", "reranker")
    models = tmp_path / "models"
    broken = models / good.name
    broken.mkdir(parents=True)
    (models / embed.NAME).symlink_to(prepared_models / embed.NAME)
    for name in ("reranker.json", "tokenizer.json"):
        (broken / name).write_bytes((good / name).read_bytes())
    (broken / "model.onnx").write_bytes(b"\0" * (good / "model.onnx").stat().st_size)
    settings = Settings(tmp_path, models_dir=str(models), reranker=str(variants / "cross"))
    library = await Library.open(settings, embed.serving(models, ""))
    await library.ingest([DEMO / "leave.md"])
    for _ in range(2):
        assert (await library.search("how much annual leave do I get?", ("shared",), FLOOR)).passages
    assert "reranking model is damaged" in library.notes
    await library.close()


def test_the_pairs_are_of_the_demo() -> None:
    pairs, demo = scale.pairs(), " ".join("".join(file.read_text(encoding="utf-8") for file in DEMO.glob("*.md")).split())
    assert len({pair.question for pair in pairs}) == len(pairs) >= 60
    assert all(pair.text.split("\n")[-1].lstrip("- 0123456789.")[:25].strip() in demo for pair in pairs[::9])
