"""A pack is data from anywhere: whatever is in it, loading it ends soon, in a classifier or in one line."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.support.packs import FLOAT, INT64, graph_of, vouch, with_config, with_graph
from worker.errors import PackError
from worker.heads import MULTI, read_heads
from worker.model.classifier import Classifier
from worker.model.pack import CONFIG, GRAPH, MANIFEST, TOKENIZER, load_pack

OUTPUTS = {"sentiment": 3, "emotion": 5}
NO_NUMBERS: tuple[Any, ...] = (10**400, float("nan"), float("inf"), True, None, [])


def refusal(pack: Path) -> str:
    """What loading the pack says: one line that can be printed, and soon."""
    started = time.monotonic()
    with pytest.raises(PackError) as caught:
        Classifier.load(pack)
    assert time.monotonic() - started < 5
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1_000
    message.encode()
    return message


def set_in(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one entry of a configuration."""

    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 1e-300, 1e300, "1"])
def test_a_temperature_is_a_number_that_scores_can_be_made_with(own_pack: Path, value: Any) -> None:
    with_config(own_pack, set_in("heads", "sentiment", "temperature", value=value))
    assert "`temperature` must be a number above 0" in refusal(own_pack)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.01, -0.01, "0.5"])
def test_a_threshold_is_a_probability(own_pack: Path, value: Any) -> None:
    with_config(own_pack, set_in("heads", "emotion", "thresholds", value=[0.5, 0.5, value, 0.5, 0.5]))
    assert "`thresholds` must lie between 0 and 1" in refusal(own_pack)


@pytest.mark.parametrize("more", [-1, 1, 4])
@pytest.mark.parametrize(("head", "count"), list(OUTPUTS.items()))
def test_labels_are_as_many_as_the_graph_gives_scores(
    own_pack: Path, head: str, count: int, more: int
) -> None:
    """Else every message would fail, one after the other."""
    labels = {str(number): f"label{number}" for number in range(count + more)}

    def change(config: dict[str, Any]) -> None:
        config["heads"][head] |= {"id2label": labels}
        config["heads"][head].pop("groups", None)
        if "thresholds" in config["heads"][head]:
            config["heads"][head]["thresholds"] = [0.5] * (count + more)

    with_config(own_pack, change)
    assert f"head {head} has {count + more} labels, and {GRAPH} gives it {count} scores" in refusal(own_pack)


@pytest.mark.parametrize("key", ["max_position_embeddings", "vocab_size"])
@pytest.mark.parametrize("value", [10**400, 10**9, 0, -5, 1.5, float("nan"), True, "24", None, [24]])
def test_a_size_is_a_number_that_can_be_had(own_pack: Path, key: str, value: Any) -> None:
    with_config(own_pack, set_in(key, value=value))
    assert f"`{key}` must be a whole number" in refusal(own_pack)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "a\nb", "\x1b[31m", "\u2028", "x" * 300, ""])
def test_names_can_be_printed(tiny_pack: Path, tmp_path: Path, name: str) -> None:
    def pack(number: int) -> Path:
        return Path(shutil.copytree(tiny_pack, tmp_path / str(number)))

    refusal(with_config(pack(1), set_in("heads", "sentiment", "id2label", "1", value=name)))
    refusal(with_config(pack(2), lambda config: config["heads"].update({name: config["heads"]["emotion"]})))
    refusal(with_config(pack(3), set_in("heads", "emotion", "groups", value={name: ["mood1"]})))
    manifest = json.loads((pack(4) / MANIFEST).read_text())
    (tmp_path / "4" / MANIFEST).write_text(json.dumps({**manifest, "name": name}))
    refusal(tmp_path / "4")
    files = {**manifest["files"], name: manifest["files"][CONFIG]}
    (tmp_path / "4" / MANIFEST).write_text(json.dumps({**manifest, "files": files}))
    refusal(tmp_path / "4")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = (
    "problem_type",
    "id2label",
    "thresholds",
    "temperature",
    "groups",
    "layers",
    "gate",
    "branch",
    "relative",
)


