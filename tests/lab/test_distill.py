"""Distillation: students made from layers, cached answers, heads of every kind, the command."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.support.random_checkpoints import (
    HEADS,
    distance_from,
    logits_of,
    quiet,
    random_checkpoint,
    settings,
    some_texts,
)
from worker.errors import CutError, TeacherError
from worker.lab.checkpoint import Checkpoint, read_checkpoint, write_folder
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.distill import distil
from worker.lab.evaluate.score import TokenScores
from worker.lab.network import network_of
from worker.lab.plots import read_history
from worker.lab.prune import keep_layers, spread
from worker.lab.student import student_of
from worker.lab.teachers import SHARD, Answers, CheckpointTeacher, PackTeacher, answers_of, ask, shared
from worker.lab.texts import Part, TextReader

pytestmark = pytest.mark.train


def test_the_layers_that_distilbert_took() -> None:
    assert spread(12, 6) == [1, 3, 5, 8, 10, 12]
    assert spread(6, 3) == [1, 3, 6]
    assert spread(5, 5) == [1, 2, 3, 4, 5]
    with pytest.raises(CutError, match="cannot keep 7 layers of 6"):
        spread(6, 7)


def test_kept_layers_are_the_teachers_own_in_order(teacher: Path) -> None:
    whole = read_checkpoint(teacher)
    half = keep_layers(whole, [2, 4])
    for new, old in ((0, 1), (1, 3)):
        name = "distilbert.transformer.layer.{}.ffn.lin1.weight"
        assert np.array_equal(half.tensors[name.format(new)], whole.tensors[name.format(old)])
    assert half.sizes.n_layers == 2
    # The head's layers 1, 2 and 3 become the only one left below the new last layer: the old second.
    weight = whole.tensors["heads.toxic_spans.pre_classifier.weight"]
    assert half.heads["toxic_spans"].layers == (1,)
    expected = weight[:, :32] + weight[:, 32:64] + weight[:, 64:]
    assert np.allclose(half.tensors["heads.toxic_spans.pre_classifier.weight"], expected)
    network_of(half)  # every tensor has the shape of the new configuration


def test_all_layers_kept_is_the_same_model(teacher: Path) -> None:
    whole = read_checkpoint(teacher)
    same = keep_layers(whole, [1, 2, 3, 4])
    assert same.config == whole.config
    assert all(np.array_equal(same.tensors[name], array) for name, array in whole.tensors.items())


@pytest.mark.parametrize("layers", [[], [2, 1], [1, 1], [0, 1], [1, 5]])
def test_layers_that_make_no_sense_are_refused(teacher: Path, layers: list[int]) -> None:
    with pytest.raises(CutError, match="layers to keep must be in ascending order between 1 and 4"):
        keep_layers(read_checkpoint(teacher), layers)


def test_a_token_head_needs_a_layer_below_the_last(teacher: Path) -> None:
    with pytest.raises(CutError, match="toxic_spans reads tokens below the last layer"):
        keep_layers(read_checkpoint(teacher), [4])


def test_a_temperature_goes_into_the_weights(teacher: Path) -> None:
    whole, texts = read_checkpoint(teacher), some_texts(5)
    folded = whole.without_temperatures()
    assert folded.heads["sentiment"].temperature == 1.0
    assert np.allclose(
        logits_of(folded, texts, "sentiment"), logits_of(whole, texts, "sentiment") / 1.5, atol=1e-5
    )


def test_answers_are_asked_for_once(teacher: Path, tmp_path: Path) -> None:
    texts, lines = some_texts(30), list[str]()
    asked = CheckpointTeacher(teacher)
    one = answers_of(asked, texts, 16, tmp_path, lines.append)
    two = answers_of(asked, texts, 16, tmp_path, lines.append)
    assert len(lines) == 1
    for head, scores in one.scores.items():
        assert np.array_equal(scores, two.scores[head])
    assert one.tokens["toxic_spans"].keys() == two.tokens["toxic_spans"].keys()
    for row, told in one.tokens["toxic_spans"].items():
        assert np.allclose(told.scores, two.tokens["toxic_spans"][row].scores)
        assert list(told.ranges) == list(two.tokens["toxic_spans"][row].ranges)
    shard = next(tmp_path.glob("taught-*.npz"))
    shard.write_bytes(shard.read_bytes()[:100])  # truncated, as by a full disk
    answers_of(asked, texts, 16, tmp_path, lines.append)
    assert len(lines) == 2


def test_shards_are_joined_in_order(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, asked = some_texts(25), CheckpointTeacher(teacher)
    whole = answers_of(asked, texts, 16, tmp_path / "1", quiet)
    assert len(texts) < SHARD
    monkeypatch.setattr("worker.lab.teachers.SHARD", 7)
    parts = answers_of(asked, texts, 16, tmp_path / "2", quiet)
    assert len(list((tmp_path / "2").glob("taught-*.npz"))) == 4
    for head in whole.scores:
        assert np.allclose(
            whole.scores[head], parts.scores[head], atol=0.02
        )  # other batches, perhaps bfloat16
    row = next(iter(whole.tokens["toxic_spans"]))
    assert whole.tokens["toxic_spans"][row].ranges == parts.tokens["toxic_spans"][row].ranges


def test_a_pack_and_its_checkpoint_teach_alike(teacher: Path, tmp_path: Path) -> None:
    convert_checkpoint(teacher, tmp_path / "pack", name="big", quantise=False)
    texts = some_texts(20)
    ours, theirs = (
        answers_of(asked, texts, 16, tmp_path / name, quiet)
        for name, asked in (("1", CheckpointTeacher(teacher)), ("2", PackTeacher(tmp_path / "pack")))
    )
    for head in ours.scores:
        assert np.allclose(ours.scores[head], theirs.scores[head], atol=0.05)
    both = ours.tokens["toxic_spans"].keys() & theirs.tokens["toxic_spans"].keys()
    assert len(both) > 5
    for row in both:
        a, b = ours.tokens["toxic_spans"][row], theirs.tokens["toxic_spans"][row]
        inner = [start < end for start, end in a.ranges]
        assert np.allclose(np.array(a.scores)[inner], np.array(b.scores)[inner], atol=0.05)


def test_a_pack_tells_the_parts_of_a_word_apart(teacher: Path, tmp_path: Path) -> None:
    """It names the whole word's range for each part, and teaches each part its own score."""
    student = read_checkpoint(teacher)
    row = SimpleNamespace(
        ranges=[(0, 0), (0, 5), (5, 7), (7, 9), (9, 9)], word_ranges=[(0, 0), (0, 9), (0, 9), (0, 9), (9, 9)]
    )
    scores = np.array([0.9, 0.8, 0.1, 0.4, 0.9])

    class Fixed:
        title, identity, heads = "fixed", "fixed", student.heads

        def __init__(self, ranges: list[tuple[int, int]]) -> None:
            self.ranges, self.identity = ranges, repr(ranges)

        def answers(self, _texts: object, _max_tokens: int) -> Answers:
            return Answers(tokens={"toxic_spans": {0: TokenScores(scores[: len(self.ranges)], self.ranges)}})

    def taught(ranges: list[tuple[int, int]]) -> list[float]:
        asked: Any = Fixed(ranges)
        rows: Any = [row]
        told = ask([asked], student.heads, ["braindead"], rows, max_tokens=16, folder=tmp_path, say=quiet)
        return [round(float(score), 3) for score in told.tokens["toxic_spans"][0]]

    assert taught(row.word_ranges) == taught(row.ranges) == [0, 0.8, 0.1, 0.4, 0]
    assert taught([(0, 0), (0, 7), (7, 9), (9, 9)]) == [0, 0.8, 0.8, 0.1, 0]  # other tokens: what overlaps


