"""One pass over texts that have labels for several heads (`also`), in training and in distillation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.random_checkpoints import (
    WORDS,
    logits_of,
    quiet,
    random_checkpoint,
    settings,
    some_texts,
)
from worker.errors import TrainingError
from worker.lab.chain.rows import write_rows
from worker.lab.checkpoint import read_checkpoint, write_folder
from worker.lab.data.labels import EMOTION
from worker.lab.data.tasks import read_tasks
from worker.lab.data.tweet_labels import FILE, digest_of
from worker.lab.distill import distil
from worker.lab.recipe import Optimiser, Recipe, Run, Task
from worker.lab.teachers import CheckpointTeacher
from worker.lab.texts import Part, read_recipe, thin
from worker.lab.train import train
from worker.lab.trainer import Trainer

pytestmark = pytest.mark.train

HEADS = {
    "sentiment": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "negative", "1": "neutral", "2": "positive"},
    },
    "emotion": {
        "problem_type": "multi_label_classification",
        "id2label": {str(number): name for number, name in enumerate(EMOTION.labels)},
    },
    "toxicity": {
        "problem_type": "single_label_classification",
        "id2label": {"0": "not_toxic", "1": "toxic"},
    },
}
TEXTS = list(dict.fromkeys(some_texts(400, seed=9)))
JOY = EMOTION.labels.index("joy")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tweets whose labels follow from single words, another for each head."""
    root = tmp_path / "data"
    write_rows(root)
    (root / "tweeteval/emoji/train_text.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    lines = {
        digest_of(text): f"{'positive' if 'lovely' in text else 'negative'}\t"
        f"{'joy' if 'great' in text else 'anger'}\t{'toxic' if 'awful' in text else 'not_toxic'}"
        for text in TEXTS
    }
    (root / FILE.name).write_text(
        "".join(f"{digest}\t{labels}\n" for digest, labels in lines.items()), encoding="utf-8"
    )
    return root


def _task(**changes: object) -> Task:
    also = ("tweets_emotion", "tweets_toxicity")
    return Task(**{"data": "tweets_sentiment", "also": also, "epochs": 25, "max_tokens": 16, **changes})  # type: ignore[arg-type]


def _right(found: object, texts: list[str]) -> dict[str, float]:
    """Return the share of texts that each head labels by its word."""
    wanted = {
        "sentiment": ["lovely" in text for text in texts],
        "emotion": ["great" in text for text in texts],
        "toxicity": ["awful" in text for text in texts],
    }
    given = {name: logits_of(found, texts, name) for name in wanted}  # type: ignore[arg-type]
    said = {
        "sentiment": given["sentiment"].argmax(axis=1) == 2,
        "emotion": given["emotion"][:, JOY] > 0,
        "toxicity": given["toxicity"].argmax(axis=1) == 1,
    }
    return {name: float(np.mean(said[name] == np.array(wanted[name]))) for name in wanted}


def test_one_pass_trains_every_head_that_has_labels(data: Path, tmp_path: Path) -> None:
    write_folder(random_checkpoint(4, layers=2, heads=HEADS), tmp_path / "base")
    recipe = Recipe(
        name="r",
        base=str(tmp_path / "base"),
        tasks=(_task(),),
        optimiser=Optimiser(trunk_rate=3e-3, head_rate=3e-3, max_padded_tokens=256),
        run=Run(seed=3, threads=1, precision="fp32"),
    )
    found = train(recipe, data, tmp_path / "work", say=quiet)
    right = _right(found.checkpoint, TEXTS)
    assert min(right.values()) > 0.9, right


