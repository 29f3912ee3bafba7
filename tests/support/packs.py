"""Changed packs whose manifest vouches for them all the same: what somebody else could hand over."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from worker.model.pack import CONFIG, GRAPH, MANIFEST, file_entry

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def vouch(pack: Path) -> Path:
    """Write a manifest that fits the files as they are now."""
    manifest = json.loads((pack / MANIFEST).read_text())
    manifest["files"] = {name: file_entry(pack / name) for name in manifest["files"]}
    (pack / MANIFEST).write_text(json.dumps(manifest))
    return pack


def with_config(pack: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the configuration."""
    config = json.loads((pack / CONFIG).read_text())
    change(config)
    (pack / CONFIG).write_text(json.dumps(config))
    return vouch(pack)


def with_graph(pack: Path, model: onnx.ModelProto | bytes) -> Path:
    """Put another graph into a pack."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    (pack / GRAPH).write_bytes(content)
    return vouch(pack)


def graph_of(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], outputs: dict[str, int], **more: Any
) -> onnx.ModelProto:
    """A graph with a pack's inputs, and one float output (batch, labels) for each entry of `outputs`."""
    inputs = [
        helper.make_tensor_value_info("ids", INT32, ["batch", "longest"]),
        helper.make_tensor_value_info("lengths", INT32, ["batch"]),
    ]
    given = [helper.make_tensor_value_info(name, FLOAT, ["batch", count]) for name, count in outputs.items()]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "g", inputs, given, constants)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)
