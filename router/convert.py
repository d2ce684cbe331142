"""Turns the starter's GGUF file into an ONNX Runtime GenAI folder: `python -m router.convert GGUF OUT PRECISION MAX_LENGTH`.

Runs as a child process, for it imports torch and transformers, which a chat must never do. Knows the file's format and
the model builder; knows nothing of where models live, who asks, or what makes a folder complete. Says how far it is as
JSON lines on standard output: {"label": …, "fraction": …}; whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}
"""llama.cpp's name of a part → Hugging Face's."""
EMBEDDING = "model.embed_tokens.weight"
BLOCK = 32
"""Weights that share one scale, in the GGUF file as in the int8 folder."""


def main(arguments: list[str]) -> None:
    """Convert; raises what the libraries raise, and the parent shows the last line."""
    gguf, out, precision, max_length = Path(arguments[0]), Path(arguments[1]), arguments[2], int(arguments[3])
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    threading.Thread(target=_die_with_parent, daemon=True).start()
    tell, answers = _reporter(), contextlib.redirect_stdout(sys.stderr)
    with answers, tempfile.TemporaryDirectory(prefix="work.", dir=out) as work:
        source = Path(work) / "hf"
        source.mkdir()
        tell("reading the weights", 0.05)
        write_source(gguf, source)
        tell("building the model", 0.4)
        build(source, out, precision, Path(work) / "cache")
        if precision == "int8":
            tell("quantizing the word table", 0.85)
            quantize_embedding(out / "model.onnx")
        limit_length(out / "genai_config.json", max_length)
    tell("done", 1.0)


def _reporter() -> Any:
    """A function that writes progress to the real standard output, wherever the libraries' prints go."""
    stream = sys.stdout

    def tell(label: str, fraction: float) -> None:
        print(json.dumps({"label": label, "fraction": fraction}), file=stream, flush=True)

    return tell


def _die_with_parent() -> None:
    """The parent holds our standard input open; its end means that it is gone, however it went."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 1024):
            pass
    os._exit(3)


def write_source(gguf: Path, folder: Path) -> None:
    """Write `folder` as transformers would have saved the model: config, tokenizer with chat template, float32 weights."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file
    from transformers import AutoTokenizer

    reader = GGUFReader(gguf)
    facts = {name: field.contents() for name, field in reader.fields.items() if name.startswith("llama.")}
    config = model_config(facts)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = dict(_dequantized(tensor, heads) for tensor in reader.tensors)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(str(folder))


def model_config(facts: dict[str, Any]) -> dict[str, Any]:
    """A Hugging Face Llama configuration from the GGUF's `llama.…` fields."""
    width, heads = facts["llama.embedding_length"], facts["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "vocab_size": facts["llama.vocab_size"],
        "max_position_embeddings": facts["llama.context_length"],
        "rms_norm_eps": 1e-5,  # 9.99e-06 in the file, a float32
        "rope_theta": facts["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "dtype": "float32",
    }


def _dequantized(tensor: Any, heads: dict[str, int]) -> tuple[str, Any]:
    """The tensor's Hugging Face name and float32 values."""
    import numpy as np
    from gguf import dequantize

    values = dequantize(tensor.data, tensor.tensor_type)
    *block, part, _weight = tensor.name.split(".")
    if part in heads:
        # llama.cpp interleaves the two halves of each head for its rotary kernel: put them back.
        values = values.reshape(heads[part], -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    name = f"model.layers.{block[1]}.{NAMES[part]}" if block else NAMES[part]
    return f"{name}.weight", np.ascontiguousarray(values, dtype=np.float32)


def build(source: Path, out: Path, precision: str, cache: Path) -> None:
    """Run the model builder, which owns its process: it reads sys.argv and prints."""
    import runpy

    # prune_lm_head: a prompt needs the last token's logits only; all of them cost 200 KB a token.
    options = ["--extra_options", "prune_lm_head=true"]
    sys.argv = ["builder", "-i", str(source), "-o", str(out), "-p", precision, "-e", "cpu", "-c", str(cache), *options]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)


def quantize_embedding(model_file: Path) -> None:
    """Keep the word table in int8 too, as a copy of the output layer, to which it is tied in this model.

    The builder quantizes the table in 4 bits only and would leave 113 MB of float32. A copy instead of one shared matrix,
    for the table is then read from the mapped file, row by row, and costs 28 MB of disk and next to no memory; a shared one
    stayed in memory beside the packed output layer (27 MB).
    """
    import onnx
    from onnx import helper

    model = onnx.load(str(model_file))
    graph = model.graph
    head = next(node for node in graph.node if node.op_type == "MatMulNBits" and "lm_head" in node.name)
    lookup = next(node for node in graph.node if node.op_type == "Gather" and node.input[0] == EMBEDDING)
    matrix, scales = (_copy(graph, head.input[place], name) for place, name in ((1, "embedding.matrix"), (2, "embedding.scales")))
    scales.dims[:] = [*scales.dims, 1]
    shape = helper.make_tensor("embedding.shape", onnx.TensorProto.INT64, [3], [0, 0, -1])
    blocks = helper.make_node(
        "GatherBlockQuantized",
        [matrix.name, lookup.input[1], scales.name],
        ["embedding.blocks"],
        name="/embedding/blocks",
        domain="com.microsoft",
        bits=8,
        block_size=BLOCK,
        gather_axis=0,
        quantize_axis=2,
    )
    flat = helper.make_node("Reshape", ["embedding.blocks", shape.name], [lookup.output[0]], name="/embedding/flat")
    place = list(graph.node).index(lookup)
    graph.node.remove(lookup)
    graph.node.insert(place, blocks)
    graph.node.insert(place + 1, flat)
    graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == EMBEDDING))
    graph.initializer.extend([matrix, scales, shape])
    data = f"{model_file.name}.data"
    (model_file.parent / data).unlink()
    onnx.save(model, str(model_file), save_as_external_data=True, location=data)


def _copy(graph: Any, source: str, name: str) -> Any:
    """A copy, under another name, of one of the graph's tensors."""
    tensor = next(tensor for tensor in graph.initializer if tensor.name == source)
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def limit_length(config_file: Path, max_length: int) -> None:
    """Write the bound of prompt and answer together; the cache grows to what a request asks for, up to it."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["search"]["max_length"] = max_length
    # Reading a prompt in pieces: 0.91 s instead of 1.12 s for 731 tokens, and 95 MB less for 1,931 (int8, 2 cores).
    config["search"]["chunk_size"] = 128
    config["model"]["context_length"] = max_length
    config_file.write_text(json.dumps(config, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