@pytest.mark.parametrize("named", ["also", "file"])
def test_a_new_head_begins_with_the_share_of_each_label(data: Path, tmp_path: Path, named: str) -> None:
    """Of the labelled texts where a set has some of them; of all where a table says that a row has none."""
    heads = {name: HEADS[name] for name in ("sentiment", "toxicity")}
    write_folder(random_checkpoint(4, layers=2, heads=heads), tmp_path / "base")
    if named == "also":
        task = Task(data="posts_sentiment", also=("posts_emotion",), max_tokens=16, rows=60)
    else:
        given: tuple[list[str], ...] = (["joy"], [], ["joy", "anger"], [])
        rows_of = [{"text": text, "emotion": given[number % 4]} for number, text in enumerate(TEXTS[:80])]
        table = "".join(f"{json.dumps(row)}\n" for row in rows_of)
        (tmp_path / "t.jsonl").write_text(table, encoding="utf-8")
        task = Task(
            file=str(tmp_path / "t.jsonl"), head="emotion", labels="several", epochs=1.0, max_tokens=16
        )
    recipe = Recipe(
        name="r",
        base=str(tmp_path / "base"),
        tasks=(task,),
        optimiser=Optimiser(trunk_rate=1e-9, head_rate=1e-9),
        run=Run(seed=3, threads=1, precision="fp32"),
    )
    (tmp_path / "tokenizer.json").write_text(random_checkpoint(4).tokenizer, encoding="utf-8")
    (read,) = read_tasks(recipe, data, tmp_path / "tokenizer.json", tmp_path, quiet)
    rows = [labels for labels in read.also[0].labels if labels] if named == "also" else read.labels
    found = train(recipe, data, tmp_path / "work", say=quiet)
    began = 1 / (1 + np.exp(-found.checkpoint.tensors["heads.emotion.classifier.bias"]))
    wanted = (sum(JOY in labels for labels in rows) + 1) / (len(rows) + 2)
    assert began[JOY] == pytest.approx(wanted, abs=1e-3)
    assert (sum(map(bool, rows)) < len(rows)) == (named == "file")


def test_a_distillation_learns_the_labels_of_every_head(data: Path, tmp_path: Path) -> None:
    """Beside a teacher that is random, so that only the labels can teach it."""
    write_folder(random_checkpoint(5, layers=2, heads=HEADS), tmp_path / "big")
    student = random_checkpoint(4, layers=2, heads=HEADS)
    recipe = Recipe(name="r", base="none", tasks=(_task(hard=0.9),))
    parts = read_recipe(recipe, data, student.heads)
    found = distil([CheckpointTeacher(tmp_path / "big")], student, parts, tmp_path, settings(), say=quiet)
    right = _right(found.checkpoint, TEXTS)
    assert min(right.values()) > 0.9, right


@pytest.mark.parametrize("heavier", ["positive", "negative"])
def test_a_weight_counts_for_the_batches_of_its_task_alone(data: Path, tmp_path: Path, heavier: str) -> None:
    """Two tasks say the opposite of the same texts, whichever comes first: the heavier one is believed."""
    student = random_checkpoint(4, layers=2, heads={"sentiment": HEADS["sentiment"]})
    write_folder(student, tmp_path / "big")
    slow = replace(
        settings(), optimiser=Optimiser(trunk_rate=1e-6, head_rate=3e-3, max_padded_tokens=256)
    )  # slow, so that the last batch alone decides nothing; and light, so that no gradient is cut
    parts = []
    for name, label in (("negative", 0), ("positive", 2)):
        task = Task(data="tweets_sentiment", hard=1.0, weight=0.05 if name == heavier else 0.01)
        labels: list[tuple[int, ...]] = [(label,)] * 100
        parts.append(Part(name, TEXTS[:100], 16, epochs=40, task=task, head="sentiment", labels=labels))
    found = distil([CheckpointTeacher(tmp_path / "big")], student, parts, tmp_path, slow, say=quiet)
    shares = logits_of(found.checkpoint, TEXTS[:100], "sentiment")[:, [0, 2]]
    surer = (shares[:, 1] > shares[:, 0]) == (heavier == "positive")
    assert surer.mean() > 0.95
    assert {part.name: found.rows[part.name] for part in parts} == {"negative": 100, "positive": 100}


