"""Distillation: students made from layers, answers kept on disk, heads of every kind learnt, runs resumed."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from worker.compress.prune import Importance, prune
from worker.convert import convert_checkpoint
from worker.distill.folder import Checkpoint, read_checkpoint, write_folder
from worker.distill.loop import Weights
from worker.distill.quantised import quantise, rounded
from worker.distill.relations import Relations
from worker.distill.run import Settings, distil
from worker.distill.student import keep_layers, spread, student_of, without_temperatures
from worker.distill.targets import SHARD, answers_of, ask
from worker.distill.teachers import CheckpointTeacher, PackTeacher, network_of
from worker.distill.texts import Part, TextReader, read_recipe, thin
from worker.training.errors import TrainingError
from worker.training.recipe import Optimiser, Recipe, Run, Task
from worker.training.tokens import pad

pytestmark = pytest.mark.train

WORDS = ("lovely", "great", "awful", "broken", "train", "film", "the", "is", "was", "it")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
HEADS: dict[str, Any] = {
    "sentiment": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
        "temperature": 1.5,
    },
    "emotion": {
        "problem_type": "multi_label_classification",
        "id2label": {"0": "joy", "1": "anger"},
        "thresholds": [0.4, 0.6],
    },
    "toxic_spans": {
        "problem_type": "token_classification",
        "id2label": {"0": "toxic"},
        "layers": [1, 2, 3],
        "gate": {"head": "sentiment", "label": "negative", "threshold": 0.02},
    },
}


def _checkpoint(seed: int, layers: int = 4, heads: dict[str, Any] | None = None) -> Checkpoint:
    """A random network whose heads differ from text to text: its embeddings are large."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({w: n for n, w in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = {
        "model_type": "distilbert", "activation": "gelu", "dim": 32, "hidden_dim": 64, "n_layers": layers,
        "n_heads": 4, "vocab_size": len(VOCABULARY), "max_position_embeddings": 32, "heads": heads or HEADS,
    }  # fmt: skip
    empty = Checkpoint("random", config, {}, tokenizer.to_str())
    torch.manual_seed(seed)
    from worker.distill.folder import specs
    from worker.training.trunk import Network

    network = Network(config, specs(empty.heads))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 1.0 if "embeddings" in name else 2.0 / weight.shape[1] ** 0.5)
            elif "LayerNorm" not in name and "layer_norm" not in name:
                weight.normal_(0, 0.1)
    tensors = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return replace(empty, tensors=tensors)


def _texts(count: int, seed: int = 1) -> list[str]:
    rng = Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "big"
    write_folder(_checkpoint(1), folder)
    return folder


def _quiet(_line: str) -> None:
    """Progress lines are not looked at here."""


def _settings(**run: Any) -> Settings:
    return Settings(
        Optimiser(trunk_rate=3e-3, head_rate=3e-3, max_padded_tokens=256),
        Run(**{"seed": 3, "threads": 1, "precision": "fp32", **run}),
        Weights({}),
    )


def _logits(checkpoint: Checkpoint, texts: list[str], head: str) -> np.ndarray[Any, Any]:
    network, reader = network_of(checkpoint), TextReader(checkpoint)
    with torch.inference_mode():
        return np.concatenate(
            [
                network.heads[head](network(torch.from_numpy(row.ids)[None].long(), None)).numpy()
                for row in reader(texts, 32)
            ]
        )


def test_the_layers_that_distilbert_took() -> None:
    assert spread(12, 6) == [1, 3, 5, 8, 10, 12]
    assert spread(6, 3) == [1, 3, 6]
    assert spread(5, 5) == [1, 2, 3, 4, 5]
    with pytest.raises(TrainingError, match="cannot keep 7 layers of 6"):
        spread(6, 7)


def test_kept_layers_are_the_teachers_own_in_order(teacher: Path) -> None:
    whole = read_checkpoint(teacher)
    half = keep_layers(whole, [2, 4])
    for new, old in ((0, 1), (1, 3)):
        name = "distilbert.transformer.layer.{}.ffn.lin1.weight"
        assert np.array_equal(half.tensors[name.format(new)], whole.tensors[name.format(old)])
    assert half.sizes.n_layers == 2
    # Depths 1, 2 and 3 are read from what is left below the new last layer: the old second.
    weight = whole.tensors["heads.toxic_spans.pre_classifier.weight"]
    assert half.heads["toxic_spans"].layers == (1,)
    expected = weight[:, :32] + weight[:, 32:64] + weight[:, 64:]
    assert np.allclose(half.tensors["heads.toxic_spans.pre_classifier.weight"], expected)
    network_of(half)  # every tensor has the shape that the new configuration wants


