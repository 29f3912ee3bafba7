"""What may be in a graph before onnxruntime is given it: known operators, whole tensors, bounded sizes.

A pack comes from anywhere. A graph can loop for ever, read files beside it (external data, which no manifest
vouches for), or ask for more memory than there is. So the file is walked once before a session is made of it:
protobuf's wire format, in so far as ONNX's messages need it (github.com/onnx/onnx, onnx.proto), without the
`onnx` package, which serving does not need. Weights are skipped over, not copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from worker.errors import PackError, one_line
from worker.heads import shown

LARGEST_BYTES = 2**31 - 1
"""protobuf's own limit."""

_MOST_NODES, _MOST_TENSORS, _DEEPEST, _MOST_DIMS = 5_000, 50_000, 3, 8
_LARGEST_SIZE = 2**16
"""The largest number that a graph may give as a size; what comes from its inputs is bounded by them."""

_MICROSOFT = "com.microsoft"
_DOMAINS = frozenset({"", "ai.onnx", _MICROSOFT})

_OPERATORS = frozenset(
    {
        *("Abs", "Add", "And", "ArgMax", "Cast", "Ceil", "Clip", "Concat", "Constant", "CumSum"),
        *("DequantizeLinear", "Div", "DynamicQuantizeLinear", "Equal", "Erf", "Exp", "Expand", "Flatten"),
        *("Floor", "Gather", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "Identity", "If", "IsInf", "IsNaN"),
        *("LayerNormalization", "Less", "LessOrEqual", "Log", "MatMul", "MatMulInteger", "Max", "Min", "Mul"),
        *("Neg", "NonZero", "Not", "Or", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign"),
        *("Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
    }
)
_MICROSOFT_OPERATORS = frozenset(
    {
        *("BiasGelu", "DynamicQuantizeMatMul", "FastGelu", "FusedMatMul", "Gelu", "MatMulIntegerToFloat"),
        "SkipLayerNormalization",
    }
)
"""What encoders are made of. Not among them: what loops (Loop, Scan, SequenceMap) and what makes tensors of
any size out of a number (ConstantOfShape, Tile, Pad, Resize, RandomNormal and the like)."""

_WITH_OPTIONAL_INPUTS = frozenset(
    {
        *("Clip", "DequantizeLinear", "Gemm", "LayerNormalization", "QuantizeLinear", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceSum", "Slice", "Split", "Squeeze", "MatMulInteger"),
        *("DynamicQuantizeMatMul", "FastGelu", "MatMulIntegerToFloat", "SkipLayerNormalization"),
    }
)
"""Operators that take an input without a name for one that is left out; others read what is not there."""

_SIZED = {"Expand": (1,), "Range": (0, 1, 2)}
"""Operators that take a size as an input, and which inputs those are."""

_HANDED_ON = frozenset({"Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
"""Operators that hand sizes on without making them larger."""

_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of an element by ONNX's number of its type: floats, integers and booleans, no texts."""

_WHOLE = frozenset({6, 7})
"""int32 and int64, the types of sizes."""

_Field = tuple[int, int | memoryview]
"""Number and value of a field: a number, or the bytes of a text or message."""


@dataclass(slots=True)
class _Found:
    """What the walk has seen so far, in all graphs of the model: their names are one name space."""

    nodes: int = 0
    tensors: int = 0
    made_by: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """The operator that gives a value, and its inputs."""
    constants: dict[str, int] = field(default_factory=dict)
    """How large the numbers in a small constant are, their product; a large constant is no size."""


class _Unreadable(Exception):
    """The bytes are no protobuf message."""


def check_graph(content: bytes, path: Path) -> None:
    """Check the graph in an ONNX file; `path` is named in errors.

    Raises:
        PackError: it is none, or holds an operator, a tensor or a size that is not allowed.
    """
    if len(content) > LARGEST_BYTES:
        raise PackError(f"{path} is too large for a graph: {len(content)} bytes")
    found = _Found()
    graphs = 0
    try:
        for number, value in _fields(memoryview(content)):
            if number == 7:
                graphs += 1
                _check(_message(value), found, path)
            elif number == 8:
                _check_domain(_message(value), path)
            elif number in {20, 25}:
                raise PackError(f"{path}: a graph may not have functions or training steps of its own")
        _check_sizes(found, path)
    except (_Unreadable, UnicodeDecodeError) as error:
        raise PackError(f"{path} cannot be loaded: it is no ONNX graph ({one_line(error)})") from error
    if graphs != 1:
        raise PackError(f"{path} cannot be loaded: it is no ONNX graph (it holds {graphs})")


def _check_domain(opset: memoryview, path: Path) -> None:
    for number, value in _fields(opset):
        if number == 1 and (domain := _text(value)) not in _DOMAINS:
            raise PackError(f"{path}: the operators of {shown(domain)} are not allowed")


def _check(graph: memoryview, found: _Found, path: Path, depth: int = 0) -> None:
    """Check one graph, and those within its nodes."""
    if depth > _DEEPEST:
        raise PackError(f"{path}: its branches are nested too deep")
    for number, value in _fields(graph):
        if number == 1:
            _check_node(_message(value), found, path, depth)
        elif number == 5:
            _check_tensor(_message(value), found, path)
        elif number == 15:
            raise PackError(f"{path}: sparse tensors are not allowed")


def _check_node(node: memoryview, found: _Found, path: Path, depth: int) -> None:
    """Check one operator with its attributes, which may be tensors and graphs."""
    found.nodes += 1
    if found.nodes > _MOST_NODES:
        raise PackError(f"{path}: more than {_MOST_NODES} operators")
    parts: dict[int, list[memoryview]] = {}
    for number, value in _fields(node):
        parts.setdefault(number, []).append(_message(value))
    inputs, outputs = ([_text(name) for name in parts.get(number, ())] for number in (1, 2))
    operator, domain = ("".join(_text(name) for name in parts.get(number, ())[-1:]) for number in (4, 7))
    allowed = _MICROSOFT_OPERATORS if domain == _MICROSOFT else _OPERATORS
    if domain not in _DOMAINS or operator not in allowed:
        name = f"{domain}.{operator}" if domain else operator
        raise PackError(f"{path}: the operator {shown(name)} is not allowed")
    if "" in inputs and operator not in _WITH_OPTIONAL_INPUTS:
        raise PackError(f"{path}: the operator {shown(operator)} lacks one of its inputs")
    for output in outputs:
        found.made_by[output] = (operator, inputs)
    for attribute in parts.get(5, ()):
        _check_attribute(attribute, outputs[0] if outputs else "", found, path, depth)


def _check_attribute(attribute: memoryview, output: str, found: _Found, path: Path, depth: int) -> None:
    """Check the tensors and graphs of one attribute of the operator that gives `output`."""
    for number, value in _fields(attribute):
        if number in {5, 10}:  # a tensor, as Constant has one
            _check_tensor(_message(value), found, path, output)
        elif number in {6, 11}:
            _check(_message(value), found, path, depth + 1)
        elif number in {22, 23}:
            raise PackError(f"{path}: sparse tensors are not allowed")


def _check_tensor(tensor: memoryview, found: _Found, path: Path, name: str = "") -> None:
    """Check that all of a tensor is in the file, and as large as it says."""
    found.tensors += 1
    if found.tensors > _MOST_TENSORS:
        raise PackError(f"{path}: more than {_MOST_TENSORS} tensors")
    parts: dict[int, list[int | memoryview]] = {}
    for number, value in _fields(tensor):
        parts.setdefault(number, []).append(value)
    name = name or "".join(map(_text, parts.get(8, ())))
    if 13 in parts or any(parts.get(14, ())):
        raise PackError(f"{path}: the tensor {shown(name)} is outside of the file: nothing vouches for it")
    dims = [size for value in parts.get(1, ()) for size in _numbers(value)]
    kind, count = parts.get(2, [0])[-1], prod(dims)
    if not isinstance(kind, int) or kind not in _BYTES or not parts.keys().isdisjoint({3, 6}):
        raise PackError(f"{path}: the tensor {shown(name)} has a type that is not allowed")
    if len(dims) > _MOST_DIMS or any(size < 0 for size in dims) or count > LARGEST_BYTES:
        raise PackError(f"{path}: the tensor {shown(name)} has a shape that is not allowed")
    raw = b"".join(map(_message, parts[9])) if 9 in parts and count <= _MOST_DIMS else None
    held = sum(len(_message(value)) for value in parts.get(9, ()))
    if 9 in parts and held != count * _BYTES[kind]:
        raise PackError(f"{path}: the tensor {shown(name)} holds {held} bytes for {count} values")
    if count <= _MOST_DIMS and kind in _WHOLE:
        values = _wholes(raw, _BYTES[kind]) if raw is not None else _typed(parts)
        found.constants[name] = prod(max(1, abs(value)) for value in values)


def _wholes(raw: bytes, width: int) -> list[int]:
    """Return the whole numbers of so many bytes each."""
    return [
        int.from_bytes(raw[start : start + width], "little", signed=True)
        for start in range(0, len(raw), width)
    ]


def _typed(parts: dict[int, list[int | memoryview]]) -> list[int]:
    """Return the whole numbers that a tensor has as fields of their own."""
    return [number for place in (5, 7) for value in parts.get(place, ()) for number in _numbers(value)]


def _check_sizes(found: _Found, path: Path) -> None:
    """Refuse a size that is neither the size of something nor a small constant."""
    for operator, inputs in found.made_by.values():
        for place in _SIZED.get(operator, ()):
            if place < len(inputs) and not _is_bounded(inputs[place], found):
                raise PackError(f"{path}: {operator} takes a size that may have no bound")


def _is_bounded(name: str, found: _Found) -> bool:
    """Whether a value holds sizes of the graph's inputs and tensors, and small constants, alone."""
    waiting, seen = [name], {name}
    while waiting:
        value = waiting.pop()
        if value in found.made_by:
            operator, inputs = found.made_by[value]
            if operator in _HANDED_ON:
                waiting += [each for each in inputs if each and each not in seen]
                seen.update(inputs)
            elif operator not in {"Shape", "Constant"} or found.constants.get(value, 1) > _LARGEST_SIZE:
                return False
        elif found.constants.get(value, _LARGEST_SIZE + 1) > _LARGEST_SIZE:
            return False
    return True


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield the fields of a message in their order; fixed-width numbers come as their bytes."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise _Unreadable(f"field of kind {kind}")
        if size > end - place:
            raise _Unreadable("it ends too soon")
        yield tag >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read a number at a place; return it and the place behind it."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise _Unreadable("it ends too soon")


def _numbers(value: int | memoryview) -> list[int]:
    """Return the numbers of a repeated field, which is written one by one or packed."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers = []
    place = 0
    while place < len(value):
        number, place = _varint(value, place)
        numbers.append(_signed(number))
    return numbers


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Unreadable("a number where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return str(_message(value), "utf-8")