def test_one_answer_for_a_group_is_the_mean_or_the_firsts() -> None:
    answers = np.array([[0.2, 0.8], [0.4, 0.6], [1.0, 0.0], [0.0, 1.0]], np.float32)
    assert shared(answers, 2).tolist() == pytest.approx(
        np.array([[0.3, 0.7], [0.3, 0.7], [0.5, 0.5], [0.5, 0.5]])
    )
    assert np.array_equal(shared(answers, 1), answers)
    assert np.array_equal(shared(answers, 2, first_leads=True), answers[[0, 0, 2, 2]])


def test_several_teachers_are_averaged(teacher: Path, tmp_path: Path) -> None:
    write_folder(random_checkpoint(2), tmp_path / "other")
    teachers = [CheckpointTeacher(teacher), CheckpointTeacher(tmp_path / "other")]
    texts = some_texts(12)
    student = read_checkpoint(teacher)
    rows = TextReader(student)(texts, 16)
    targets = ask(teachers, student.heads, texts, rows, max_tokens=16, folder=tmp_path, say=quiet)
    each = [answers_of(asked, texts, 16, tmp_path, quiet) for asked in teachers]
    (soft,) = targets.scores["sentiment"]
    assert soft.teachers == 2
    assert np.allclose(
        soft.scores, (each[0].scores["sentiment"] + each[1].scores["sentiment"]) / 2, atol=1e-6
    )
    asked_both = each[0].tokens["toxic_spans"].keys() & each[1].tokens["toxic_spans"].keys()
    row = next(iter(asked_both))
    mean = (each[0].tokens["toxic_spans"][row].scores + each[1].tokens["toxic_spans"][row].scores) / 2
    inner = [start < end for start, end in rows[row].ranges]
    assert np.allclose(targets.tokens["toxic_spans"][row][inner], mean[inner], atol=1e-6)


