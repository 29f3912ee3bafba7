"""A graph that lets texts go after an inner layer: what is undecided is gathered, and only that goes on."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from worker.classify.session import IDS, LENGTHS
from worker.convert.architecture import Architecture, CheckpointHeads
from worker.convert.encoder import Encoder
from worker.convert.heads import HeadWriter
from worker.convert.layers import Mask
from worker.convert.nodes import INT64
from worker.convert.products import Products
from worker.convert.weights import Weights

EARLY, UNDECIDED = "early_", "undecided"
"""Outputs: each early head's logits of all texts, and the numbers of the texts that went on."""

Layers = Mapping[str, tuple[NDArray[np.float32], ...]]
"""Early heads by name: weight and bias of both of their layers."""


class EarlyExitEncoder(Encoder):
    """Writes the trunk with a way out after `layer` (from 1)."""

    def __init__(
        self,
        sizes: Architecture,
        weights: Weights,
        products: Products,
        *,
        layer: int,
        early: Layers,
        exit_head: str,
        threshold: float,
        temperature: float,
    ) -> None:
        super().__init__(sizes, weights, products)
        self._layer_number, self._early, self._exit = layer, early, exit_head
        # Confidence reaches the threshold where the logit reaches this.
        self._least = float(np.log(threshold / (1 - threshold)) * temperature)

    def build(self, heads: CheckpointHeads) -> onnx.ModelProto:
        """Write the graph; the heads' own outputs hold rows of the undecided texts alone."""
        graph, last = self._graph, self._sizes.n_layers - 1
        ids = graph.input(IDS, ["batch", "longest"])
        lengths = graph.input(LENGTHS, ["batch"])
        longest = graph.add("Shape", ids, start=1, end=2)
        mask = self._mask(lengths, longest)
        rows, states = self._embeddings(ids, longest), []
        for layer in range(last + 1):
            if layer == self._layer_number:
                rows, mask = self._let_go(rows, longest, mask)
            prefix = f"distilbert.transformer.layer.{layer}"
            states.append(self._layers.state(prefix, rows))
            if layer < last:
                rows = self._layers.full(prefix, states[-1], longest, mask)
        first = self._last_layer(f"distilbert.transformer.layer.{last}", states[-1], longest, mask)
        writer = HeadWriter(self._sizes, self._weights, self._products, graph)
        writer.write(heads._replace(tokens=()), first, states, longest, mask)
        return graph.model("early-exit")

    def _let_go(self, rows: str, longest: str, mask: Mask) -> tuple[str, Mask]:
        """Return rows and mask of the texts that go on; declare the early outputs."""
        graph, dim = self._graph, self._sizes.dim
        first = self._first(rows, longest)
        logits = {name: self._early_head(name, first) for name in self._early}
        for name, value in logits.items():
            if name != self._exit:
                graph.output(EARLY + name, value, ["batch", f"{name} labels"])
        doubtful = graph.add(
            "Less", graph.add("Reshape", logits[self._exit], graph.ints(-1)), graph.number(self._least)
        )
        on = graph.add("Reshape", graph.add("NonZero", doubtful), graph.ints(-1))
        graph.output(UNDECIDED, on, ["undecided"], INT64)
        shape = graph.add("Concat", graph.ints(-1), longest, graph.ints(dim), axis=0)
        kept = graph.add("Gather", graph.add("Reshape", rows, shape), on, axis=0)
        values = graph.add("Gather", mask.values, on, axis=0)
        return graph.add("Reshape", kept, graph.ints(-1, dim)), Mask(values, mask.needed)

    def _early_head(self, name: str, first: str) -> str:
        graph = self._graph
        hidden, hidden_bias, last, last_bias = self._early[name]

        def gemm(part: str, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
            stored = (
                graph.constant(f"{EARLY}{name}.{part}.{kind}", array)
                for kind, array in (("weight", weight), ("bias", bias))
            )
            return graph.add("Gemm", value, *stored, transB=1)

        return gemm(
            "classifier",
            graph.add("Relu", gemm("pre_classifier", first, hidden, hidden_bias)),
            last,
            last_bias,
        )