def test_rows_without_a_label_of_another_head_teach_that_head_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The posts of our own have no emotions where their readers differ."""
    write_folder(random_checkpoint(4, layers=2, heads=HEADS), tmp_path / "base")
    (tmp_path / "tokenizer.json").write_text(random_checkpoint(4).tokenizer, encoding="utf-8")
    recipe = Recipe(
        name="r",
        base=str(tmp_path / "base"),
        tasks=(Task(data="posts_sentiment", also=("posts_emotion",), max_tokens=16, rows=40),),
    )
    (task,) = read_tasks(recipe, data, tmp_path / "tokenizer.json", tmp_path, quiet)
    (other,) = task.also
    known = [bool(labels) for labels in other.labels]
    assert any(known)
    seen: dict[str, int] = {}
    step = Trainer.step

    def noted(self: Trainer, number: int, factor: float) -> int:
        rows = self.steps[number].rows
        before = dict(self.recent)
        tokens = step(self, number, factor)
        title = "posts_sentiment, emotion"
        if len(self.recent.get(title, [])) > len(before.get(title, [])):
            seen[title] = seen.get(title, 0) + sum(known[row] for row in rows)
        return tokens

    monkeypatch.setattr(Trainer, "step", noted)
    train(recipe, data, tmp_path / "work", say=quiet)
    assert seen == {"posts_sentiment, emotion": sum(known)}


def test_a_text_without_a_label_learns_what_the_teacher_says(data: Path, tmp_path: Path) -> None:
    """However much the labels count: of two texts in three nothing is labelled but the sentiment."""
    some = (data / FILE.name).read_text(encoding="utf-8").splitlines()[::3]
    write_folder(random_checkpoint(5, layers=2, heads=HEADS), tmp_path / "big")
    student = random_checkpoint(4, layers=2, heads=HEADS)
    recipe = Recipe(name="r", base="none", tasks=(_task(hard=1.0, also=("tweets_toxicity",)),))
    (part,) = read_recipe(recipe, data, student.heads)
    known = {line.partition("\t")[0] for line in some}
    part.also["toxicity"] = [
        labels if digest_of(text) in known else ()
        for text, labels in zip(part.texts, part.also["toxicity"], strict=True)
    ]
    found = distil([CheckpointTeacher(tmp_path / "big")], student, [part], tmp_path, settings(), say=quiet)
    rest = [text for text in part.texts if digest_of(text) not in known]
    told = logits_of(read_checkpoint(tmp_path / "big"), rest, "toxicity").argmax(axis=1)
    said = logits_of(found.checkpoint, rest, "toxicity").argmax(axis=1)
    assert np.mean(told == said) > 0.8


def test_a_head_by_token_takes_no_other_sets(data: Path) -> None:
    recipe = Recipe(name="r", base="none", tasks=(Task(data="toxic_spans", also=("goemotions",)),))
    with pytest.raises(TrainingError, match="toxic_spans: also does not go with a head by token"):
        read_recipe(recipe, data, random_checkpoint(4, heads=HEADS).heads)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        (("tweets_sentiment",), "tweets_sentiment, it is trained already"),
        (("tweets_emotion", "goemotions"), "goemotions, it is trained already"),
        (("toxic_spans",), "toxic_spans, it is of a head by token"),
        (("posts_emotion",), "posts_emotion, which has none of its texts with labels"),
        (("tweet_emotion",), "unknown data set 'tweet_emotion'"),
    ],
)
def test_sets_that_do_not_go_together_are_refused(data: Path, also: tuple[str, ...], message: str) -> None:
    recipe = Recipe(name="r", base="none", tasks=(_task(also=also),))
    with pytest.raises(TrainingError, match=message):
        read_recipe(recipe, data, random_checkpoint(4, heads=HEADS).heads)


def test_a_group_of_texts_learns_one_answer_in_a_distillation(tmp_path: Path) -> None:
    """`written_swaps`: whatever word stands in a sentence, the scores are to be the same."""
    write_folder(random_checkpoint(5, layers=2, heads=HEADS), tmp_path / "big")
    student = random_checkpoint(5, layers=2, heads=HEADS)
    texts = [f"the {word} is {other}" for other in WORDS[:6] for word in WORDS]
    part = Part("swaps", texts, 16, epochs=30, alike=len(WORDS))
    made = distil([CheckpointTeacher(tmp_path / "big")], student, [part], tmp_path, settings(), say=quiet)

    def spread(found: object) -> float:
        given = logits_of(found, texts, "sentiment").reshape(-1, len(WORDS), 3)  # type: ignore[arg-type]
        return float(np.ptp(given, axis=1).mean())

    assert spread(made.checkpoint) < 0.25 * spread(student)


def test_whole_groups_are_drawn_and_labels_of_every_head_go_with_their_texts() -> None:
    texts = some_texts(100)
    numbers: list[tuple[int, ...]] = [(n,) for n in range(100)]
    part = Part("texts", texts, 16, epochs=0.2, alike=5, labels=numbers, also={"emotion": numbers})
    few = thin(part, 1)
    assert len(few.texts) == 20
    assert few.also == {"emotion": few.labels}
    drawn = [number for (number,) in few.labels]
    assert [texts[number] for number in drawn] == few.texts
    assert all(number == drawn[at - at % 5] + at % 5 for at, number in enumerate(drawn))
