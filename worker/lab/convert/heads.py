"""Writing a checkpoint's heads as nodes of the graph: on a text's first token, or on all its tokens.

A token head runs in the same pass as the text heads, but only on the texts that its gate lets through: the
layers' outputs exist for every token anyway, and only those texts' rows are gathered for its product. It
reads the same prepared input as the next layer, so in int8 nothing is rounded twice. A branch (layers of its
own) also runs only on those texts' rows.

A token head has two outputs in the graph: `<name>.rows`, the indices in the batch of the texts that it read,
int64 (read), and `<name>`, their tokens' logits, float32 (read, longest), including padding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worker.heads import ROWS, Branch, Gate, Head, text_heads, token_heads
from worker.lab.convert.architecture import TENSORS, Architecture, branch_sizes
from worker.lab.convert.layers import LayerWriter, Mask, State
from worker.lab.convert.nodes import INT64, Graph
from worker.lab.convert.products import Linear, Products, Ready, bias_of, trained
from worker.lab.convert.weights import Floats, Weights


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts that a head reads: their indices (read), their padded length, and the mask."""

    read: str
    longest: str
    mask: Mask


class TokenHeadWriter:
    """Writes the token heads of one checkpoint into a graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products, graph: Graph) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = graph

    def write(self, head: Head, read: str, states: Sequence[State], longest: str, mask: Mask) -> str:
        """Return the token logits (read, longest) of the texts with the indices `read`.

        With no texts to read, these nodes cost next to nothing. An `If` around them would not be cheaper
        then, and would cost more than it saves otherwise.
        """
        graph, dim, prefix = self._graph, self._sizes.dim, f"{TENSORS}{head.name}."
        texts = _Texts(read, longest, mask)
        shared = head.layers if head.branch is None else [n for n in head.layers if n <= head.branch.after]
        depths = {layer: self._ready_of(states[layer].ready, texts) for layer in shared}
        first = self._first_linear(prefix, dim * len(head.layers))
        if head.branch is not None:
            depths |= self._branch(head, head.branch, states[head.branch.after], texts, first)
        inputs = [depths[layer] for layer in head.layers]
        if f"{prefix}pre_classifier.weight" not in self._weights:
            logits = self._side_by_side(f"{head.name}.classifier", inputs, first)
        else:
            values = graph.add("Relu", self._side_by_side(f"{head.name}.pre_classifier", inputs, first))
            last = trained(self._weights, f"{prefix}classifier", 1, dim)
            weight = graph.constant(f"{head.name}.classifier.weight", last.weight)
            bias = graph.constant(f"{head.name}.classifier.bias", bias_of(last))
            logits = graph.add("Gemm", values, weight, bias, transB=1)
        return graph.add("Reshape", logits, graph.add("Concat", graph.ints(-1), longest, axis=0))

    def _first_linear(self, prefix: str, wide: int) -> Linear:
        """Return the first product of the head: of its hidden layer, or of the classifier if it has none."""
        if f"{prefix}pre_classifier.weight" in self._weights:
            return trained(self._weights, f"{prefix}pre_classifier", self._sizes.dim, wide)
        return trained(self._weights, f"{prefix}classifier", 1, wide)

    def _branch(
        self, head: Head, branch: Branch, start: State, texts: _Texts, reader: Linear
    ) -> dict[int, Ready]:
        """Return what each of the head's own layers gave, by its number; `reader` reads the last of them."""
        graph, dim = self._graph, self._sizes.dim
        layers = LayerWriter(branch_sizes(self._sizes, branch), self._weights, self._products, graph)
        mask = Mask(graph.add("Gather", texts.mask.values, texts.read, axis=0), texts.mask.needed)
        names = [f"{TENSORS}{head.name}.transformer.layer.{n}" for n in range(branch.layers)]
        state = layers.state(names[0], self._rows_of(start.rows, texts))
        found: dict[int, Ready] = {}
        for number, name in enumerate(names, start=branch.after + 1):
            rows = layers.full(name, state, texts.longest, mask)
            if number < branch.after + branch.layers:
                state = layers.state(names[number - branch.after], rows)
                found[number] = state.ready
            elif number in head.layers:
                columns = head.layers.index(number) * dim
                part = Linear(reader.weight[:, columns : columns + dim], None)
                found[number] = layers.ready(f"{TENSORS}{head.name}.output", rows, part)
        return found

    def _ready_of(self, state: Ready, texts: _Texts) -> Ready:
        """Take the rows of the texts that are read, already quantised."""
        rows = self._rows_of(state.values, texts)
        return Ready(rows, state.step, state.zero_point, None, state.column_scale)

    def _rows_of(self, rows: str, texts: _Texts) -> str:
        """Take the rows of the texts that are read: (batch · longest, dim) to (read · longest, dim)."""
        graph, dim = self._graph, self._sizes.dim
        shape = graph.add("Concat", graph.ints(-1), texts.longest, graph.ints(dim), axis=0)
        chosen = graph.add("Gather", graph.add("Reshape", rows, shape), texts.read, axis=0)
        return graph.add("Reshape", chosen, graph.ints(-1, dim))

    def _side_by_side(self, name: str, inputs: Sequence[Ready], linear: Linear) -> str:
        """Multiply each input by its own columns of the weight, and add up the products."""
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


