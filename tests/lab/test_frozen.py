"""A frozen run: one head is trained, and all other answers are bit-identical to the base's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.random_checkpoints import HEADS, WORDS, marked_texts, random_checkpoint
from worker.errors import TrainingError
from worker.lab.build import Places, make_pack
from worker.lab.checkpoint import write_folder
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.recipe import HeadLayers, Optimiser, OwnLayers, Recipe, Run, Task
from worker.lab.train import train
from worker.lab.trainer import Trainer
from worker.model.classifier import Classifier

pytestmark = pytest.mark.train

TOXICITY = {
    "problem_type": "single_label_classification",
    "id2label": {"0": "not_toxic", "1": "toxic"},
    "temperature": 0.7,
}
TEXTS = ["the film was lovely", "a train on monday", "it is late, broken and dull", "thanks"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random pack of 4 layers with every kind of head."""
    folder = tmp_path_factory.mktemp("base")
    gate = {"head": "toxicity", "label": "toxic", "threshold": 0.02}
    spans = {**HEADS["toxic_spans"], "gate": gate}
    random = random_checkpoint(3, heads={**HEADS, "toxicity": TOXICITY, "toxic_spans": spans})
    random = replace(random, config={**random.config, "text": {"name": "social", "version": 1}})
    write_folder(random, folder / "checkpoint")
    convert_checkpoint(folder / "checkpoint", folder / "pack", name="base")
    return folder / "pack"


def _table(path: Path) -> Path:
    """Write 120 texts that differ in the random vocabulary's tokens."""
    rows = [
        f"the {word} {WORDS[n % 10]} {WORDS[n // 10]},{label}"
        for n in range(60)
        for word, label in (("lovely", "good"), ("awful", "bad"))
    ]
    path.write_text("\n".join(["text,topic", *rows]), encoding="utf-8")
    return path


def _recipe(base: Path, *tasks: Task, **values: object) -> Recipe:
    optimiser = Optimiser(trunk_rate=1e-3, head_rate=5e-3, max_padded_tokens=256)
    run = Run(seed=3, threads=1, precision="fp32")
    recipe = Recipe(name="more", base=str(base), tasks=tasks, text="social", frozen=True)
    return recipe.changed(optimiser=optimiser, run=run, **values)


def _answers(pack: Path, without: str) -> list[dict[str, object]]:
    """A pack's exact answers to TEXTS by head, with scores and spans."""
    model = Classifier.load(pack)
    answers = model.predict(model.tokenize(TEXTS))
    return [{name: said for name, said in answer.heads.items() if name != without} for answer in answers]


def test_a_new_head_leaves_the_others_as_they_were(base: Path, tmp_path: Path) -> None:
    recipe = _recipe(base, Task(file=str(_table(tmp_path / "mine.csv")), epochs=4, max_tokens=32))
    pack = make_pack(recipe, Places(None, tmp_path / "work", tmp_path / "pack"), say=lambda _line: None)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, tmp_path / "pack"))
    assert "topic" in {head.name for head in pack.heads}
    assert {**after["heads"], "topic": None} == {**before["heads"], "topic": None}  # thresholds and all
    assert _answers(tmp_path / "pack", "topic") == _answers(base, "")
    card = (tmp_path / "pack" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "- **topic**: one of bad, good\n" in card
    assert "- **sentiment**: one of negative, neutral, positive, as it came with the base" in card


def test_texts_longer_than_the_base_reads_are_cut_and_told(base: Path, tmp_path: Path) -> None:
    path = _table(tmp_path / "mine.csv")
    rows = path.read_text(encoding="utf-8").splitlines()
    long = [f"{row.partition(',')[0]} {'and on ' * 60},{row.partition(',')[2]}" for row in rows[1:]]
    path.write_text("\n".join([rows[0], *long]), encoding="utf-8")
    said: list[str] = []
    recipe = _recipe(base, Task(file=str(path), epochs=1, max_tokens=200))
    make_pack(recipe, Places(None, tmp_path / "work", tmp_path / "pack"), say=said.append)
    assert "mine.csv: texts are cut at 32 tokens, as the base reads no more, not at 200" in said


def test_a_frozen_encoder_reads_each_text_once_and_a_resumed_run_comes_to_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(base, Task(file=str(_table(tmp_path / "mine.csv")), epochs=4, max_tokens=32))
    said: list[str] = []
    whole = train(recipe, None, tmp_path / "whole", say=said.append).checkpoint.tensors
    assert "the encoder is frozen, so it reads its 96 texts only once" in said

    real = Trainer.step

    def killed(trainer: Trainer, number: int, factor: float) -> int:
        if number == 9:
            trainer.save(9, 1.0)
            raise KeyboardInterrupt
        return real(trainer, number, factor)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, None, tmp_path / "broken", say=said.append)
    resumed = train(recipe, None, tmp_path / "broken", resume=True, say=said.append).checkpoint.tensors
    assert any(line.startswith("resumed at step 9 ") for line in said)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)

    once = recipe.changed(
        tasks=(recipe.tasks[0].changed(epochs=1),)
    )  # a single pass: the encoder runs as usual
    said.clear()
    train(once, None, tmp_path / "once", say=said.append)
    assert not any("once" in line for line in said)


def test_states_that_are_kept_are_those_that_the_trunk_would_give(base: Path, tmp_path: Path) -> None:
    recipe = _recipe(base, Task(file=str(_table(tmp_path / "mine.csv")), epochs=3, max_tokens=32))
    kept = train(recipe, None, tmp_path / "kept", say=lambda _line: None).checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.lab.train.pays", lambda *_: False)
        read = train(recipe, None, tmp_path / "read", say=lambda _line: None).checkpoint
    for name, weight in kept.of_head("topic").items():
        assert np.allclose(weight, read.of_head("topic")[name], atol=1e-4)