def test_all_layers_kept_is_the_same_model(teacher: Path) -> None:
    whole = read_checkpoint(teacher)
    same = keep_layers(whole, [1, 2, 3, 4])
    assert same.config == whole.config
    assert all(np.array_equal(same.tensors[name], array) for name, array in whole.tensors.items())


@pytest.mark.parametrize("layers", [[], [2, 1], [1, 1], [0, 1], [1, 5]])
def test_layers_that_make_no_sense_are_refused(teacher: Path, layers: list[int]) -> None:
    with pytest.raises(TrainingError, match="layers to keep must rise and lie between 1 and 4"):
        keep_layers(read_checkpoint(teacher), layers)


def test_a_token_head_needs_a_layer_below_the_last(teacher: Path) -> None:
    with pytest.raises(TrainingError, match="toxic_spans reads tokens below the last layer"):
        keep_layers(read_checkpoint(teacher), [4])


def test_a_temperature_goes_into_the_weights(teacher: Path) -> None:
    whole, texts = read_checkpoint(teacher), _texts(5)
    folded = without_temperatures(whole)
    assert folded.heads["sentiment"].temperature == 1.0
    assert np.allclose(
        _logits(folded, texts, "sentiment"), _logits(whole, texts, "sentiment") / 1.5, atol=1e-5
    )


def test_answers_are_asked_for_once(teacher: Path, tmp_path: Path) -> None:
    texts, lines = _texts(30), list[str]()
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
    shard.write_bytes(shard.read_bytes()[:100])  # as a full disk may leave it, had it not been written aside
    answers_of(asked, texts, 16, tmp_path, lines.append)
    assert len(lines) == 2


