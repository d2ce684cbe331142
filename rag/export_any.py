"""Makes any sentence-transformers model, and any cross-encoder with one label, into what rag.embed and rag.rerank serve.

Runs in the child process of rag.export, and is imported by nothing else: it imports torch. What it does not support it refuses
in words. What it has made is run as it will be served, and compared with the original.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from base.errors import PrepareError
from base.files import write_atomic
from rag import embed, rerank, scale
from rag.child import Tell
from rag.graph import CHECKS, LARGEST, LOWEST, SAMPLES, export, quantise
from rag.prepare import label

PARTS = frozenset({"Transformer", "Pooling", "Dense", "LayerNorm", "Dropout", "Normalize"})
POOLINGS = ("mean", "cls", "max", "lasttoken")
MOST_TOKENS = 512
"""A passage has 200 tokens and its headings; longer inputs only cost memory."""
LEAST_TOKENS = 256
"""Some models say 128 because their training texts were short; cut there, a third of a passage would not be found."""
FAMILIES = (
    (r"e5[\w.-]*instruct", "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ", ""),
    (r"\be5-", "query: ", "passage: "),
    (r"bge-(small|base|large)-en|mxbai-embed", "Represent this sentence for searching relevant passages: ", ""),
    (r"bge-(small|base|large)-zh", "为这个句子生成表示以用于检索相关文章：", ""),
    (r"nomic-embed-text", "search_query: ", "search_document: "),
)
"""Prompts of models whose files do not tell them: a pattern of names, for questions, for passages."""
OTHER = "Choose another model, such as intfloat/multilingual-e5-small, or leave the setting empty for the shipped one."
OFF = "Choose another model, such as cross-encoder/ms-marco-MiniLM-L6-v2, or leave the setting empty for none."
LONG = " ".join(["The travel team answers within three days, and sooner when a flight leaves."] * 60)


def make(kind: str, folder: Path, source: Path, setting: str, models: Path, tell: Tell) -> dict[str, Any]:
    """Prepare the model in `source` in `folder`; returns what its note says. Raises PrepareError."""
    name = label(setting)
    with _refusing(name, OTHER if kind == "embedder" else OFF):
        return _embedder(folder, source, name, models, tell) if kind == "embedder" else _reranker(folder, source, name, tell)


@contextmanager
def _refusing(name: str, remedy: str) -> Iterator[None]:
    """What the libraries say of a model they cannot load."""
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, AttributeError) as error:
        if "trust_remote_code" in str(error):
            raise PrepareError(f"{name} brings program code of its own, which Relay does not run.", remedy) from error
        said = str(error).strip().splitlines() or [""]
        raise PrepareError(f"{name} cannot be loaded ({type(error).__name__}: {said[0][:200]}).", remedy) from error


def _embedder(folder: Path, source: Path, name: str, models: Path, tell: Tell) -> dict[str, Any]:
    modules(source, name)
    tell(f"Loading {name}", 0.05)
    original = _sentence_model(source)
    facts = _facts(original, source, name)
    tell(f"Exporting {name}", 0.3)
    batch = _batch(original.tokenizer, list(SAMPLES), ())
    plain = folder / "plain.onnx"
    export(_wrapped(original, facts["hidden"]), batch, ("embedding", "hidden") if facts["hidden"] else ("embedding",), plain)
    tell(f"Compressing {name}", 0.5)
    _tokenizer(original.tokenizer, folder, name, OTHER)
    write_atomic(folder / embed.NOTE, json.dumps(facts))
    facts["precision"] = _smallest(plain, folder / "model.onnx", lambda: _near(original, facts, folder), name, OTHER)
    tell(f"Measuring {name}", 0.8)
    facts["scale"] = _scale(folder, models, name)
    return facts


def modules(source: Path, name: str) -> None:
    """Raise PrepareError when the model has parts that are not known here."""
    file = source / "modules.json"
    if not file.is_file():
        raise PrepareError(f"{name} is no sentence-transformers model: it has no modules.json.", OTHER)
    found = [str(one["type"]).rpartition(".")[2] for one in json.loads(file.read_text(encoding="utf-8"))]
    if strange := [one for one in found if one not in PARTS]:
        raise PrepareError(f"{name} is built with {strange[0]}, which Relay cannot prepare.", OTHER)
    if found[:2] != ["Transformer", "Pooling"]:
        raise PrepareError(f"{name} does not pool the vectors of a transformer.", OTHER)


def _sentence_model(source: Path) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    # Eager attention: the exporter turns it into plain MatMul and Softmax, which the quantiser knows.
    kept = {"attn_implementation": "eager", "dtype": torch.float32}
    return SentenceTransformer(str(source), device="cpu", local_files_only=True, model_kwargs=kept).eval()


def _facts(original: Any, source: Path, name: str) -> dict[str, Any]:
    """What the note says before anything is measured."""
    pooling, rest = original[1], [type(part).__name__ for part in list(original)[2:]]
    if pooling.pooling_mode not in POOLINGS:
        raise PrepareError(f"{name} pools by {pooling.pooling_mode}; Relay knows {', '.join(POOLINGS)}.", OTHER)
    query, passage = prompts(original.prompts, original.default_prompt_name, names(source, name))
    if not pooling.include_prompt and (query or passage):
        raise PrepareError(f"{name} leaves its prompt out when it pools, which Relay cannot do.", OTHER)
    _bound(original, name, OTHER)
    original.max_seq_length = length(original.tokenizer, original[0].model)
    hidden = pooling.pooling_mode == "mean" and set(rest) <= {"Normalize", "Dropout"}
    return {
        "dimensions": int(original.get_embedding_dimension()),
        "max_tokens": int(original.max_seq_length),
        "pad": int(original.tokenizer.pad_token_id or 0),
        "query": query,
        "passage": passage,
        "pooling": pooling.pooling_mode,
        "hidden": hidden,
    }


def names(source: Path, name: str) -> str:
    """What the model is called, and what the model was called that it was made from."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8")) if (source / "config.json").is_file() else {}
    return f"{name} {config.get('_name_or_path', '')}".lower()


