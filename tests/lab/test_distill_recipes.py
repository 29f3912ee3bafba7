"""Distillation from a recipe: labels, tasks' own teachers, and the drawn rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.support.random_checkpoints import (
    GATE,
    HEADS,
    logits_of,
    marked_texts,
    quiet,
    random_checkpoint,
    settings,
    some_texts,
)
from worker.errors import TeacherError, TrainingError
from worker.lab.checkpoint import Checkpoint, read_checkpoint, write_folder
from worker.lab.distill import distil
from worker.lab.network import network_of
from worker.lab.recipe import Recipe, Task
from worker.lab.teachers import CheckpointTeacher, head_token_scores
from worker.lab.texts import Part, TextReader, read_recipe, thin
from worker.model.pack import load_pack

pytestmark = pytest.mark.train


def test_a_recipes_labels_are_learnt_too(teacher: Path, tmp_path: Path) -> None:
    """The teacher is random: only the labels can teach that «awful» is marked."""
    marked_texts(tmp_path / "data", 200)
    task = Task(data="toxic_spans", epochs=12, max_tokens=16, hard=1.0, masked=0.05)
    student = read_checkpoint(teacher)
    parts = read_recipe(Recipe(name="r", base="none", tasks=(task,)), tmp_path / "data", student.heads)
    assert parts[0].head == "toxic_spans"
    found = distil([CheckpointTeacher(teacher)], student, parts, tmp_path, settings(), say=quiet).checkpoint
    network, (row,) = network_of(found), TextReader(found)(["it was awful"], 16)
    with torch.inference_mode():
        logits = network.marks("toxic_spans", torch.from_numpy(row.ids)[None].long(), None)
        scores = torch.sigmoid(logits[0]).tolist()
    assert scores[3] > 0.5 > max(scores[1:3])


def test_rows_that_are_not_learnt_from_are_not_asked_about() -> None:
    part = Part(
        "texts", some_texts(100), 16, epochs=0.25, head="sentiment", labels=[(n,) for n in range(100)]
    )
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
    recipe = Recipe(name="r", base="none", tasks=(Task(data="sst2", max_tokens=16),))
    turned = {"0": "positive", "1": "neutral", "2": "negative"}
    heads = {"sentiment": {**HEADS["sentiment"], "id2label": turned}}
    (part,) = read_recipe(recipe, tmp_path, random_checkpoint(1, heads=heads).heads)
    assert part.labels == [(0,)]
    lacking = {"sentiment": {**HEADS["sentiment"], "id2label": {"0": "positive", "1": "negative"}}}
    with pytest.raises(TrainingError, match="the student's head sentiment has no label 'neutral'"):
        read_recipe(recipe, tmp_path, random_checkpoint(1, heads=lacking).heads)
    with pytest.raises(TrainingError, match=r"mine\.csv: distill takes labels of the known data sets only"):
        read_recipe(Recipe(name="r", base="none", tasks=(Task(file="mine.csv"),)), tmp_path, {})


def _films(root: Path, texts: list[str]) -> None:
    (root / "sst2").mkdir(parents=True)
    lines = "".join(f"{number % 2}\t{text}\n" for number, text in enumerate(texts))
    (root / "sst2/train.tsv").write_text("label\tsentence\n" + lines, encoding="utf-8")
    (root / "sst2/dev.tsv").write_text("label\tsentence\n1\tit is a train\n", encoding="utf-8")


def _distance(one: Checkpoint, other: Checkpoint, head: str, texts: list[str]) -> float:
    return float(np.abs(logits_of(one, texts, head) - logits_of(other, texts, head)).mean())


def test_a_tasks_own_teacher_speaks_of_its_head_and_no_other(teacher: Path, tmp_path: Path) -> None:
    own = random_checkpoint(2).without_temperatures()
    general = read_checkpoint(teacher).without_temperatures()
    write_folder(own, tmp_path / "own")
    texts = some_texts(300)
    _films(tmp_path / "data", texts)
    task = Task(
        data="sst2", epochs=15, max_tokens=16, teacher=str(tmp_path / "own"), head="emotion", hard=0.0
    )
    parts = read_recipe(Recipe(name="r", base="none", tasks=(task,)), tmp_path / "data", general.heads)
    assert (parts[0].own_head, parts[0].head) == ("emotion", "")
    asked = CheckpointTeacher(teacher)
    found = distil([asked], general, parts, tmp_path / "work", settings(), say=quiet).checkpoint
    before = _distance(general, own, "emotion", texts)
    assert _distance(found, own, "emotion", texts) < 0.5 * before
    assert _distance(found, general, "sentiment", texts) < 0.5 * _distance(found, own, "sentiment", texts)


def test_a_tasks_own_teacher_of_tokens_is_asked_of_every_text(teacher: Path, tmp_path: Path) -> None:
    """Unlike the general teachers, it ignores the gate."""
    marked_texts(tmp_path / "data", 30)
    student = read_checkpoint(teacher)
    heads = {**HEADS, "toxic_spans": {**HEADS["toxic_spans"], "gate": {**GATE, "threshold": 1.0}}}
    write_folder(replace(student, config={**student.config, "heads": heads}), tmp_path / "own")
    task = Task(data="toxic_spans", max_tokens=16, teacher=str(tmp_path / "own"))
    (part,) = read_recipe(Recipe(name="r", base="none", tasks=(task,)), tmp_path / "data", student.heads)
    rows = TextReader(student)(part.texts, 16)
    ids = [row.ids for row in rows]
    told = head_token_scores(
        part.own_teachers, student.heads["toxic_spans"], part.texts, ids, tmp_path / "kept"
    )
    assert [len(scores) for scores in told] == [len(row) for row in ids]
    assert all(0 < scores[1] < 1 for scores in told)


def test_a_task_that_stands_alone_trains_its_head_only(teacher: Path, tmp_path: Path) -> None:
    student = random_checkpoint(2).without_temperatures()
    _films(tmp_path / "data", some_texts(60))
    moved = {}
    for alone in (True, False):
        task = Task(data="sst2", epochs=2, max_tokens=16, hard=1.0, alone=alone)
        recipe = Recipe(name="r", base="none", tasks=(task,))
        parts = read_recipe(recipe, tmp_path / "data", student.heads)
        work = tmp_path / str(alone)
        made = distil([CheckpointTeacher(teacher)], student, parts, work, settings(), say=quiet)
        weights = made.checkpoint.of_head("emotion")
        moved[alone] = any((weights[name] != own).any() for name, own in student.of_head("emotion").items())
        assert (work / "taught").exists() != alone
    assert moved == {True: False, False: True}


def test_a_task_that_stands_alone_needs_a_head(teacher: Path, tmp_path: Path) -> None:
    _films(tmp_path / "data", some_texts(10))
    recipe = Recipe(name="r", base="none", tasks=(Task(data="sst2", alone=True),))
    with pytest.raises(TrainingError, match="sst2 stands alone, but has nothing for a head"):
        read_recipe(recipe, tmp_path / "data", {})


def test_a_run_with_other_teachers_of_its_own_is_another_run(teacher: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 2), ("two", 3)):
        write_folder(random_checkpoint(seed), tmp_path / name)
    _films(tmp_path / "data", some_texts(40))
    student, asked = read_checkpoint(teacher), CheckpointTeacher(teacher)

    def parts(own: str) -> list[Part]:
        task = Task(data="sst2", max_tokens=16, teacher=str(tmp_path / own), head="emotion", hard=0.0)
        return read_recipe(Recipe(name="r", base="none", tasks=(task,)), tmp_path / "data", student.heads)

    distil([asked], student, parts("one"), tmp_path / "work", settings(), say=quiet)
    with pytest.raises(TrainingError, match="made by another recipe or other data"):
        distil([asked], student, parts("two"), tmp_path / "work", settings(), resume=True, say=quiet)


def test_a_tasks_own_teacher_without_the_head_is_named(teacher: Path, tmp_path: Path) -> None:
    own = random_checkpoint(2, heads={"sentiment": HEADS["sentiment"]})
    write_folder(own, tmp_path / "own")
    _films(tmp_path / "data", some_texts(10))
    student = read_checkpoint(teacher)
    task = Task(data="sst2", max_tokens=16, teacher=str(tmp_path / "own"), head="emotion", hard=0.0)
    parts = read_recipe(Recipe(name="r", base="none", tasks=(task,)), tmp_path / "data", student.heads)
    with pytest.raises(TeacherError, match=r"teacher .*own has no head 'emotion'"):
        distil([CheckpointTeacher(teacher)], student, parts, tmp_path / "work", settings(), say=quiet)


def test_the_card_of_a_recipes_student_tells_of_its_data(teacher: Path, tmp_path: Path) -> None:
    _films(tmp_path / "data", some_texts(60))
    write_folder(random_checkpoint(2), tmp_path / "own" / "checkpoint")
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        f"""name = "small"
base = "none"

