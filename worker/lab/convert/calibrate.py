"""The constants for int8 rounding: measured, or copied from another pack.

The constant scales are computed from the largest magnitude of each channel after each LayerNorm.

No data is needed. These magnitudes depend mostly on the LayerNorm's weights and on a few outlier tokens, and
random words from the model's vocabulary show them as well as real texts do (docs/explanation/int8.md has the
comparison).

A pack that shares layers with another one copies the other's constants (`rounding_of`), so that the shared
layers give bit-identical results.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from worker.heads import Head, text_heads, token_heads
from worker.lab.convert.architecture import Architecture
from worker.lab.convert.encoder import Encoder
from worker.lab.convert.nodes import Graph
from worker.lab.convert.products import FloatProducts, Ready
from worker.lab.convert.weights import Floats, Weights
from worker.model.pack import GRAPH
from worker.model.session import Session
from worker.model.tokenizer import Tokenizer

TEXTS, SEED = 192, 20_240_229
SHORTEST, LONGEST = 1, 60
"""Words in a text; a few texts are made much longer, for the later positions."""
LONG_EVERY, LONG = 24, 400


class Recorder(FloatProducts):
    """The float32 form, which also outputs each LayerNorm's largest magnitudes under its name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def normed(self, graph: Graph, name: str, rows: str, readers: Floats) -> Ready:
        """Also output each channel's largest magnitude over all rows of the batch, (1, dim)."""
        largest = graph.add("ReduceMax", graph.add("Abs", rows), graph.ints(0))
        graph.output(name, largest, [1, readers.shape[1]])
        self.names.append(name)
        return super().normed(graph, name, rows, readers)


def largest_magnitudes(
    sizes: Architecture, weights: Weights, heads: Sequence[Head], tokenizer: Path, scratch: Path
) -> Mapping[str, Floats]:
    """Run random texts through the float32 form and return each channel's largest magnitude, by name.

    `tokenizer` is the `tokenizer.json` to use, `scratch` a file to write the float32 graph to.
    """
    recorder = Recorder()
    # Without gates, so that a branch's layers always run; other token heads have nothing to measure.
    branched = [replace(head, gate=None) for head in token_heads(heads) if head.branch is not None]
    graph = Encoder(sizes, weights, recorder).build([*text_heads(heads), *branched])
    scratch.write_bytes(graph.SerializeToString())
    session = Session(scratch, recorder.names)
    largest = {name: np.zeros(sizes.dim, np.float32) for name in recorder.names}
    # One text per pass: padding rows would count too.
    for ids in _random_texts(Tokenizer(tokenizer, sizes.max_position_embeddings), sizes.vocab_size):
        for name, values in zip(recorder.names, session.run([ids]), strict=True):
            np.maximum(largest[name], values[0], out=largest[name])
    scratch.unlink()
    return largest


def _random_texts(tokenizer: Tokenizer, vocab_size: int) -> Iterator[list[int]]:
    """Yield the token ids of texts of random words, always the same ones for a vocabulary."""
    words = tokenizer.words()
    random = np.random.default_rng(SEED)
    for number in range(TEXTS):
        count = LONG if number % LONG_EVERY == 0 else int(random.integers(SHORTEST, LONGEST))
        text = " ".join(words[index] for index in random.integers(0, len(words), count))
        ids = tokenizer([text + " ." if number % 2 else text])[0].ids
        yield [min(token, vocab_size - 1) for token in ids]


Rounding = Mapping[str, tuple[Floats, float]]
"""Each LayerNorm's constants by its name: channel factors (dim,) and the step."""

_SMOOTH = ".smooth"
_NEAR = 1e-5
"""The relative error allowed for a float that was read from one graph and is written to another."""


def rounding_of(pack: Path) -> Rounding:
    """Return the rounding constants of a pack's graph; a float32 pack has none."""
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
    """Replace every constant of `model` that differs from the pack's only by rounding with the pack's."""
    theirs = {tensor.name: tensor for tensor in onnx.load(pack / GRAPH).graph.initializer}
    for tensor in model.graph.initializer:
        other = theirs.get(tensor.name)
        if other is not None and other.dims == tensor.dims and other.data_type == tensor.data_type:
            ours, kept = numpy_helper.to_array(tensor), numpy_helper.to_array(other)
            if np.array_equal(ours, kept) or (
                ours.dtype == np.float32 and np.allclose(ours, kept, rtol=_NEAR, atol=0)
            ):
                tensor.CopyFrom(other)
