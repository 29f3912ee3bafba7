"""Products of activations with trained weights in the graph: in float32 or int8.

The int8 form multiplies uint8 activations by int8 weights, which have one scale per output channel.

The rounding of a row must not depend on other rows, or a text's scores would depend on the texts beside it;
this is the fault of the usual dynamic form with one scale for the whole batch. Two forms of scale avoid it:

- **a constant scale** for the output of a LayerNorm. A few of its channels are ten times as large as the
  rest, so each channel is first divided by a constant, by which its column of the weights is multiplied
  (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438).
- **one scale per row** for the outputs of the attention and the activation function, whose range varies from
  token to token: each row is divided by its largest magnitude.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.lab.convert.nodes import FLOAT, ORT_DOMAIN, Graph
from worker.lab.convert.weights import Floats, Weights

LEVELS = 127
"""int8 levels on either side of zero; -128 is not used, so that the grid is symmetric."""

SMOOTHING = 0.75
"""How much of a channel's range is moved from the activations to the weights: from 0 to 1."""

MARGIN = 1.1
"""Headroom above the largest magnitude seen in calibration, before values are clipped."""

BELOW_ZERO = 32
"""The share of an activation function's 255 levels for values below zero (GELU's minimum is -0.17)."""

TINY = 1e-20
"""The smallest range to scale by: a row below it is rounded to zeros."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A trained linear map as torch stores it: `weight` (outputs, inputs), `bias` (outputs) or None."""

    weight: Floats
    bias: Floats | None


def trained(weights: Weights, name: str, outputs: int, inputs: int) -> Linear:
    """Read the linear map `name` from a checkpoint. Raises CheckpointError where it does not fit."""
    return Linear(weights.get(f"{name}.weight", outputs, inputs), weights.get(f"{name}.bias", outputs))


def bias_of(linear: Linear) -> Floats:
    """Return the bias of a map that has one. Raises ValueError if it was folded away."""
    if linear.bias is None:
        raise ValueError("this product has no bias")
    return linear.bias


@dataclass(frozen=True, slots=True)
class Ready:
    """Rows made ready for a product: `values` (rows, features), in float32 or, with a `step`, in uint8.

    A uint8 value represents (values - zero_point) · step, times its row's scale if there is one (`row_scale`,
    shape (rows, 1)), times its column's scale if there is one (`column_scale`, by which the weights are
    multiplied).
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
        """Make the attention's output (rows, width) ready, which is about symmetric around zero."""
        ...

    def activated(self, graph: Graph, rows: str, width: int, least: float) -> Ready:
        """Make an activation function's output (rows, width) ready, none of which is below `least`."""
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