[optimiser]
max_padded_tokens = 256

[run]
threads = 1
precision = "fp32"

[[tasks]]
data = "sst2"
max_tokens = 16
teacher = "{tmp_path}/own/checkpoint"
hard = 0.25
""",
        encoding="utf-8",
    )
    from worker.cli.main import cli

    result = CliRunner().invoke(
        cli,
        ["distill", "--teacher", str(teacher), "--student", str(teacher), "--labels", str(recipe),
         "--data", str(tmp_path / "data"), "--out", str(tmp_path / "pack"), "--name", "small"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = (tmp_path / "pack" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| SST-2, movie-review phrases (as in GLUE) | 60 | 1 | Socher and others 2013 |" in text
    assert "- `sst2` in `small`: `own`, whose scores are 75% of the loss" in text
    assert "every other head, on every text of `small`: `big`" in text
    assert "| SST-2 dev | 1 | accuracy |" in text
    assert "`moodstream distill --labels RECIPE` with recipe `small`" in text


def test_a_head_that_only_a_tasks_own_teacher_has_is_kept(teacher: Path, tmp_path: Path) -> None:
    write_folder(random_checkpoint(3, heads={"sentiment": HEADS["sentiment"]}), tmp_path / "general")
    _films(tmp_path / "data", some_texts(40))
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'name = "small"\nbase = "none"\n[optimiser]\nmax_padded_tokens = 256\n[run]\nthreads = 1\n'
        f'[[tasks]]\ndata = "sst2"\nmax_tokens = 16\nhead = "emotion"\nteacher = "{teacher}"\nhard = 0.0\n',
        encoding="utf-8",
    )
    from worker.cli.main import cli

    result = CliRunner().invoke(
        cli,
        ["distill", "--teacher", str(tmp_path / "general"), "--student", str(teacher),
         "--labels", str(recipe), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "pack"),
         "--no-measure"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "head toxic_spans is left out" in result.output
    pack = load_pack(tmp_path / "pack")
    assert {head.name for head in pack.heads} == {"sentiment", "emotion"}
    assert "(emotion)" in (tmp_path / "pack" / "MODEL_CARD.md").read_text(encoding="utf-8")