@given(
    kind=st.sampled_from(
        ["single_label_classification", "multi_label_classification", "token_classification"]
    ),
    changes=st.dictionaries(st.sampled_from(ENTRIES), JSON_VALUES, min_size=1, max_size=3),
    layers=JSON_VALUES,
)
@settings(max_examples=400, deadline=None)
def test_any_table_of_heads_is_read_or_refused_with_one_line(
    kind: str, changes: dict[str, Any], layers: Any
) -> None:
    entry = {"problem_type": kind, "id2label": {"0": "a"}, "layers": [1], **changes}
    judge = {"problem_type": MULTI, "id2label": {"0": "a"}}
    line = ""
    try:
        read_heads({"heads": {"judge": judge, "odd": entry}, "n_layers": layers}, Path(CONFIG))
    except PackError as error:
        line = str(error)
    assert "\n" not in line
    line.encode()


def test_one_label_alone_has_no_softmax(own_pack: Path) -> None:
    with_config(own_pack, set_in("heads", "sentiment", "id2label", value={"0": "good"}))
    assert "would always score 1" in refusal(own_pack)


@pytest.mark.parametrize("file", [MANIFEST, CONFIG, TOKENIZER, GRAPH, "MODEL_CARD.md"])
def test_pipes_and_devices_are_not_read(own_pack: Path, file: str) -> None:
    (own_pack / file).unlink()
    os.mkfifo(own_pack / file)
    assert f"{file} is no ordinary file" in refusal(own_pack)
    (own_pack / file).unlink()
    (own_pack / file).symlink_to("/dev/zero")
    assert f"{file} is no ordinary file" in refusal(own_pack)


def test_sizes_that_no_file_has_are_refused_before_it_is_read(own_pack: Path) -> None:
    manifest = json.loads((own_pack / MANIFEST).read_text())
    for size in (-1, 10**400, 2**40, 1.5, "10", None):
        manifest["files"][GRAPH]["bytes"] = size
        (own_pack / MANIFEST).write_text(json.dumps(manifest))
        assert GRAPH in refusal(own_pack)
    (own_pack / MANIFEST).write_bytes(b"[" * 1_000_000)
    assert MANIFEST in refusal(own_pack)


def test_a_link_to_an_ordinary_file_is_read(own_pack: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap."""
    (own_pack / CONFIG).rename(tmp_path / "elsewhere")
    (own_pack / CONFIG).symlink_to(tmp_path / "elsewhere")
    assert load_pack(own_pack).name == "tiny"


# Graphs.


def constant(name: str, values: Any, kind: Any = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def ends(source: str) -> list[onnx.NodeProto]:
    """Two outputs of the shapes that the tiny pack's heads have, made of any tensor of numbers."""
    return [
        node("Cast", source, "wide", to=FLOAT),
        node("ReduceSum", "wide", "sum", keepdims=0),
        node("Cast", "lengths", "rows", to=FLOAT),
        node("Unsqueeze", "rows one", "column"),
        node("Add", "column sum", "all"),
        node("Mul", "all three", "sentiment"),
        node("Mul", "all five", "emotion"),
    ]


CONSTANTS = [
    *(constant("one", [1]), constant("zero", 0), constant("unit", 1)),
    *(constant("three", np.ones((1, 3)), np.float32), constant("five", np.ones((1, 5)), np.float32)),
]


def test_a_plain_graph_of_another_kind_is_a_pack_too(own_pack: Path) -> None:
    with_graph(own_pack, graph_of(ends("ids"), CONSTANTS, OUTPUTS))
    (answer,) = Classifier.load(own_pack).classify(["great"])
    assert set(getattr(answer, "heads", {})) == {"sentiment", "emotion"}


def looping() -> onnx.ModelProto:
    """One that goes round for ever."""
    body = helper.make_graph(
        [node("Identity", "going", "still"), node("Identity", "held", "kept")],
        "body",
        [
            helper.make_tensor_value_info("turn", INT64, []),
            helper.make_tensor_value_info("going", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", FLOAT, []),
        ],
    )
    turns, true = constant("turns", 2**62), constant("true", True, np.bool_)
    start = constant("start", 0, np.float32)
    nodes = [node("Loop", "turns true start", "looped", body=body), *ends("looped")]
    return graph_of(nodes, [*CONSTANTS, turns, true, start], OUTPUTS)


def in_branches(depth: int) -> onnx.ModelProto:
    """Branches within branches."""
    inner = [node("Identity", "ids", "b0")]
    for level in range(depth):
        info = [helper.make_tensor_value_info(f"b{level}", onnx.TensorProto.INT32, None)]
        graph = helper.make_graph(inner, f"g{level}", [], info)
        inner = [node("If", "true", f"b{level + 1}", then_branch=graph, else_branch=graph)]
    true = constant("true", True, np.bool_)
    return graph_of([*inner, *ends(f"b{depth}")], [*CONSTANTS, true], OUTPUTS)


def external(tmp_path: Path) -> onnx.ModelProto:
    """Weights beside the graph, where no manifest vouches for them."""
    tensor = constant("big", np.ones(64), np.float32)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(tmp_path / "weights.bin")), ("length", "256")):
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "weights.bin").write_bytes(bytes(256))
    return graph_of(ends("big"), [*CONSTANTS, tensor], OUTPUTS)


