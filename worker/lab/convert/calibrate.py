"""The constants that the int8 form rounds with: measured, or taken over from another pack.

How far the channels after each LayerNorm reach is what its constant scales are made from.

No data is needed. What these channels reach is mostly a matter of the LayerNorm's own weights and of a few
outlier tokens, and random words from the model's vocabulary show it as well as real texts do
(docs/explanation/int8.md
has the comparison).

A pack that shares layers with another one bit for bit takes the other's constants (`rounding_of`), so that
what they share gives the same results to the last bit.
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
    """The float32 form, which also gives out each LayerNorm's rows under their name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def normed(self, graph: Graph, name: str, rows: str, readers: Floats) -> Ready:
        """Give the rows' largest magnitude a channel out: (1, dim), over all rows of the batch."""
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
    # Without their gates: what a branch's layers reach is to be seen, and without a branch there is nothing.
    branched = [replace(head, gate=None) for head in token_heads(heads) if head.branch is not None]
    graph = Encoder(sizes, weights, recorder).build([*text_heads(heads), *branched])
    scratch.write_bytes(graph.SerializeToString())
    session = Session(scratch, recorder.names)
    largest = {name: np.zeros(sizes.dim, np.float32) for name in recorder.names}
    # One text a pass: no padding, whose rows would count too.
    for ids in _random_texts(Tokenizer(tokenizer, sizes.max_position_embeddings), sizes.vocab_size):
        for name, values in zip(recorder.names, session.run([ids]), strict=True):
            np.maximum(largest[name], values[0], out=largest[name])
    scratch.unlink()
    return largest


def _random_texts(tokenizer: Tokenizer, vocab_size: int) -> Iterator[list[int]]:
    """Yield token numbers of texts of random words, always the same ones for a vocabulary."""
    words = tokenizer.words()
    random = np.random.default_rng(SEED)
    for number in range(TEXTS):
        count = LONG if number % LONG_EVERY == 0 else int(random.integers(SHORTEST, LONGEST))
        text = " ".join(words[index] for index in random.integers(0, len(words), count))
        ids = tokenizer([text + " ." if number % 2 else text])[0].ids
        yield [min(token, vocab_size - 1) for token in ids]


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
