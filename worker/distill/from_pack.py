"""A pack as a checkpoint in memory: its weights as the graph has them, rounded where it is int8."""

import json
from pathlib import Path

import numpy as np

from worker.classify import load_pack
from worker.classify.pack import CONFIG, GRAPH, TOKENIZER
from worker.convert.architecture import read_architecture
from worker.distill.folder import Checkpoint, Tensors, read_checkpoint
from worker.evaluation.heads import HeadInfo, read_heads
from worker.evaluation.score import is_pack
from worker.export.graph import GraphWeights, head_weights, trunk_weights


def read_model(folder: Path) -> Checkpoint:
    """Read a checkpoint folder or a pack.

    Raises:
        CheckpointError: neither is there, or it is of another architecture.
        PackError, ExportError: a pack that is damaged, or whose graph this project did not write.
    """
    return read_pack(folder) if folder.is_dir() and is_pack(folder) else read_checkpoint(folder)


def read_pack(folder: Path) -> Checkpoint:
    """Read a verified pack. What its graph rounds besides the weights has no place in a checkpoint."""
    pack = load_pack(folder)
    path = folder / CONFIG
    config = json.loads(path.read_bytes())
    sizes = read_architecture(config, path)
    graph = GraphWeights(folder / GRAPH)
    tensors: Tensors = dict(trunk_weights(graph, sizes.n_layers, sizes.head_dim))
    for name, head in read_heads(config, path).items():
        found = _token_head(graph, head) if head.by_token else head_weights(graph, name)
        tensors |= {f"heads.{name}.{part}": values for part, values in found.items()}
    tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
    return Checkpoint(f"{pack.name}@{pack.revision}", config, tensors, tokenizer)


def _token_head(graph: GraphWeights, head: HeadInfo) -> Tensors:
    """Return a token head's tensors: the graph multiplies each depth by its own columns of the weight."""
    first = f"{head.name}.pre_classifier"
    columns = [
        graph.linear(f"{first}.{number}", f"distilbert.transformer.layer.{layer}.input.smooth")
        for number, layer in enumerate(head.layers)
    ]
    return {
        "pre_classifier.weight": np.concatenate(columns, axis=1),
        "pre_classifier.bias": graph.get(f"{first}.0.bias").astype(np.float32),
        "classifier.weight": graph.get(f"{head.name}.classifier.weight").astype(np.float32),
        "classifier.bias": graph.get(f"{head.name}.classifier.bias").astype(np.float32),
    }