def prompts(given: dict[str, str], default: str | None, known_as: str) -> tuple[str, str]:
    """(for questions, for passages): the model's own, else those of its family."""
    query = given.get("query") or ""
    passage = next((given[key] for key in ("document", "passage", "corpus") if given.get(key)), "")
    if not query and not passage and default:
        query = passage = given.get(default) or ""
    if not query and not passage:
        return next(((asks, tells) for pattern, asks, tells in FAMILIES if re.search(pattern, known_as)), ("", ""))
    return query, passage


def length(tokenizer: Any, model: Any) -> int:
    """Tokens it is given: its own bound, within ours and within its table of positions."""
    room = int(getattr(model.config, "max_position_embeddings", 0) or MOST_TOKENS)
    for path, part in model.named_modules():
        # The family of RoBERTa begins to count behind the number of its padding.
        if path.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            room = part.num_embeddings - part.padding_idx - 1
    own = int(tokenizer.model_max_length or MOST_TOKENS)
    return min(room, MOST_TOKENS, max(own, LEAST_TOKENS))


def _bound(model: Any, name: str, remedy: str) -> None:
    count = sum(part.numel() for part in model.parameters())
    if count > LARGEST:
        raise PrepareError(f"{name} is too large: {count // 10**6} million parameters, where {LARGEST // 10**6} can be prepared.", remedy)


def _batch(tokenizer: Any, first: Sequence[str], second: Sequence[str]) -> dict[str, Any]:
    """Two padded texts, or pairs of texts: ids and mask, and types where the model was trained with them for pairs."""
    tokenizer.padding_side = "right"
    batch = tokenizer(list(first), *([list(second)] if second else []), padding=True, return_tensors="pt")
    wanted = ("input_ids", "attention_mask", *(("token_type_ids",) if second and "token_type_ids" in batch else ()))
    return {name: batch[name] for name in wanted}


