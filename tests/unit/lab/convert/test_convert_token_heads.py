"""The token heads of the graph: their results, the texts that they read, and batch independence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.checkpoints import (
    CLS,
    GATE,
    MARKING,
    SEP,
    SIZES,
    TWO_HEADS,
    Tensors,
    random_tensors,
    reference_logits,
    write_checkpoint,
)
from worker.lab.convert.writer import convert_checkpoint
from worker.model.pack import load_pack
from worker.model.session import Session

NAME, READ = "toxic_spans", "toxic_spans.rows"
THRESHOLD: float = MARKING[NAME]["gate"]["threshold"]
Marks = dict[int, NDArray[np.float32]]


def texts(count: int = 48, seed: int = 5) -> list[list[int]]:
    """Token ids of made-up texts of all lengths."""
    rng = np.random.default_rng(seed)
    longest = SIZES["max_position_embeddings"] - 2
    lengths = [0, 1, longest, *rng.integers(2, longest, count - 3)]
    return [[CLS, *map(int, rng.integers(5, SIZES["vocab_size"], length)), SEP] for length in lengths]


def config_of(**spans: Any) -> dict[str, Any]:
    """The configuration with changed entries of the token head; None removes one."""
    entry = {key: value for key, value in {**MARKING[NAME], **spans}.items() if value is not None}
    return {**SIZES, "heads": {**MARKING, NAME: entry}}


def balanced(config: dict[str, Any]) -> Tensors:
    """Random weights with which the gate clearly lets half of the texts through and stops the rest."""
    tensors = random_tensors(config)
    for part in ("weight", "bias"):
        tensors[f"heads.toxicity.classifier.{part}"] *= 4
    found = [reference_logits(tensors, config, row)["toxicity"] for row in texts()]
    edge = MARKING["toxicity"]["temperature"] * np.log(THRESHOLD / (1 - THRESHOLD))
    tensors["heads.toxicity.classifier.bias"][1] += edge - np.median([two[1] - two[0] for two in found])
    return tensors


def packed(tmp_path: Path, config: dict[str, Any], *, quantise: bool, tensors: Tensors | None = None) -> Path:
    folder = write_checkpoint(tmp_path / "checkpoint", config, tensors)
    return convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=quantise).path


def marks_of(session: Session, rows: list[list[int]]) -> Marks:
    """The token logits of the texts that were read, by their index in the batch."""
    read, logits = session.run(rows)[1:]
    assert logits.shape == (len(read), max(map(len, rows)))
    return {int(row): values[: len(rows[row])] for row, values in zip(read, logits, strict=True)}


def session_of(pack: Path) -> Session:
    return Session(pack / "model.onnx", ["toxicity"], [READ, NAME])


def is_toxic(logits: NDArray[Any]) -> bool:
    """Whether the gate opens: softmax of logits / temperature, compared with its threshold."""
    powers = np.exp(logits / MARKING["toxicity"]["temperature"])
    return bool(powers[1] / powers.sum() >= THRESHOLD)


@pytest.mark.parametrize("layers", [[1], [2, 1]])
@pytest.mark.parametrize("hidden", [True, False])
def test_marks_equal_the_network_for_the_texts_that_the_gate_lets_through(
    tmp_path: Path, layers: list[int], hidden: bool
) -> None:
    config = config_of(layers=layers)
    tensors = balanced(config)
    if not hidden:
        for kind in ("weight", "bias"):
            del tensors[f"heads.{NAME}.pre_classifier.{kind}"]
        rng = np.random.default_rng(2)
        tensors[f"heads.{NAME}.classifier.weight"] = rng.normal(size=(1, 32 * len(layers))).astype("f4")
    session = session_of(packed(tmp_path, config, quantise=False, tensors=tensors))
    rows = texts()
    references = [reference_logits(tensors, config, row) for row in rows]
    found = marks_of(session, rows)
    assert sorted(found) == [n for n, known in enumerate(references) if is_toxic(known["toxicity"])]
    assert 0 < len(found) < len(rows)
    for row, values in found.items():
        np.testing.assert_allclose(values, references[row][NAME], atol=1e-4)


def test_int8_marks_are_close_to_the_network(tmp_path: Path) -> None:
    config = config_of(gate=None)
    tensors = random_tensors(config)
    found = marks_of(session_of(packed(tmp_path, config, quantise=True, tensors=tensors)), texts())
    known = np.concatenate([reference_logits(tensors, config, row)[NAME] for row in texts()])
    ours = np.concatenate([found[row] for row in range(len(texts()))])
    assert np.corrcoef(ours, known)[0, 1] > 0.99


def test_a_gate_that_no_text_passes_gives_no_rows(tmp_path: Path) -> None:
    for quantise in (True, False):
        folder = tmp_path / str(quantise)
        session = session_of(packed(folder, config_of(gate={**GATE, "threshold": 1.0}), quantise=quantise))
        assert marks_of(session, texts()) == {}
        assert marks_of(session, texts(4)[-1:]) == {}


def test_without_a_gate_every_text_is_read(tmp_path: Path) -> None:
    session = session_of(packed(tmp_path, config_of(gate=None), quantise=True))
    assert sorted(marks_of(session, texts())) == list(range(48))


def test_a_head_of_many_labels_can_be_the_gate(tmp_path: Path) -> None:
    gate = {"head": "emotion", "label": "mood3", "threshold": 0.6}
    config = config_of(gate=gate)
    tensors = random_tensors(config)
    session = session_of(packed(tmp_path, config, quantise=False, tensors=tensors))
    scores = [1 / (1 + np.exp(-reference_logits(tensors, config, row)["emotion"][3])) for row in texts()]
    assert sorted(marks_of(session, texts())) == [n for n, score in enumerate(scores) if score >= 0.6]


@pytest.mark.parametrize("quantise", [True, False])
def test_a_text_is_marked_the_same_alone_and_in_any_company(tmp_path: Path, quantise: bool) -> None:
    tensors = balanced(config_of())
    session = session_of(packed(tmp_path, config_of(), quantise=quantise, tensors=tensors))
    rows = texts(60)
    alone = [marks_of(session, [row]).get(0) for row in rows]
    assert 10 < sum(marks is None for marks in alone) < 50
    order = np.random.default_rng(1)
    for size in (2, 5, 17, 60):
        for _ in range(4):
            chosen = [int(number) for number in order.permutation(len(rows))[:size]]
            together = marks_of(session, [rows[number] for number in chosen])
            for place, number in enumerate(chosen):
                assert (place in together) == (alone[number] is not None)
                if place in together:  # bit-identical, whatever is in the batch and however it is padded
                    np.testing.assert_array_equal(together[place], alone[number])


@pytest.mark.parametrize("quantise", [True, False])
def test_the_other_heads_say_the_same_with_and_without_a_token_head(tmp_path: Path, quantise: bool) -> None:
    config = config_of()
    tensors = random_tensors(config)
    whole = packed(tmp_path / "with", config, quantise=quantise, tensors=tensors)
    heads = {name: entry for name, entry in MARKING.items() if name != NAME}
    plain = packed(tmp_path / "without", {**SIZES, "heads": heads}, quantise=quantise, tensors=tensors)
    names = list(heads)
    for ours, theirs in zip(
        Session(whole / "model.onnx", names).run(texts()),
        Session(plain / "model.onnx", names).run(texts()),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_heads_that_are_not_there_leave_no_node(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pack = packed(tmp_path, {**SIZES, "heads": TWO_HEADS}, quantise=True)
    operators = [node.op_type for node in onnx.load(pack / "model.onnx").graph.node]
    assert "NonZero" not in operators


def test_what_the_checkpoint_says_of_its_heads_is_in_the_pack(tmp_path: Path) -> None:
    groups = {"good": ["mood0", "mood1"], "other": ["mood2", "mood3", "mood4"]}
    heads = {**MARKING, "emotion": {**MARKING["emotion"], "groups": groups}}
    config = {**SIZES, "heads": heads, "text": {"name": "social", "version": 1}}
    pack = load_pack(packed(tmp_path, config, quantise=True))
    assert [head.name for head in pack.outputs] == list(MARKING)
    assert {name: list(labels) for name, labels in pack.heads[1].groups.items()} == groups
    assert pack.heads[2].temperature == 1.5
    (marking,) = pack.token_heads
    assert (marking.layers, marking.threshold, marking.labels) == ((2, 1), 0.5, ("toxic",))
    assert marking.gate is not None
    assert (marking.gate.head, marking.gate.label, marking.gate.threshold) == tuple(GATE.values())
    assert (pack.text.name, pack.text.version) == ("social", 1)
