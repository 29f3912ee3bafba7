"""The two forms of a matrix product with trained weights: float32, and int8 with one scale a row.

The int8 form keeps a text's scores independent of the texts beside it: each row of activations (one token)
is scaled by its own largest magnitude, so no row's rounding depends on another row. The usual dynamic form
takes one scale for the whole batch.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worker.convert.nodes import ORT_DOMAIN, Graph
from worker.convert.weights import Floats

LEVELS = 127
"""int8 magnitudes on either side of zero; -128 stays unused, so that the grid is symmetric."""

TINY = 1e-20
"""The least magnitude to scale a row by; below it a row counts as zeros."""


@dataclass(frozen=True, slots=True)
class Activation:
    """Rows ready to be multiplied. `values` is float32, or uint8 with `scale`, a column of row scales."""

    values: str
    scale: str | None = None
    zero_point: str | None = None
    step: str | None = None


class Products(Protocol):
    """How a graph multiplies activations by trained weights."""

    def prepare(self, graph: Graph, rows: str) -> Activation:
        """Make rows (rows, features) ready; several products may read them."""

    def prepare_one_sided(self, graph: Graph, rows: str) -> Activation:
        """The same for rows that reach far above zero and hardly below, as after Gelu and Relu."""

    def product(self, graph: Graph, name: str, rows: Activation, weight: Floats, bias: Floats) -> str:
        """Return rows · weightᵀ + bias, for a weight (outputs, inputs) as torch stores it."""

    def table(self, graph: Graph, name: str, values: Floats, indices: str) -> str:
        """Look rows of a trained table up."""


class FloatProducts:
    """Everything in float32."""

    def prepare(self, graph: Graph, rows: str) -> Activation:
        """Rows stay as they are."""
        return Activation(rows)

    prepare_one_sided = prepare

    def product(self, graph: Graph, name: str, rows: Activation, weight: Floats, bias: Floats) -> str:
        """Return rows · weightᵀ + bias."""
        product = graph.add("MatMul", rows.values, graph.constant(f"{name}.weight", weight.T))
        return str(graph.add("Add", product, graph.constant(f"{name}.bias", bias)))

    def table(self, graph: Graph, name: str, values: Floats, indices: str) -> str:
        """Look rows up."""
        return str(graph.add("Gather", graph.constant(name, values), indices))


class Int8Products:
    """uint8 activations with one scale a row, int8 weights with one scale an output channel."""

    def prepare(self, graph: Graph, rows: str) -> Activation:
        """Scale each row by its largest magnitude and round it to 127 levels either side of zero."""
        largest = graph.add("ReduceMax", graph.add("Abs", rows), graph.ints(-1))
        return self._quantised(graph, rows, largest, LEVELS, 128)

    def prepare_one_sided(self, graph: Graph, rows: str) -> Activation:
        """Scale each row by its largest value; the grid leaves room for a fifteenth of that below zero."""
        largest = graph.add("ReduceMax", rows, graph.ints(-1))
        return self._quantised(graph, rows, largest, 239, 16)

    def _quantised(self, graph: Graph, rows: str, largest: str, levels: int, zero: int) -> Activation:
        scale = graph.add("Max", largest, graph.number(TINY))
        step = graph.number(float(np.float32(1 / levels)))
        name = f"zero_point_{zero}"
        zero_point = graph.constant_once(name, np.asarray(zero, np.uint8))
        values = graph.add("QuantizeLinear", graph.add("Div", rows, scale), step, zero_point)
        return Activation(values, scale, zero_point, step)

    def product(self, graph: Graph, name: str, rows: Activation, weight: Floats, bias: Floats) -> str:
        """Return rows · weightᵀ + bias."""
        steps, rounded = quantise_rows(weight)
        product = graph.add(
            "MatMulIntegerToFloat",
            rows.values,
            graph.constant(f"{name}.weight", rounded.T),
            rows.step,
            graph.constant(f"{name}.steps", steps),
            rows.zero_point,
            domain=ORT_DOMAIN,
        )
        scaled = graph.add("Mul", product, rows.scale)
        return str(graph.add("Add", scaled, graph.constant(f"{name}.bias", bias)))

    def table(self, graph: Graph, name: str, values: Floats, indices: str) -> str:
        """Look rows up in an int8 table with one scale a row."""
        steps, rounded = quantise_rows(values)
        found = graph.add("Gather", graph.constant(name, rounded), indices)
        scale = graph.add("Gather", graph.constant(f"{name}.steps", steps[:, None]), indices)
        return str(graph.add("Mul", graph.add("Cast", found, to=1), scale))


def quantise_rows(values: Floats) -> tuple[Floats, np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    """Round each row of a matrix to int8; return the steps (rows,) and the rounded values (rows, columns)."""
    steps = np.maximum(np.abs(values).max(axis=1), TINY).astype(np.float32) / np.float32(LEVELS)
    return steps, np.rint(values / steps[:, None]).astype(np.int8)
