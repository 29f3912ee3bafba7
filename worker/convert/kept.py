"""The rounding constants of a pack, for another one that shares layers with it bit for bit."""

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
