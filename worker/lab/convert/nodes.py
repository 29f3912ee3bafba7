"""An ONNX graph, written node by node."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 21, 10
"""Supported by onnxruntime 1.20 and later."""

ORT_DOMAIN = "com.microsoft"

FLOAT: int = TensorProto.FLOAT
INT32: int = TensorProto.INT32
INT64: int = TensorProto.INT64


class Graph:
    """A graph under construction. Values are known by their names, which methods return."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._count = 0
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return its name. The input "" leaves an optional input out."""
        self._count += 1
        name = f"{op}_{self._count}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name, domain=domain, **attributes))
        return name

    def choose(self, condition: str, yes: Callable[[], str], no: Callable[[], str]) -> str:
        """Compute one of two values as `condition` says; `yes` and `no` write it and return its name."""
        return self.add("If", condition, then_branch=self._branch(yes), else_branch=self._branch(no))

    def _branch(self, write: Callable[[], str]) -> onnx.GraphProto:
        outer, self._nodes = self._nodes, []
        try:
            value = write()
            nodes = self._nodes
        finally:
            self._nodes = outer
        output = helper.make_tensor_value_info(value, FLOAT, None)
        return helper.make_graph(nodes, f"branch_{value}", [], [output])

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Store a tensor in the graph under `name`."""
        if name in self._constants:
            raise ValueError(f"the constant {name} exists already")
        self._constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def constant_once(self, name: str, values: NDArray[Any]) -> str:
        """Store a tensor under `name` unless it exists already: for small ones that many nodes read."""
        return name if name in self._constants else self.constant(name, values)

    def ints(self, *values: int) -> str:
        """Return a constant int64 vector, for shapes and axes; equal ones are stored once."""
        return self.constant_once("ints_" + "_".join(map(str, values)), np.asarray(values, np.int64))

    def number(self, value: float) -> str:
        """Return a constant float32 scalar; equal ones are stored once."""
        return self.constant_once(f"number_{value!r}", np.asarray(value, np.float32))

    def input(self, name: str, shape: Sequence[str | int]) -> str:
        """Declare an int32 input."""
        self._inputs.append(helper.make_tensor_value_info(name, INT32, list(shape)))
        return name

    def output(self, name: str, value: str, shape: Sequence[str | int], kind: int = FLOAT) -> None:
        """Declare an output `name` of the element type `kind` with the value `value`."""
        self._nodes.append(helper.make_node("Identity", [value], [name], f"output_{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def model(self, name: str) -> onnx.ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ORT_DOMAIN, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="moodstream"
        )
