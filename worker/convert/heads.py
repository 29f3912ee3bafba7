"""The heads of a checkpoint as nodes of the graph: on a text's first token, or on tokens at several depths.

A token head runs in the same pass as the text heads, for the texts alone that its gate lets through: what the
layers gave is there for every token anyway, and only those texts' rows are gathered for its product. It reads
what the next layer reads, in the form that is made ready for that: in int8 nothing is rounded a second time.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worker.classify.read_heads import SINGLE
from worker.classify.token_head import ROWS, Gate, TokenHead
from worker.convert.architecture import TENSORS, Architecture, CheckpointHead, CheckpointHeads
from worker.convert.nodes import INT64, Graph
from worker.convert.products import Linear, Products, Ready, bias_of, trained
from worker.convert.weights import Floats, Weights


class HeadWriter:
    """Writes the heads of one checkpoint into a graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products, graph: Graph) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = graph

    def write(self, heads: CheckpointHeads, first: str, states: Sequence[Ready], longest: str) -> None:
        """Write all heads and declare their outputs.

        `first` is the first token's row of each text after the last layer, (batch, dim). `states[n]` is what
        the nth layer gave for every token, (batch · longest, dim), made ready for a product.

        Raises:
            CheckpointError: a tensor is missing or has another shape than the configuration says.
        """
        logits = {entry.head.name: self._text_head(entry, first) for entry in heads.texts}
        for entry in heads.texts:
            self._graph.output(entry.head.name, logits[entry.head.name], ["batch", len(entry.head.labels)])
        for head in heads.tokens:
            read = self._read(head, heads.texts, logits, first)
            marks = self._token_head(head, read, states, longest)
            self._graph.output(head.name + ROWS, read, [f"{head.name} texts"], INT64)
            self._graph.output(head.name, marks, [f"{head.name} texts", "longest"])

    def _text_head(self, entry: CheckpointHead, first: str) -> str:
        """Return the logits (batch, labels) of a head, in float32: it reads one row a text."""
        dim, labels, name = self._sizes.dim, len(entry.head.labels), entry.head.name
        values = first
        if f"{entry.prefix}pre_classifier.weight" in self._weights:
            hidden = trained(self._weights, f"{entry.prefix}pre_classifier", dim, dim)
            values = self._graph.add("Relu", self._gemm(f"{name}.pre_classifier", values, hidden))
        return self._gemm(
            f"{name}.classifier", values, trained(self._weights, f"{entry.prefix}classifier", labels, dim)
        )

    def _read(
        self, head: TokenHead, texts: Sequence[CheckpointHead], logits: Mapping[str, str], first: str
    ) -> str:
        """Return the numbers of the texts that a token head reads, (read), in their order."""
        graph = self._graph
        if head.gate is None:
            count = graph.add("Squeeze", graph.add("Shape", first, start=0, end=1))
            zero, one = (graph.constant_once(f"int64_{n}", np.asarray(n, np.int64)) for n in (0, 1))
            return graph.add("Range", zero, count, one)
        gate = head.gate
        entry = next(entry for entry in texts if entry.head.name == gate.head)
        scores = self._scores(entry, logits[gate.head], gate)
        return graph.add("Reshape", graph.add("NonZero", scores), graph.ints(-1))

    def _scores(self, entry: CheckpointHead, logits: str, gate: Gate) -> str:
        """Return whether each text's score of the gate's label reaches its threshold, (batch)."""
        graph, head = self._graph, entry.head
        cooled = graph.add("Div", logits, graph.number(head.temperature)) if head.temperature != 1 else logits
        scores = (
            graph.add("Softmax", cooled, axis=-1)
            if head.problem_type == SINGLE
            else graph.add("Sigmoid", cooled)
        )
        column = graph.constant_once(
            f"int64_{head.labels.index(gate.label)}", np.asarray(head.labels.index(gate.label), np.int64)
        )
        return graph.add(
            "GreaterOrEqual", graph.add("Gather", scores, column, axis=1), graph.number(gate.threshold)
        )

    def _token_head(self, head: TokenHead, read: str, states: Sequence[Ready], longest: str) -> str:
        """Return the logits (read, longest) of the tokens of the texts that are read.

        On no rows these nodes cost next to nothing. An `If` around them would cost as much when nothing is
        read, and more than it saves when something is.
        """
        graph, dim, prefix = self._graph, self._sizes.dim, f"{TENSORS}{head.name}."
        inputs = [self._rows_of(states[layer], read, longest) for layer in head.layers]
        wide = dim * len(inputs)
        if f"{prefix}pre_classifier.weight" not in self._weights:
            last = trained(self._weights, f"{prefix}classifier", 1, wide)
            logits = self._side_by_side(f"{head.name}.classifier", inputs, last)
        else:
            hidden = trained(self._weights, f"{prefix}pre_classifier", dim, wide)
            values = graph.add("Relu", self._side_by_side(f"{head.name}.pre_classifier", inputs, hidden))
            last = trained(self._weights, f"{prefix}classifier", 1, dim)
            logits = self._gemm(f"{head.name}.classifier", values, last)
        return graph.add("Reshape", logits, graph.add("Concat", graph.ints(-1), longest, axis=0))

    def _rows_of(self, state: Ready, read: str, longest: str) -> Ready:
        """Take the rows of the texts that are read: (batch · longest, dim) to (read · longest, dim)."""
        graph, dim = self._graph, self._sizes.dim
        shape = graph.add("Concat", graph.ints(-1), longest, graph.ints(dim), axis=0)
        chosen = graph.add("Gather", graph.add("Reshape", state.values, shape), read, axis=0)
        return Ready(
            graph.add("Reshape", chosen, graph.ints(-1, dim)),
            state.step,
            state.zero_point,
            None,
            state.column_scale,
        )

    def _side_by_side(self, name: str, inputs: Sequence[Ready], linear: Linear) -> str:
        """Multiply rows that stand side by side, each part by its own columns of the weight, and add up."""
        parts: list[Floats] = np.split(linear.weight, len(inputs), axis=1)
        biases = [bias_of(linear), *[None] * (len(parts) - 1)]
        products = [
            self._products.product(self._graph, f"{name}.{number}", rows, Linear(weight, bias))
            for number, (rows, weight, bias) in enumerate(zip(inputs, parts, biases, strict=True))
        ]
        total = products[0]
        for product in products[1:]:
            total = self._graph.add("Add", total, product)
        return total

    def _gemm(self, name: str, rows: str, linear: Linear) -> str:
        graph = self._graph
        weight = graph.constant(f"{name}.weight", linear.weight)
        return graph.add("Gemm", rows, weight, graph.constant(f"{name}.bias", bias_of(linear)), transB=1)