class HeadWriter:
    """Writes the heads of one checkpoint into a graph."""

    def __init__(self, sizes: Architecture, weights: Weights, products: Products, graph: Graph) -> None:
        self._sizes = sizes
        self._weights = weights
        self._products = products
        self._graph = graph
        self._tokens = TokenHeadWriter(sizes, weights, products, graph)

    def write(
        self, heads: Sequence[Head], first: str, states: Sequence[State], longest: str, mask: Mask
    ) -> None:
        """Write all heads and declare their outputs.

        `first` is the first token's row of each text after the last layer, (batch, dim). `states[n]` is what
        the nth layer gave for every token, 0 being the embeddings.

        Raises:
            CheckpointError: a tensor is missing or has another shape than the configuration says.
        """
        texts = text_heads(heads)
        logits = {head.name: self._text_head(head, first) for head in texts}
        for head in texts:
            self._graph.output(head.name, logits[head.name], ["batch", len(head.labels)])
        for head in token_heads(heads):
            read = self._read(head, texts, logits, first)
            marks = self._tokens.write(head, read, states, longest, mask)
            self._graph.output(head.name + ROWS, read, [f"{head.name} texts"], INT64)
            self._graph.output(head.name, marks, [f"{head.name} texts", "longest"])

    def _text_head(self, head: Head, first: str) -> str:
        """Return the logits (batch, labels) of a head, in float32, since it reads only one row per text."""
        dim, prefix, values = self._sizes.dim, f"{TENSORS}{head.name}.", first
        if f"{prefix}pre_classifier.weight" in self._weights:
            hidden = trained(self._weights, f"{prefix}pre_classifier", dim, dim)
            values = self._graph.add("Relu", self._gemm(f"{head.name}.pre_classifier", values, hidden))
        last = trained(self._weights, f"{prefix}classifier", len(head.labels), dim)
        return self._gemm(f"{head.name}.classifier", values, last)

    def _read(self, head: Head, texts: Sequence[Head], logits: Mapping[str, str], first: str) -> str:
        """Return the indices of the texts that a token head reads, (read), in order."""
        graph = self._graph
        if head.gate is None:
            count = graph.add("Squeeze", graph.add("Shape", first, start=0, end=1))
            zero, one = (graph.constant_once(f"int64_{n}", np.asarray(n, np.int64)) for n in (0, 1))
            return graph.add("Range", zero, count, one)
        gate = head.gate
        judge = next(text for text in texts if text.name == gate.head)
        scores = self._scores(judge, logits[gate.head], gate)
        return graph.add("Reshape", graph.add("NonZero", scores), graph.ints(-1))

    def _scores(self, head: Head, logits: str, gate: Gate) -> str:
        """Return whether each text's score of the gate's label reaches its threshold, (batch)."""
        graph = self._graph
        cooled = graph.add("Div", logits, graph.number(head.temperature)) if head.temperature != 1 else logits
        scores = graph.add("Sigmoid", cooled) if head.multi_label else graph.add("Softmax", cooled, axis=-1)
        column = graph.constant_once(
            f"int64_{head.labels.index(gate.label)}", np.asarray(head.labels.index(gate.label), np.int64)
        )
        return graph.add(
            "GreaterOrEqual", graph.add("Gather", scores, column, axis=1), graph.number(gate.threshold)
        )

    def _gemm(self, name: str, rows: str, linear: Linear) -> str:
        graph = self._graph
        weight = graph.constant(f"{name}.weight", linear.weight)
        return graph.add("Gemm", rows, weight, graph.constant(f"{name}.bias", bias_of(linear)), transB=1)
