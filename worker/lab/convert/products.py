"""How a graph multiplies activations by trained weights: the seam between float32 and int8."""

from dataclasses import dataclass
from typing import Protocol

from worker.lab.convert.nodes import Graph
from worker.lab.convert.weights import Floats, Weights


@dataclass(frozen=True, slots=True)
class Linear:
    """A trained linear map as torch stores it: `weight` (outputs, inputs), `bias` (outputs) or None."""

    weight: Floats
    bias: Floats | None


def trained(weights: Weights, name: str, outputs: int, inputs: int) -> Linear:
    """Read the linear map `name` from a checkpoint. Raises CheckpointError where it does not fit."""
    return Linear(weights.get(f"{name}.weight", outputs, inputs), weights.get(f"{name}.bias", outputs))


def bias_of(linear: Linear) -> Floats:
    """Return the bias of a map that has one. Raises ValueError where it was folded away."""
    if linear.bias is None:
        raise ValueError("this product has no bias")
    return linear.bias


@dataclass(frozen=True, slots=True)
class Ready:
    """Rows made ready for a product: `values` (rows, features), in float32 or, with a `step`, in uint8.

    In uint8 a value stands for (values - zero_point) · step, times its row's scale where there is one
    (`row_scale`, shape (rows, 1)), times its column's where there is one (`column_scale`, which the weights
    take over).
    """

    values: str
    step: str = ""
    zero_point: str = ""
    row_scale: str | None = None
    column_scale: Floats | None = None


class Products(Protocol):
    """One numeric form for all products of a graph."""

    def normed(self, graph: Graph, name: str, rows: str, readers: Floats) -> Ready:
        """Make a LayerNorm's output ready for products whose weights, stacked, are `readers`."""
        ...

    def mixed(self, graph: Graph, rows: str, width: int) -> Ready:
        """Make the attention's output (rows, width) ready: it reaches as far below zero as above."""
        ...

    def activated(self, graph: Graph, rows: str, width: int, least: float) -> Ready:
        """Make an activation function's output (rows, width) ready: none of it lies below `least`."""
        ...

    def product(self, graph: Graph, name: str, rows: Ready, linear: Linear) -> str:
        """Return rows · weightᵀ + bias in float32."""
        ...

    def table(self, graph: Graph, name: str, values: Floats, indices: str) -> str:
        """Look rows of a trained table up."""
        ...


class FloatProducts:
    """Everything in float32."""

    def normed(self, graph: Graph, name: str, rows: str, readers: Floats) -> Ready:  # noqa: ARG002 - the seam
        """Rows stay as they are."""
        return Ready(rows)

    def mixed(self, graph: Graph, rows: str, width: int) -> Ready:  # noqa: ARG002 - the seam
        """Rows stay as they are."""
        return Ready(rows)

    def activated(self, graph: Graph, rows: str, width: int, least: float) -> Ready:  # noqa: ARG002 - the seam
        """Rows stay as they are."""
        return Ready(rows)

    def product(self, graph: Graph, name: str, rows: Ready, linear: Linear) -> str:
        """Return rows · weightᵀ + bias."""
        product = graph.add("MatMul", rows.values, graph.constant(f"{name}.weight", linear.weight.T))
        if linear.bias is None:
            return product
        return graph.add("Add", product, graph.constant(f"{name}.bias", linear.bias))

    def table(self, graph: Graph, name: str, values: Floats, indices: str) -> str:
        """Look rows up."""
        return graph.add("Gather", graph.constant(name, values), indices)
