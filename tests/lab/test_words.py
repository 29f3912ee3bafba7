"""Guessing masked words: it learns, resumes after a kill, and leaves no trace in the checkpoint."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from worker.errors import RecipeError
from worker.lab.bases import read_base
from worker.lab.checkpoint import write_folder
from worker.lab.recipe import Optimiser, Recipe, Run, Task, load_recipe, recipe_text
from worker.lab.train import train
from worker.lab.trainer import Trainer

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled texts in which each word follows from the one before, so that a masked one can be guessed."""
    rng, pairs = Random(3), (("lovely", "train"), ("awful", "film"), ("dull", "phone"), ("happy", "monday"))
    lines = ["label\tsentence"]
    lines += [
        f"{rng.randint(0, 1)}\t{' '.join(' '.join(rng.choice(pairs)) for _ in range(3))}" for _ in range(400)
    ]
    root = tmp_path_factory.mktemp("words")
    (root / "sst2").mkdir()
    (root / "sst2/train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "sst2/dev.tsv").write_text("label\tsentence\n1\tgreat thanks\n", encoding="utf-8")
    return root


def _recipe(base: Path, *, words: bool = True) -> Recipe:
    labelled = Task(data="sst2", epochs=1, max_tokens=16, weight=0.1)
    guessed = Task(data="sst2", words=True, masked=0.2, epochs=8, max_tokens=16)
    return Recipe(
        name="words",
        base=str(base),
        tasks=(labelled, guessed) if words else (labelled,),
        optimiser=Optimiser(trunk_rate=3e-3, head_rate=3e-3, max_padded_tokens=256),
        run=Run(seed=3, threads=1, precision="fp32"),
    )


def _losses(recipe: Recipe, root: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seen: list[float] = []
    step = Trainer.step

    def noted(self: Trainer, number: int, factor: float) -> int:
        tokens = step(self, number, factor)
        seen[:] = self.recent.get("sst2 (words)", [])
        return tokens

    monkeypatch.setattr(Trainer, "step", noted)
    train(recipe, root, work, say=lambda _line: None)
    return seen


def test_masked_words_are_learnt_from_their_neighbours(
    tiny_bert: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = _losses(_recipe(tiny_bert), words, tmp_path, monkeypatch)
    # Eight words are equally frequent: log(8) is what guessing without reading would give.
    assert np.mean(losses[-10:]) < 0.7 * np.log(8)


def test_the_checkpoint_starts_another_run_and_holds_no_word_head(
    tiny_bert: Path, words: Path, tmp_path: Path
) -> None:
    trained = train(_recipe(tiny_bert), words, tmp_path / "first", say=lambda _line: None)
    assert {name.split(".")[0] for name in trained.checkpoint.tensors} == {"distilbert", "heads"}
    write_folder(trained.checkpoint, tmp_path / "trunk")
    base = read_base(str(tmp_path / "trunk"))
    assert set(base.heads) == {"sentiment"}
    train(_recipe(tmp_path / "trunk", words=False), words, tmp_path / "second", say=lambda _line: None)


class _Killed(BaseException):
    """Simulates a kill."""


def test_a_killed_run_goes_on_to_the_identical_result(
    tiny_bert: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(tiny_bert).changed(run=Run(seed=3, threads=1, precision="fp32", checkpoint_minutes=1e-9))
    whole = train(recipe, words, tmp_path / "whole", say=lambda _line: None)
    step, made = Trainer.step, 0

    def killed(self: Trainer, number: int, factor: float) -> int:
        nonlocal made
        made += 1
        if made == 20:
            raise _Killed
        return step(self, number, factor)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", killed)
        with pytest.raises(_Killed):
            train(recipe, words, tmp_path / "killed", say=lambda _line: None)
    told: list[str] = []
    resumed = train(recipe, words, tmp_path / "killed", resume=True, say=told.append)
    assert any(line.startswith("resumed at step 19") for line in told)
    for name, array in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(resumed.checkpoint.tensors[name], array)


def test_a_recipe_with_words_can_be_written_and_read(tiny_bert: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_bert)
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ('[[tasks]]\ndata = "sst2"\n[[tasks]]\ndata = "sst2"\nwords = true\n', "masked above 0"),
        ('[[tasks]]\ndata = "sst2"\nwords = true\nmasked = 0.2\n', "at least one must train a head"),
        ('[[tasks]]\ndata = "sst2"\nwords = true\nmasked = 0.2\nteacher = "x"\n', "without a teacher"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tasks: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(f'name = "words"\nbase = "x"\n{tasks}', encoding="utf-8")
    with pytest.raises(RecipeError, match=says):
        load_recipe(tmp_path / "recipe.toml")
