"""A torch model as an ONNX graph, and that graph with int8 weights. Runs in the child process of rag.export; knows no model's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SAMPLES = ("A short one.", "A rather longer second sample, so that the first is padded and the mask has work to do.")
CHECKS = (
    "How many days of leave does a new employee get?",
    "Report a suspected security incident within one hour, even when you are not sure that it is one.",
    "def add(a, b): return a + b",
)
LOWEST = 0.98
"""Cosine to the torch model under which the int8 graph is not put in place (measured on 28 texts: .991 to .995)."""
LARGEST = 450_000_000
"""Parameters: four bytes each until they are compressed, and an ONNX file ends at 2 GB."""


def export(model: Any, batch: dict[str, Any], outputs: tuple[str, ...], target: Path) -> None:
    """Trace `model` on a padded batch of at least two texts. All inputs and "hidden" are (batch, tokens)."""
    import torch

    both = {0: "batch", 1: "tokens"}
    axes = {name: both if name in batch or name == "hidden" else {0: "batch"} for name in (*batch, *outputs)}
    # The TorchScript exporter: 3 s against 8 s, and the newer one's graph repeats a name when it is quantised (torch 2.13).
    torch.onnx.export(
        model,
        tuple(batch.values()),
        str(target),
        input_names=list(batch),
        output_names=list(outputs),
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


def quantise(plain: Path, target: Path) -> None:
    """Write the graph with int8 weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # reduce_range: 7-bit weights cannot overflow on processors without VNNI, and cost .001 of cosine on those with it.
    quantize_dynamic(str(plain), str(target), per_channel=True, weight_type=QuantType.QInt8, reduce_range=True)