def test_a_head_whose_gate_is_trained_gets_new_thresholds_and_the_gate_that_the_recipe_says(
    base: Path, tmp_path: Path
) -> None:
    marked_texts(tmp_path / "data", 60)
    gate = HeadLayers(head="toxic_spans", layers=(1, 2, 3), gate=0.01)
    recipe = _recipe(base, Task(data="toxic_posts", epochs=3, max_tokens=32), depths=(gate,))
    make_pack(recipe, Places(tmp_path / "data", tmp_path / "work", tmp_path / "pack"), say=lambda _line: None)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, tmp_path / "pack"))
    assert after["heads"]["sentiment"] == before["heads"]["sentiment"]
    spans = after["heads"]["toxic_spans"]
    assert spans["gate"] == {**before["heads"]["toxic_spans"]["gate"], "threshold": 0.01}
    assert {"threshold", "relative"} <= spans.keys()
    assert "relative" not in before["heads"]["toxic_spans"]


def test_depths_of_a_head_that_nobody_knows_are_refused(base: Path, tmp_path: Path) -> None:
    marked_texts(tmp_path / "data", 10)
    task = Task(data="toxic_posts", epochs=1, max_tokens=32)
    recipe = _recipe(base, task, depths=(HeadLayers(head="toxic_span", layers=(1, 2, 3), gate=0.1),))
    with pytest.raises(TrainingError, match="no token head 'toxic_span'; there is toxic_spans"):
        train(recipe, tmp_path / "data", tmp_path / "work", say=lambda _line: None)


def test_a_frozen_head_keeps_its_layers(base: Path, tmp_path: Path) -> None:
    marked_texts(tmp_path / "data", 10)
    task = Task(data="toxic_posts", epochs=1, max_tokens=32)
    recipe = _recipe(base, task, depths=(HeadLayers(head="toxic_spans", layers=(1, 2)),))
    with pytest.raises(TrainingError, match=r"toxic_spans stays frozen: it reads layers \[1, 2, 3\]"):
        train(recipe, tmp_path / "data", tmp_path / "work", say=lambda _line: None)


def test_texts_that_the_base_knows_otherwise_are_refused(base: Path, tmp_path: Path) -> None:
    recipe = _recipe(base, Task(file=str(_table(tmp_path / "mine.csv")), epochs=1), text="raw")
    with pytest.raises(
        TrainingError, match="frozen: the base was trained on texts prepared by social, not raw"
    ):
        train(recipe, None, tmp_path / "work", say=lambda _line: None)


def test_a_frozen_run_may_read_texts_by_a_newer_version_and_learn_from_its_base(
    base: Path, tmp_path: Path
) -> None:
    task = Task(data="written_swaps", teacher=str(base), rows=60, epochs=1, max_tokens=32, hard=0.0)
    recipe = _recipe(base, task, text_version=2)
    said: list[str] = []
    make_pack(recipe, Places(tmp_path, tmp_path / "work", tmp_path / "pack"), say=said.append)
    assert json.loads((tmp_path / "pack" / "config.json").read_text())["text"]["version"] == 2
    assert "the base weights were trained on texts prepared by social 1, this run uses social 2" in said
    assert "in which one word changes" in (tmp_path / "pack" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert _answers(tmp_path / "pack", "sentiment") == _answers(base, "sentiment")


def test_one_answer_for_several_texts_is_not_for_a_token_head(base: Path, tmp_path: Path) -> None:
    task = Task(data="written_swaps", head="toxic_spans", teacher=str(base), epochs=1, max_tokens=32)
    with pytest.raises(
        TrainingError, match="data set written_swaps: a token head cannot give several texts the same"
    ):
        train(_recipe(base, task), tmp_path, tmp_path / "work", say=lambda _line: None)


def test_a_branch_begins_as_layers_of_its_start_and_the_other_heads_stay(base: Path, tmp_path: Path) -> None:
    marked_texts(tmp_path / "data", 60)
    other = random_checkpoint(8)
    write_folder(other, tmp_path / "other")
    spans = Task(data="toxic_spans", epochs=2, max_tokens=32)
    branch = HeadLayers(
        head="toxic_spans",
        layers=(1, 3),
        branch=OwnLayers(after=1, layers=2, start=str(tmp_path / "other")),
    )
    recipe = _recipe(base, spans, depths=(branch,))
    places = Places(tmp_path / "data", tmp_path / "work", tmp_path / "pack")
    make_pack(recipe, places, say=lambda _line: None)
    assert _answers(tmp_path / "pack", "toxic_spans") == _answers(base, "toxic_spans")
    still = recipe.changed(optimiser=recipe.optimiser.changed(trunk_rate=1e-12))
    trained = train(still, places.data, tmp_path / "still", say=lambda _line: None)
    found = trained.checkpoint.of_head("toxic_spans")
    for own, layer in ((0, 1), (1, 2)):
        for name, array in other.of_layer(layer).items():
            assert np.allclose(found[f"transformer.layer.{own}.{name}"], array, atol=1e-6), name


def test_a_branch_longer_than_its_start_is_refused(base: Path, tmp_path: Path) -> None:
    marked_texts(tmp_path / "data", 10)
    branch = HeadLayers(head="toxic_spans", layers=(1, 6), branch=OwnLayers(after=2, layers=4))
    recipe = _recipe(base, Task(data="toxic_spans", epochs=1, max_tokens=32), depths=(branch,))
    with pytest.raises(TrainingError, match="a branch needs layers 3 to 6; its start has 4"):
        train(recipe, tmp_path / "data", tmp_path / "work", say=lambda _line: None)
