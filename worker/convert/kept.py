"""What a pack is made of, for another one that shares layers with it bit for bit."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from worker.classify.pack import GRAPH
from worker.convert.weights import Floats

Rounding = Mapping[str, tuple[Floats, float]]
"""Each LayerNorm's constants by its name: channels' factors (dim,) and the step after them."""

_SMOOTH = ".smooth"
_NEAR = 1e-5
"""How far a float may be off, as a share, that went out of a graph and comes back into one."""


def rounding_of(pack: Path) -> Rounding:
    """Return the constants that a pack's graph rounds with; a float32 pack has none."""
    graph = onnx.load(pack / GRAPH).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    rounded = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "QuantizeLinear"}
    found = {}
    for node in graph.node:
        smooth = next((name for name in node.input if name.endswith(_SMOOTH)), None)
        if smooth is not None and node.output[0] in rounded:
            factors = numpy_helper.to_array(constants[smooth])
            step = numpy_helper.to_array(constants[rounded[node.output[0]]])
            found[smooth.removesuffix(_SMOOTH)] = (np.asarray(factors, np.float32), float(step))
    return found


def take_over(model: onnx.ModelProto, pack: Path) -> None:
    """Give every constant of `model` that a pack has too, to the last digits but one, the pack's own bits."""
    theirs = {tensor.name: tensor for tensor in onnx.load(pack / GRAPH).graph.initializer}
    for tensor in model.graph.initializer:
        other = theirs.get(tensor.name)
        if other is not None and other.dims == tensor.dims and other.data_type == tensor.data_type:
            ours, kept = numpy_helper.to_array(tensor), numpy_helper.to_array(other)
            if np.array_equal(ours, kept) or (
                ours.dtype == np.float32 and np.allclose(ours, kept, rtol=_NEAR, atol=0)
            ):
                tensor.CopyFrom(other)