def test_a_teacher_with_a_strange_label_is_refused(teacher: Path, tmp_path: Path) -> None:
    strange = {"emotion": {**HEADS["emotion"], "id2label": {"0": "joy", "1": "envy"}}}
    write_folder(random_checkpoint(2, heads=strange), tmp_path / "strange")
    part = Part("texts", some_texts(5), 16)
    with pytest.raises(TeacherError, match="its head emotion has the label 'envy'"):
        distil(
            [CheckpointTeacher(tmp_path / "strange"), CheckpointTeacher(teacher)],
            read_checkpoint(teacher), [part], tmp_path, settings(), say=quiet,
        )  # fmt: skip


def test_a_student_learns_every_head_of_its_teacher(teacher: Path, tmp_path: Path) -> None:
    student = student_of("every-other", teacher, None, seed=1)
    asked = CheckpointTeacher(teacher)
    part = Part("texts", some_texts(400), 16, epochs=12)
    found = distil([asked], student, [part], tmp_path, settings(), say=quiet).checkpoint
    held_back = some_texts(200, seed=99)
    truth = answers_of(asked, held_back, 16, tmp_path / "t", quiet)
    rows = TextReader(found)(held_back, 16)
    for head in ("sentiment", "emotion"):
        before, after = (
            distance_from(checkpoint, held_back, head, truth.scores[head]) for checkpoint in (student, found)
        )
        assert after < 0.5 * before, head
    before, after = (_token_distance(c, rows, truth.tokens["toxic_spans"]) for c in (student, found))
    assert after < 0.6 * before


def _token_distance(checkpoint: Checkpoint, rows: Any, told: Any) -> float:
    network = network_of(checkpoint)
    each = []
    with torch.inference_mode():
        for row, wanted in told.items():
            logits = network.marks("toxic_spans", torch.from_numpy(rows[row].ids)[None].long(), None)
            scores = torch.sigmoid(logits[0]).numpy()
            each.extend(np.abs(scores - wanted.scores)[1:-1])
    return float(np.mean(each))


def test_the_command_makes_a_pack(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.cli.main import cli

    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path / "nowhere"))
    (tmp_path / "texts.txt").write_text("\n".join(some_texts(80)) + "\n", encoding="utf-8")
    arguments = [
        "distill", "--teacher", str(teacher), "--student", "every-other",
        "--texts", str(tmp_path / "texts.txt"),
        "--out", str(tmp_path / "small"), "--threads", "1",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "small/config.json").read_text(encoding="utf-8"))
    assert config["n_layers"] == 2
    assert set(config["heads"]) == set(HEADS)
    assert (tmp_path / "small-work/checkpoint/model.safetensors").is_file()
    assert read_history(tmp_path / "small-work/history.jsonl")[-1].losses.keys() >= {"sentiment", "first"}
    card = (tmp_path / "small/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "learnt from larger models' answers" in card
    assert "Not measured" in card


def test_mistakes_are_one_line(teacher: Path, tmp_path: Path) -> None:
    from worker.cli.main import main

    def said(*arguments: str) -> tuple[int, str]:
        import contextlib
        import io

        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            code = main(["distill", "--out", str(tmp_path / "out"), *arguments])
        return code, errors.getvalue()

    code, line = said("--teacher", str(teacher), "--student", "every-other")
    assert code == 2
    assert "nothing to learn from" in line
    (tmp_path / "texts.txt").write_text("one\ntwo\n", encoding="utf-8")
    texts = ("--texts", str(tmp_path / "texts.txt"))
    code, line = said("--teacher", str(tmp_path / "none"), "--student", "every-other", *texts)
    assert code == 2
    assert "there is no teacher at" in line
    code, line = said("--teacher", str(teacher), "--student", "every-other", "--layers", "two", *texts)
    assert code == 2
    assert "layers must be a number" in line
    convert_checkpoint(teacher, tmp_path / "pack", name="big")
    code, line = said("--teacher", str(tmp_path / "pack"), "--student", "every-other", *texts)
    assert code == 2
    assert "a pack has only rounded weights" in line
    assert line.count("\n") == 1
    assert "torch" in sys.modules