def _wrapped(original: Any, hidden: bool) -> Any:
    """The sentence model as one torch module: tokens and mask in, unit vector out, with `hidden` the tokens' own too."""
    import torch

    transformer, types = original[0].model, "token_type_ids" in original.tokenizer.model_input_names
    if hasattr(transformer.config, "use_cache"):
        transformer.config.use_cache = False

    class Sentence(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transformer, self.rest = transformer, torch.nn.ModuleList(list(original)[1:])

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            more = {"token_type_ids": torch.zeros_like(input_ids)} if types else {}
            tokens = self.transformer(input_ids=input_ids, attention_mask=attention_mask, **more).last_hidden_state
            features = {"token_embeddings": tokens, "attention_mask": attention_mask}
            for part in self.rest:
                features = part(features)
            vector = torch.nn.functional.normalize(features["sentence_embedding"], dim=1)
            return (vector, tokens) if hidden else vector

    # eval() on the wrapper itself: the exporter restores the wrapper's mode afterwards and would turn dropout on.
    return Sentence().eval()


def _tokenizer(tokenizer: Any, folder: Path, name: str, remedy: str) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise PrepareError(f"{name} has no tokenizer that works without Python code (tokenizer.json).", remedy)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def _smallest(plain: Path, target: Path, near: Any, name: str, remedy: str) -> str:
    """int8 when it is `near` the original, else float32; a graph that is near in neither is not put in place."""
    quantise(plain, target)
    if near()[0]:
        plain.unlink()
        return "int8"
    plain.replace(target)
    good, figure = near()
    if not good:
        raise PrepareError(f"{name} as exported differs from the original ({figure:.3f}).", remedy)
    return "float32"


def _near(original: Any, facts: dict[str, Any], folder: Path) -> tuple[bool, float]:
    """(near enough, lowest cosine) of what is served to what sentence-transformers gives.

    A model whose texts are all alike to it is held to more: the error counts against its distance of unrelated texts.
    """
    served, texts = embed.Embedder.load(folder), [*CHECKS, *SAMPLES, LONG, "Wie viele Urlaubstage habe ich? ÄÖÜ İstanbul 東京"]
    made = (*served.embed_parts(texts, [[] for _ in texts])[0], *map(served.query, CHECKS))
    told = original.encode(texts, prompt=facts["passage"], normalize_embeddings=True)
    asked = original.encode(list(CHECKS), prompt=facts["query"], normalize_embeddings=True)
    lowest = min(float(one @ other) for one, other in zip(made, (*told, *asked), strict=True))
    apart = 1 - float(np.mean((told[:3] @ told[:3].T)[np.triu_indices(3, 1)]))
    return lowest >= 1 - (1 - LOWEST) * min(1.0, max(apart, 0.05)), lowest


def _scale(folder: Path, models: Path, name: str) -> list[float]:
    """Slope and shift onto the shipped model's cosines."""
    shipped = scale.measured(embed.Embedder.load(models / embed.NAME))
    own = scale.measured(embed.Embedder.load(folder))
    return list(scale.fitted(own, shipped, name, OTHER))


def _reranker(folder: Path, source: Path, name: str, tell: Tell) -> dict[str, Any]:
    from transformers import AutoConfig, AutoTokenizer

    tell(f"Loading {name}", 0.05)
    labels = AutoConfig.from_pretrained(str(source), local_files_only=True).num_labels
    if labels != 1:
        raise PrepareError(f"{name} gives {labels} figures for a pair; a reranker gives one.", OFF)
    tokenizer, model = AutoTokenizer.from_pretrained(str(source), local_files_only=True), _classifier(source)
    _bound(model, name, OFF)
    tell(f"Exporting {name}", 0.3)
    batch = _batch(tokenizer, CHECKS[:2], SAMPLES)
    plain = folder / "plain.onnx"
    export(_scorer(model, tuple(batch)), batch, ("score",), plain)
    tell(f"Compressing {name}", 0.5)
    _tokenizer(tokenizer, folder, name, OFF)
    facts: dict[str, Any] = {"max_tokens": length(tokenizer, model), "pad": int(tokenizer.pad_token_id or 0), "inputs": list(batch)}
    write_atomic(folder / rerank.NOTE, json.dumps(facts))
    facts["precision"] = _smallest(plain, folder / "model.onnx", lambda: _agrees(model, tokenizer, facts, folder), name, OFF)
    tell(f"Measuring {name}", 0.8)
    scale.ranks(rerank.Reranker.load(folder).scores, name, OFF)
    return facts


def _classifier(source: Path) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    kept = {"attn_implementation": "eager", "dtype": torch.float32, "local_files_only": True}
    model, told = AutoModelForSequenceClassification.from_pretrained(str(source), output_loading_info=True, **kept)
    if any(not key.startswith(f"{model.base_model_prefix}.") for key in told["missing_keys"]):
        raise PrepareError(f"{label(str(source))} has no layer that scores a pair: it is no cross-encoder.", OFF)
    return model.eval()


def _scorer(model: Any, inputs: tuple[str, ...]) -> Any:
    import torch

    class Scorer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            return self.model(**dict(zip(inputs, values, strict=True))).logits[:, 0]

    return Scorer().eval()


def _agrees(model: Any, tokenizer: Any, facts: dict[str, Any], folder: Path) -> tuple[bool, float]:
    """(near enough, correlation) of the served scores with the original's, over related and unrelated pairs."""
    import torch

    served, some = rerank.Reranker.load(folder), scale.pairs()[::6]
    texts = [f"{one.under}\n{one.text}" for one in some]
    made = np.concatenate([served.scores(one.question, texts) for one in some])
    pairs = [(one.question, text) for one in some for text in texts]
    cut = {"padding": True, "truncation": True, "max_length": facts["max_tokens"], "return_tensors": "pt"}
    with torch.no_grad():
        parts = [
            model(**tokenizer([a for a, _ in pairs[at : at + 16]], [b for _, b in pairs[at : at + 16]], **cut)).logits[:, 0]
            for at in range(0, len(pairs), 16)
        ]
    figure = float(np.corrcoef(made, torch.cat(parts).numpy())[0, 1])
    return figure >= LOWEST, figure