def hollow() -> onnx.ModelProto:
    """A tensor that says that it is larger than it is."""
    tensor = constant("big", np.ones(8), np.float32)
    tensor.dims[:] = [2**40, 2**20]
    return graph_of(ends("big"), [*CONSTANTS, tensor], OUTPUTS)


def with_functions() -> onnx.ModelProto:
    model = graph_of(ends("ids"), CONSTANTS, OUTPUTS)
    opset = [helper.make_opsetid("", 21)]
    model.functions.append(
        helper.make_function("mine", "F", ["x"], ["y"], [node("Identity", "x", "y")], opset)
    )
    return model


def sized(
    operator: str, inputs: str, *more: onnx.TensorProto, first: tuple[Any, ...] = ()
) -> onnx.ModelProto:
    nodes = [*first, node(operator, inputs, "grown"), *ends("grown")]
    return graph_of(nodes, [*CONSTANTS, *more], OUTPUTS)


STEPS = (("a", 0), ("b", 1), ("c", 1e-12))
GRAPHS: dict[str, tuple[Callable[[Path], onnx.ModelProto], str]] = {
    "loop": (lambda _: looping(), "'Loop' is not allowed"),
    "branches": (lambda _: in_branches(12), "nested too deep"),
    "external": (external, "outside of the file"),
    "hollow": (lambda _: hollow(), "a shape that is not allowed"),
    "functions": (lambda _: with_functions(), "functions"),
    "expand": (
        lambda _: sized("Expand", "ids huge", constant("huge", [10**6, 10**6])),
        "a size that may have no bound",
    ),
    "expand computed": (
        lambda _: sized("Expand", "ids huge", constant("k", [60_000]), first=(node("Mul", "k k", "huge"),)),
        "a size that may have no bound",
    ),
    "range": (
        lambda _: sized("Range", "zero huge unit", constant("huge", 10**12)),
        "a size that may have no bound",
    ),
    "range in small steps": (
        lambda _: sized("Range", "a b c", *(constant(name, value, np.float32) for name, value in STEPS)),
        "a size that may have no bound",
    ),
    "constant of a shape": (
        lambda _: sized("ConstantOfShape", "huge", constant("huge", [10**6, 10**6])),
        "'ConstantOfShape' is not allowed",
    ),
    "an input left out": (
        lambda _: graph_of(
            [helper.make_node("Max", ["ids", ""], ["most"]), *ends("most")], CONSTANTS, OUTPUTS
        ),
        "'Max' lacks one of its inputs",
    ),
    "tile": (lambda _: sized("Tile", "ids huge", constant("huge", [10**6, 10**6])), "'Tile' is not allowed"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_is_not_allowed_is_refused_before_it_is_loaded(
    own_pack: Path, tmp_path: Path, name: str
) -> None:
    make, line = GRAPHS[name]
    assert line in refusal(with_graph(own_pack, make(tmp_path)))


@pytest.mark.parametrize("domain", ["com.example", "ai.onnx.ml", "com.microsoft"])
def test_operators_of_others_are_refused(own_pack: Path, domain: str) -> None:
    odd = helper.make_node("CallHome", ["ids"], ["odd"], domain=domain)
    assert f"'{domain}.CallHome' is not allowed" in refusal(
        with_graph(own_pack, graph_of([odd, *ends("odd")], CONSTANTS, OUTPUTS))
    )


def test_bytes_that_are_no_graph_are_refused(own_pack: Path) -> None:
    sound = (own_pack / GRAPH).read_bytes()
    for content in (
        b"",
        b"\0",
        b"ORTM" * 64,
        b"\x08\x0a\x00\x00ORTM" + bytes(64),
        sound[: len(sound) // 2],
        b"\xff" * 99,
    ):
        assert GRAPH in refusal(with_graph(own_pack, content))


def test_a_graph_that_takes_more_memory_than_there_is_fails_at_its_text(own_pack: Path) -> None:
    doubled = ["c"] + [f"d{number}" for number in range(34)]
    nodes = [node("Concat", f"{name} {name}", new, axis=0) for name, new in pairwise(doubled)]
    start = constant("seed", np.ones(64), np.float32)
    nodes = [node("Cast", "lengths", "first", to=FLOAT), node("Add", "first seed", "c"), *nodes]
    with_graph(own_pack, graph_of([*nodes, *ends(doubled[-1])], [*CONSTANTS, start], OUTPUTS))
    code = (
        "import resource, sys, worker.model.session as s;"
        "s.available_memory, s._LEAST_MEMORY = (lambda: 1 << 27), 1 << 26;"
        "from moodstream import Classifier, Failure;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "(answer,) = Classifier.load(sys.argv[1], threads=1).classify(['great']);"
        "print(isinstance(answer, Failure), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(own_pack)], capture_output=True, text=True, timeout=60, check=False
    )
    failed, kilobytes = done.stdout.split()
    assert failed == "True", done.stderr
    assert int(kilobytes) < 300_000


def test_a_graph_that_computes_for_hours_is_refused_at_the_start(
    own_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand products of matrices of 1,500 rows."""
    monkeypatch.setattr("worker.model.session.FIRST_PASS_LIMIT_S", 1.0)
    start = constant("m0", np.ones((1_500, 1_500)), np.float32)
    nodes = [node("MatMul", f"m{number} m{number}", f"m{number + 1}") for number in range(1_000)]
    with_graph(own_pack, graph_of([*nodes, *ends("m1000")], [*CONSTANTS, start], OUTPUTS))
    line = refusal(own_pack)
    assert "takes longer than 1 s to label" in line
    assert GRAPH in line


# Tokenizers.


def with_tokenizer(pack: Path, **changes: Any) -> Path:
    path = pack / TOKENIZER
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return vouch(pack)


GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1_000}
SPECIAL = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "panics at once": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "Precompiled",
    ),
    "panics at a text": (
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        "'FixedLength' is not supported",
    ),
    "a special token that is not there": (
        {"post_processor": {**SPECIAL, "single": [{"SpecialToken": {"id": "X", "type_id": 0}}]}},
        "lacks the special token 'X'",
    ),
    "nothing around a text": ({"post_processor": {**SPECIAL, "single": []}}, "0 tokens for a short text"),
    "grows": (
        {"normalizer": {"type": "Sequence", "normalizers": [GROWING] * 3}},
        "may not make a text longer",
    ),
    "backtracks": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+a+)+$"}, "behavior": "Isolated"}},
        "the pattern '(a+a+)+$' is not supported",
    ),
    "no model": ({"model": None}, "it has no `model`"),
    "nested": ({"normalizer": [[[[]]]]}, "must be tables"),
    "a number far too large": (
        {"post_processor": {"type": "BertProcessing", "sep": ["a", 4_000_000_000], "cls": ["b", 1]}},
        "the model knows",
    ),
}


def test_a_panic_of_the_library_writes_nothing_of_its_own(
    own_pack: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that the check before does not know: the report of Rust would stand beside our one line."""
    monkeypatch.setattr("worker.model.tokenizer.check_tokenizer", lambda _content, _path: 512)
    changes, _ = TOKENIZERS["panics at once"]
    assert "is not a readable tokenizer" in refusal(with_tokenizer(own_pack, **changes))
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_is_not_safe_is_refused(own_pack: Path, name: str) -> None:
    changes, line = TOKENIZERS[name]
    assert line in refusal(with_tokenizer(own_pack, **changes))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"max_input_chars_per_word": 10**6}, "`max_input_chars_per_word` must lie between"),
        ({"unk_token": "[NONE]"}, "lacks the unknown token '[NONE]'"),
        ({"vocab": {"[UNK]": 0, "a": 10**6}}, "the model knows"),
        ({"vocab": []}, "needs `vocab`"),
        ({"type": "Other"}, "'Other' is not supported"),
    ],
)
def test_a_vocabulary_that_cannot_work_is_refused(own_pack: Path, changes: dict[str, Any], line: str) -> None:
    model = json.loads((own_pack / TOKENIZER).read_text())["model"]
    assert line in refusal(with_tokenizer(own_pack, model={**model, **changes}))


def test_the_command_ends_with_one_line_and_its_exit_code(own_pack: Path) -> None:
    with_graph(own_pack, looping())
    done = subprocess.run(
        [sys.executable, "-m", "worker", "model", "verify", str(own_pack)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    (line,) = done.stderr.splitlines()
    assert "'Loop' is not allowed" in line