def test_shards_are_joined_in_order(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, asked = _texts(25), CheckpointTeacher(teacher)
    whole = answers_of(asked, texts, 16, tmp_path / "1", _quiet)
    assert len(texts) < SHARD
    monkeypatch.setattr("worker.distill.targets.SHARD", 7)
    parts = answers_of(asked, texts, 16, tmp_path / "2", _quiet)
    assert len(list((tmp_path / "2").glob("taught-*.npz"))) == 4
    for head in whole.scores:
        assert np.allclose(
            whole.scores[head], parts.scores[head], atol=0.02
        )  # other batches, perhaps bfloat16
    row = next(iter(whole.tokens["toxic_spans"]))
    assert whole.tokens["toxic_spans"][row].ranges == parts.tokens["toxic_spans"][row].ranges


def test_a_pack_and_its_checkpoint_teach_alike(teacher: Path, tmp_path: Path) -> None:
    convert_checkpoint(teacher, tmp_path / "pack", name="big", quantise=False)
    texts = _texts(20)
    ours, theirs = (
        answers_of(asked, texts, 16, tmp_path / name, _quiet)
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


def test_several_teachers_are_averaged(teacher: Path, tmp_path: Path) -> None:
    write_folder(_checkpoint(2), tmp_path / "other")
    teachers = [CheckpointTeacher(teacher), CheckpointTeacher(tmp_path / "other")]
    texts = _texts(12)
    student = read_checkpoint(teacher)
    rows = TextReader(student)(texts, 16)
    targets = ask(teachers, student.heads, texts, rows, max_tokens=16, keep=tmp_path, say=_quiet)
    each = [answers_of(asked, texts, 16, tmp_path, _quiet) for asked in teachers]
    (soft,) = targets.soft["sentiment"]
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
    write_folder(_checkpoint(2, heads=strange), tmp_path / "strange")
    part = Part("texts", _texts(5), 16)
    with pytest.raises(TrainingError, match="its head emotion has the label 'envy'"):
        distil(
            [CheckpointTeacher(tmp_path / "strange"), CheckpointTeacher(teacher)],
            read_checkpoint(teacher), [part], tmp_path, _settings(), say=_quiet,
        )  # fmt: skip


def test_a_student_learns_every_head_of_its_teacher(teacher: Path, tmp_path: Path) -> None:
    student = student_of("every-other", teacher, None, seed=1)
    asked = CheckpointTeacher(teacher)
    part = Part("texts", _texts(400), 16, epochs=12)
    found = distil([asked], student, [part], tmp_path, _settings(), say=_quiet).student
    held_back = _texts(200, seed=99)
    truth = answers_of(asked, held_back, 16, tmp_path / "t", _quiet)
    rows = TextReader(found)(held_back, 16)
    for head in ("sentiment", "emotion"):
        before, after = (
            _distance(checkpoint, held_back, head, truth.scores[head]) for checkpoint in (student, found)
        )
        assert after < 0.5 * before, head
    before, after = (_token_distance(c, rows, truth.tokens["toxic_spans"]) for c in (student, found))
    assert after < 0.6 * before


def _distance(checkpoint: Checkpoint, texts: list[str], head: str, wanted: Any) -> float:
    logits = torch.from_numpy(_logits(checkpoint, texts, head))
    multi = checkpoint.heads[head].multi_label
    scores = torch.sigmoid(logits) if multi else torch.softmax(logits, dim=1)
    return float((scores.numpy() - wanted).__abs__().mean())


def _token_distance(checkpoint: Checkpoint, rows: Any, told: Any) -> float:
    network, layers = network_of(checkpoint), checkpoint.heads["toxic_spans"].layers
    each = []
    with torch.inference_mode():
        for row, wanted in told.items():
            depths = network.at_depths(torch.from_numpy(rows[row].ids)[None].long(), None, layers)
            scores = torch.sigmoid(network.heads["toxic_spans"](depths)[0, :, 0]).numpy()
            each.extend(np.abs(scores - wanted.scores)[1:-1])
    return float(np.mean(each))


def test_a_run_that_was_cut_off_comes_to_the_same_weights(teacher: Path, tmp_path: Path) -> None:
    student, asked = student_of("every-other", teacher, None, seed=1), CheckpointTeacher(teacher)
    part = Part("texts", _texts(120), 16, epochs=2)
    whole = distil([asked], student, [part], tmp_path / "whole", _settings(), say=_quiet)
    lines: list[str] = []

    class Cut(Exception):
        pass

    from worker.distill import loop

    step = loop.Loop._step

    def cut_at_five(self: loop.Loop, number: int, factor: float) -> int:
        if number == 5:
            self._save(number, 1.0)
            raise Cut
        return step(self, number, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Loop, "_step", cut_at_five)
        with pytest.raises(Cut):
            distil([asked], student, [part], tmp_path / "cut", _settings(), say=_quiet)
    resumed = distil([asked], student, [part], tmp_path / "cut", _settings(), resume=True, say=lines.append)
    assert any("resumed at step 5" in line for line in lines)
    assert resumed.steps == whole.steps > 5
    for name, array in whole.student.tensors.items():
        assert np.array_equal(array, resumed.student.tensors[name]), name
    other = Part("texts", _texts(120, seed=8), 16, epochs=2)
    with pytest.raises(TrainingError, match="made by another distillation or other texts"):
        distil([asked], student, [other], tmp_path / "cut", _settings(), resume=True, say=_quiet)


def test_relations_need_the_same_tokens_and_no_common_width(teacher: Path, tmp_path: Path) -> None:
    asked = CheckpointTeacher(teacher)
    small = prune(read_checkpoint(teacher), Importance(np.ones((4, 4)), np.ones((4, 64))), heads=3, hidden=32)
    relations = Relations(asked, small)
    assert relations.heads == 8  # of 32 and 24 features

    def divergence(checkpoint: Checkpoint) -> float:
        network, rows = network_of(checkpoint), TextReader(checkpoint)(["the film is great", "awful"], 16)
        ids, mask = pad([row.ids for row in rows])
        padded, real = torch.from_numpy(ids), torch.from_numpy(np.asarray(mask))
        with torch.inference_mode():
            below = network.distilbert.hidden_states(padded, real, 3)[-1]
            return float(relations.loss(network, below, padded, real))

    assert divergence(small) > 0.01
    same = Relations(asked, read_checkpoint(teacher))
    assert same.heads == 32
    relations = same
    assert divergence(read_checkpoint(teacher)) == pytest.approx(0, abs=1e-5)
    settings = replace(_settings(), weights=Weights({}, first=0.0, relations=1.0))
    part = Part("texts", _texts(200), 16, epochs=4)
    found = distil([asked], small, [part], tmp_path, settings, say=_quiet).student
    relations = Relations(asked, small)
    assert divergence(found) < 0.7 * divergence(small)
    other = replace(small, config={**small.config, "text": {"name": "social", "version": 1}})
    with pytest.raises(TrainingError, match="cut texts into other tokens"):
        Relations(asked, other)


def test_two_processes_teach_one_student(teacher: Path, tmp_path: Path) -> None:
    student, asked = student_of("every-other", teacher, None, seed=1), CheckpointTeacher(teacher)
    part = Part("texts", _texts(300), 16, epochs=4)
    found = distil([asked], student, [part], tmp_path, _settings(processes=2), say=_quiet)
    assert found.steps == found.planned
    held_back = _texts(100, seed=99)
    truth = answers_of(asked, held_back, 16, tmp_path / "t", _quiet).scores["emotion"]
    before, after = (_distance(each, held_back, "emotion", truth) for each in (student, found.student))
    assert after < 0.8 * before


def test_rounding_lets_the_gradient_through() -> None:
    values = torch.randn(3, 8, requires_grad=True)
    new = rounded(values)
    assert float((new - values).detach().abs().max()) > 0
    assert all(len(torch.unique(row)) <= 8 for row in new)
    step = values.abs().amax(dim=1) / 127
    assert bool(((new - values).abs() <= step[:, None] / 2 + 1e-6).all())
    new.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, torch.ones_like(values))


def test_quantisation_in_the_loop_changes_no_name_and_trains(teacher: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(teacher)
    network = network_of(whole)
    ids = torch.tensor([[2, 5, 6, 3]])
    before = network(ids, None)
    quantise(network)
    assert list(network.state_dict()) == list(network_of(whole).state_dict())
    moved = float((network(ids, None) - before).detach().abs().max())
    assert 0 < moved < 0.3  # it rounds, and it is the same network
    settings = replace(_settings(), prepare=quantise, prepared="int8-rows")
    part = Part("texts", _texts(60), 16)
    distil([CheckpointTeacher(teacher)], whole, [part], tmp_path, settings, say=_quiet)


def test_the_command_makes_a_pack(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.cli.main import cli

    monkeypatch.setenv("MOODSTREAM_DATA", str(tmp_path / "nowhere"))
    (tmp_path / "texts.txt").write_text("\n".join(_texts(80)) + "\n", encoding="utf-8")
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
    card = (tmp_path / "small/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "learnt from larger models" in card
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


def _marked_texts(root: Path, rows: int) -> None:
    (root / "toxic_spans").mkdir(parents=True)
    lines, rng = ["spans,text\n"], Random(5)
    others = [word for word in WORDS if word != "awful"]
    for number in range(rows):
        before = " ".join(rng.choices(others, k=rng.randint(1, 4)))
        text = f"{before} {'awful' if number % 2 else 'great'}"
        places = list(range(len(before) + 1, len(text))) if number % 2 else []
        lines.append(f'"{places}",{text}\n')
    (root / "toxic_spans/tsd_train.csv").write_text("".join(lines), encoding="utf-8")
    (root / "toxic_spans/tsd_trial.csv").write_text('spans,text\n"[]",it was\n', encoding="utf-8")


def test_a_recipes_labels_are_learnt_too(teacher: Path, tmp_path: Path) -> None:
    """The teacher is random: only the labels can teach that «awful» is marked."""
    _marked_texts(tmp_path / "data", 200)
    task = Task("toxic_spans", epochs=12, max_tokens=16, hard=1.0, masked=0.05)
    student = read_checkpoint(teacher)
    parts = read_recipe(Recipe("r", "none", (task,)), tmp_path / "data", student.heads)
    assert parts[0].head == "toxic_spans"
    found = distil([CheckpointTeacher(teacher)], student, parts, tmp_path, _settings(), say=_quiet).student
    network, (row,) = network_of(found), TextReader(found)(["it was awful"], 16)
    with torch.inference_mode():
        depths = network.at_depths(torch.from_numpy(row.ids)[None].long(), None, (1, 2, 3))
        scores = torch.sigmoid(network.heads["toxic_spans"](depths)[0, :, 0]).tolist()
    assert scores[3] > 0.5 > max(scores[1:3])


def test_rows_that_are_not_learnt_from_are_not_asked_about() -> None:
    part = Part("texts", _texts(100), 16, epochs=0.25, head="sentiment", labels=[(n,) for n in range(100)])
    few = thin(part, 1)
    assert (len(few.texts), len(few.labels), few.epochs) == (25, 25, 1.0)
    assert all(part.texts[row] == text for text, (row,) in zip(few.texts, few.labels, strict=True))
    assert thin(part, 1) == few
    assert thin(part, 2) != few
    assert thin(replace(part, epochs=1.5), 1).texts == part.texts


def test_labels_are_renumbered_by_name_or_refused(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    for split, text in (("train", "the film was great"), ("dev", "it is awful")):
        (tmp_path / f"sst2/{split}.tsv").write_text(f"label\tsentence\n1\t{text}\n", encoding="utf-8")
    recipe = Recipe("r", "none", (Task("sst2", max_tokens=16),))
    turned = {"0": "positive", "1": "neutral", "2": "negative"}
    heads = {"sentiment": {**HEADS["sentiment"], "id2label": turned}}
    (part,) = read_recipe(recipe, tmp_path, _checkpoint(1, heads=heads).heads)
    assert part.labels == [(0,)]
    lacking = {"sentiment": {**HEADS["sentiment"], "id2label": {"0": "positive", "1": "negative"}}}
    with pytest.raises(TrainingError, match="the student's head sentiment has no label 'neutral'"):
        read_recipe(recipe, tmp_path, _checkpoint(1, heads=lacking).heads)
    with pytest.raises(TrainingError, match=r"mine\.csv: distill takes labels of the known data sets only"):
        read_recipe(Recipe("r", "none", (Task(file="mine.csv"),)), tmp_path, {})