class Int8Products:
    """The int8 form. `largest` holds each channel's largest magnitude after each LayerNorm, by name.

    `reused` holds another pack's constants for the same LayerNorms: each channel's factor, and the step.
    Weights already rounded in that pack are not changed by rounding them again.
    """

    def __init__(
        self, largest: Mapping[str, Floats], reused: Mapping[str, tuple[Floats, float]] | None = None
    ) -> None:
        self._largest = largest
        self._reused = reused or {}

    def normed(self, graph: Graph, name: str, rows: str, readers: Floats) -> Ready:
        """Divide each channel by its constant and round with a constant scale."""
        if name in self._reused:
            factor, width = self._reused[name]
            scale = np.asarray(1 / factor, np.float32)
        else:
            largest = self._largest[name]
            scale = smoothing(largest, np.abs(readers).max(axis=0))
            factor = np.asarray(1 / scale, np.float32)
            width = float(np.float32(max((largest / scale).max() * MARGIN, TINY) / LEVELS))
        step = graph.number(width)
        smooth = graph.add("Mul", rows, graph.constant(f"{name}.smooth", factor))
        zero_point = _zero_point(graph, LEVELS + 1)
        return Ready(graph.add("QuantizeLinear", smooth, step, zero_point), step, zero_point, None, scale)

    def mixed(self, graph: Graph, rows: str, width: int) -> Ready:
        """Divide each row by its largest magnitude, and round to 127 levels on either side of zero."""
        largest = graph.add("ReduceMax", graph.add("Abs", rows), graph.ints(-1))
        step = _row_steps(graph, largest, TINY, LEVELS)
        return _by_rows(graph, rows, width, step, LEVELS + 1)

    def activated(self, graph: Graph, rows: str, width: int, least: float) -> Ready:
        """Divide each row by its largest value, and round to 255 levels, of which few are below zero.

        If a row is hardly above zero, its scale is still wide enough to reach down to `least`.
        """
        below = BELOW_ZERO if least < 0 else 0
        above = 255 - below
        floor = -least / below * above if below else TINY
        largest = graph.add("ReduceMax", rows, graph.ints(-1))
        return _by_rows(graph, rows, width, _row_steps(graph, largest, floor, above), below)

    def product(self, graph: Graph, name: str, rows: Ready, linear: Linear) -> str:
        """Return rows · weightᵀ + bias."""
        scale = rows.column_scale
        steps, rounded = round_rows(linear.weight if scale is None else linear.weight * scale)
        weight, steps_name = (
            graph.constant(f"{name}.weight", rounded.T),
            graph.constant(f"{name}.steps", steps),
        )
        inputs = [rows.values, weight, rows.step, steps_name, rows.zero_point]
        bias = "" if linear.bias is None else graph.constant(f"{name}.bias", linear.bias)
        if rows.row_scale is None:
            rest = ["", bias] if bias else []
            return graph.add("MatMulIntegerToFloat", *inputs, *rest, domain=ORT_DOMAIN)
        product = graph.add("MatMulIntegerToFloat", *inputs, domain=ORT_DOMAIN)
        scaled = graph.add("Mul", product, rows.row_scale)
        return graph.add("Add", scaled, bias) if bias else scaled

    def table(self, graph: Graph, name: str, values: Floats, indices: str) -> str:
        """Look rows up in an int8 table with one scale a row."""
        steps, rounded = round_rows(values)
        found = graph.add("Gather", graph.constant(name, rounded), indices)
        scale = graph.add("Gather", graph.constant(f"{name}.steps", steps[:, None]), indices)
        return graph.add("Mul", graph.add("Cast", found, to=FLOAT), scale)


def smoothing(largest: Floats, weights: Floats) -> Floats:
    """Return each channel's constant (channels,) from its largest magnitude and its largest weight."""
    powers = np.maximum(largest, 1e-6) ** SMOOTHING / np.maximum(weights, 1e-6) ** (1 - SMOOTHING)
    # Relative to the median channel: a common scale of all channels goes into the step.
    return np.asarray(np.clip(powers / np.median(powers), 1e-3, 1e3), np.float32)


def round_rows(values: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Round each row of a matrix to int8; return the steps (rows,) and the rounded values (rows, columns)."""
    steps = np.maximum(np.abs(values).max(axis=1), TINY).astype(np.float32) / np.float32(LEVELS)
    return steps, np.rint(values / steps[:, None]).astype(np.int8)


def _row_steps(graph: Graph, largest: str, floor: float, levels: int) -> str:
    """Return each row's step (rows, 1): its largest magnitude, or `floor`, divided by `levels`."""
    return graph.add("Max", graph.add("Mul", largest, graph.number(1 / levels)), graph.number(floor / levels))


def _by_rows(graph: Graph, rows: str, width: int, steps: str, zero: int) -> Ready:
    """Round each row (rows, width) with its own step (rows, 1); zero becomes `zero`.

    onnxruntime does it in one pass if a row is one block of a blocked QuantizeLinear. The operator needs a
    zero point for each block, hence the Expand.
    """
    zeros = graph.add("Expand", _zero_point(graph, zero), graph.add("Shape", steps))
    values = graph.add("QuantizeLinear", rows, steps, zeros, axis=1, block_size=width)
    return Ready(values, graph.number(1.0), _zero_point(graph, zero), steps)


def _zero_point(graph: Graph, value: int) -> str:
    return graph.constant_once(f"zero_point_{value}", np.asarray(value, np.uint8))
