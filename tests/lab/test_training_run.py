"""A tiny run from end to end: it learns, resumes after a kill, and gives a pack."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.errors import TrainingError
from worker.lab.build import Places, make_pack
from worker.lab.checkpoint import write_folder
from worker.lab.evaluate.calibration import to_logits
from worker.lab.evaluate.metrics import Figure
from worker.lab.evaluate.result import shown
from worker.lab.evaluate.score import checkpoint_scorer, pack_scorer
from worker.lab.network import network_of
from worker.lab.recipe import Optimiser, Recipe, Run, Task
from worker.lab.train import train
from worker.lab.trainer import Position, Trainer, save_state
from worker.model.classifier import Classifier

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path) -> Recipe:
    """Some 150 steps on all three short sets, in fp32 on one thread, which is reproducible."""
    return Recipe(
        name="tiny",
        base=str(tiny_bert),
        tasks=(
            Task(data="sst2", epochs=5, max_tokens=32),
            Task(data="tweeteval_sentiment", epochs=5, max_tokens=32),
            Task(data="goemotions", epochs=5, max_tokens=32, weight=0.5),
        ),
        optimiser=Optimiser(trunk_rate=2e-3, head_rate=5e-3, max_padded_tokens=256),
        run=Run(seed=3, threads=1, precision="fp32"),
    )


def _quiet(_line: str) -> None:
    """Ignore progress lines."""


class _Killed(BaseException):
    """Simulates a kill: nothing in the loop may catch it."""


def test_the_loss_falls(
    recipe: Recipe, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[float]] = {}
    step = Trainer.step

    def noted(self: Trainer, number: object, factor: float) -> int:
        tokens = step(self, number, factor)  # type: ignore[arg-type]  # handed through as it came
        for name, losses in self.recent.items():
            seen[name] = list(losses)
        return tokens

    monkeypatch.setattr(Trainer, "step", noted)
    train(recipe, small_data, tmp_path, say=_quiet)
    assert set(seen) == {"sst2", "tweeteval_sentiment", "goemotions"}
    for name, losses in seen.items():
        first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
        assert last < 0.75 * first, (name, first, last)


def test_a_killed_run_goes_on_to_the_identical_result(
    recipe: Recipe, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(recipe, small_data, tmp_path / "whole", say=_quiet)
    step, made = Trainer.step, 0

    def killed_at_40(self: Trainer, number: object, factor: float) -> int:
        nonlocal made
        if made == 40:
            raise _Killed
        made += 1
        return step(self, number, factor)  # type: ignore[arg-type]  # handed through as it came

    # Save a state after every step, so that the last one is right before the kill.
    often = recipe.changed(run=recipe.run.changed(checkpoint_minutes=1e-9))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", killed_at_40)
        with pytest.raises(_Killed):
            train(often, small_data, tmp_path / "broken", say=_quiet)
    lines: list[str] = []
    resumed = train(recipe, small_data, tmp_path / "broken", resume=True, say=lines.append)
    assert lines[0] == f"resumed at step 40 of {whole.planned}"
    assert resumed.steps == whole.steps == whole.planned
    for name, array in whole.checkpoint.tensors.items():
        assert np.array_equal(array, resumed.checkpoint.tensors[name]), name


def test_two_processes_learn_together_and_go_on_together(
    recipe: Recipe, small_data: Path, tmp_path: Path
) -> None:
    pair = recipe.changed(run=recipe.run.changed(processes=2))
    write = [train(pair, small_data, tmp_path / "work", say=_quiet)]
    write.append(train(pair, small_data, tmp_path / "work", resume=True, say=_quiet))  # nothing left to do
    one, two = (trained.checkpoint.tensors for trained in write)
    assert write[0].steps == write[0].planned
    for name, array in one.items():
        assert np.array_equal(array, two[name]), name
    ids = torch.tensor([[2, 14, 15, 4, 3], [2, 14, 15, 9, 3]])  # the same words with «lovely», with «awful»
    with torch.inference_mode():
        network = network_of(write[0].checkpoint)
        logits = network.heads["sentiment"](network(ids, None))
    assert logits[0, 2] > logits[0, 0]
    assert logits[1, 0] > logits[1, 2]


def test_the_end_of_a_helping_process_ends_the_run_with_a_line(
    recipe: Recipe, small_data: Path, tmp_path: Path
) -> None:
    import multiprocessing

    long = tuple(task.changed(epochs=200) for task in recipe.tasks)
    pair = recipe.changed(tasks=long, run=recipe.run.changed(processes=2))

    def end_the_other(line: str) -> None:
        if "steps, fp32" in line:
            for other in multiprocessing.active_children():
                other.kill()

    with pytest.raises(TrainingError, match="another process of the run has ended"):
        train(pair, small_data, tmp_path, say=end_the_other)


def test_a_state_of_another_recipe_is_refused(recipe: Recipe, small_data: Path, tmp_path: Path) -> None:
    short = recipe.changed(tasks=(recipe.tasks[0].changed(epochs=0.1),))
    train(short, small_data, tmp_path, say=_quiet)
    other = short.changed(optimiser=short.optimiser.changed(trunk_rate=1e-4))
    with pytest.raises(TrainingError, match="was made by another recipe or other data"):
        train(other, small_data, tmp_path, resume=True, say=_quiet)


def test_a_full_disk_leaves_the_older_state_whole(
    recipe: Recipe, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = recipe.changed(tasks=(recipe.tasks[0].changed(epochs=0.1),))
    trained = train(short, small_data, tmp_path, say=_quiet)
    before = (tmp_path / "state.safetensors").read_bytes()

    def full(_tensors: object, path: Path, **_other: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.lab.trainer.save_file", full)
    network = network_of(trained.checkpoint)
    optimiser = torch.optim.AdamW(network.parameters())
    with pytest.raises(TrainingError, match="No space left on device"):
        save_state(tmp_path / "state.safetensors", network, optimiser, Position(9, 1.0, "x", "fp32"))
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"state.safetensors", "history.jsonl"}


def test_a_loss_that_is_no_number_stops_the_run(recipe: Recipe, small_data: Path, tmp_path: Path) -> None:
    wild = recipe.changed(optimiser=recipe.optimiser.changed(trunk_rate=1e38, head_rate=1e38, warm_up=0.0))
    with pytest.raises(TrainingError, match="is no longer a number: lower the rates"):
        train(wild, small_data, tmp_path, say=_quiet)


def test_time_shortens_a_run(recipe: Recipe, small_data: Path, tmp_path: Path) -> None:
    hurried = recipe.changed(run=recipe.run.changed(minutes=1e-6))
    assert train(hurried, small_data, tmp_path, say=_quiet).steps < 3


def test_a_pack_comes_of_it(recipe: Recipe, small_data: Path, tmp_path: Path) -> None:
    places = Places(small_data, tmp_path / "work", tmp_path / "pack")
    pack = make_pack(recipe, places, say=_quiet)
    assert [head.name for head in pack.heads] == ["sentiment", "emotion"]
    thresholds = pack.heads[1].thresholds
    assert thresholds is not None
    assert thresholds[17] != 0.5  # joy has cases here
    assert pack.heads[0].temperature != 1
    assert pack.heads[1].groups.keys() >= {"joy", "anger"}
    report = json.loads((places.work / "report.json").read_text(encoding="utf-8"))
    card = (places.pack / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert {row["data"] for row in report["int8"]} == {"sst2", "tweeteval_sentiment", "goemotions", "imdb"}
    for kind, other in (("fp32", "int8"), ("int8", "fp32")):
        for row, twin in zip(report[kind], report[other], strict=True):
            for name in row["figures"].keys() & twin["figures"].keys():
                assert shown(name, Figure(**row["figures"][name])) in card
            if row["data"] == "sst2":
                assert row["figures"]["accuracy"]["value"] > 0.9  # single words decide
    model = Classifier.load(places.pack)
    answer = model.predict(model.tokenize(["the phone was lovely"]))[0]
    assert answer.heads["sentiment"].label == "positive"
    assert "joy" in (answer.heads["emotion"].labels or ())
    # Both ways give the same logits, up to int8 rounding (and a constant shared by all labels).
    texts = ["the phone was lovely", "it is broken", "a train on monday " * 20]
    ways = []
    for scorer in (checkpoint_scorer(places.checkpoint), pack_scorer(places.pack)):
        logits = to_logits(scorer(texts, 16, "sentiment"), multi_label=False)
        ways.append((logits - logits[:, :1]) * scorer.heads["sentiment"].temperature)
    assert abs(ways[0]).max() > 1
    assert abs(ways[0] - ways[1]).max() < 0.3


def test_transformers_reads_the_checkpoint(recipe: Recipe, small_data: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, DistilBertModel

    trained = train(recipe.changed(tasks=recipe.tasks[:1]), small_data, tmp_path / "work", say=_quiet)
    write_folder(trained.checkpoint, tmp_path / "checkpoint")
    config = AutoConfig.from_pretrained(tmp_path / "checkpoint")
    assert (config.model_type, config.dim) == ("distilbert", 32)
    theirs = DistilBertModel.from_pretrained(tmp_path / "checkpoint").eval()
    ids = torch.tensor([[2, 4, 5, 6, 3]])
    with torch.inference_mode():
        states = theirs(input_ids=ids).last_hidden_state
        assert (states[:, 0] - network_of(trained.checkpoint)(ids, None)).abs().max() < 1e-4


def test_the_real_sets_have_the_rows_that_their_notes_state(real_data: Path) -> None:
    from worker.lab.data import sets as data

    assert len(data.load("sst2", "dev", real_data)) == 872
    assert len(data.load("tweeteval_sentiment", "dev", real_data)) == 2_000
    assert len(data.load("goemotions", "dev", real_data)) == 5_426
    train_rows = data.load("sst2", "train", real_data)
    assert 67_000 < len(train_rows) < 67_349  # some stand in dev too
    tweets = data.load("tweeteval_sentiment", "train", real_data)
    assert not any("\\u" in text for text in tweets.texts)
