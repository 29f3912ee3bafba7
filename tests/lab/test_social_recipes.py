"""The recipes of `make social` on tiny models and a few rows of each set: teacher, student and pack."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.support.random_checkpoints import random_checkpoint
from worker.heads import heads_table
from worker.lab import distill, recipe
from worker.lab.build import Places, make_pack
from worker.lab.checkpoint import write_folder
from worker.lab.data.labels import EMOTION, SENTIMENT, TOXIC_SPANS, TOXICITY
from worker.lab.options import DistillOptions
from worker.lab.recipe import Recipe, load_recipe
from worker.model.classifier import Classifier

pytestmark = pytest.mark.train

RECIPES = Path(recipe.__file__).with_name("recipes")
WORDS = ("lovely", "great", "awful", "broken", "train", "film", "the", "is", "was", "it")


def _quiet(_line: str) -> None:
    """Progress lines are not looked at here."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few made-up rows of every set that the recipes name."""
    root, rng = tmp_path / "data", Random(4)

    def texts(count: int = 12) -> list[str]:
        return [" ".join(rng.choices(WORDS, k=rng.randint(2, 8))) for _ in range(count)]

    def write(name: str, lines: list[str]) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    write(
        "tweeteval/sentiment/train_reconstructed.tsv",
        ["id\tlabel\tsource\ttext", *(f"{n}\t{n % 3}\tx\t{text}" for n, text in enumerate(texts()))],
    )
    for task, parts, labels in (
        ("sentiment", ("val",), 3),
        ("emoji", ("train", "test", "val"), 20),
        ("offensive", ("train", "val"), 2),
        ("irony", ("train",), 2),
        ("hate", ("train",), 2),
        ("emotion", ("train",), 4),
    ):
        for part in parts:
            write(f"tweeteval/{task}/{part}_text.txt", texts())
            write(f"tweeteval/{task}/{part}_labels.txt", [str(n % labels) for n in range(12)])
    airline = (f"{text}\t{SENTIMENT.labels[n % 3]}\t1.0" for n, text in enumerate(texts()))
    write("airline_tweets/train.tsv", ["text\tlabel\tconfidence", *airline])
    for split in ("train", "dev"):
        write(f"goemotions/{split}.tsv", [f"{text}\t{n}\tid" for n, text in enumerate(texts(28))])
        write(
            f"sst2/{split}.tsv",
            ["sentence\tlabel", *(f"{text}\t{n % 2}" for n, text in enumerate(texts()))],
        )
    for domain in ("airline", "books", "dvd", "electronics", "kitchen"):
        rows = (f"{text}\t{n % 2}" for n, text in enumerate(texts()))
        write(f"reviews_multidomain/{domain}_train.tsv", ["sentence\tlabel", *rows])
    for split in ("train", "trial"):
        write(f"toxic_spans/tsd_{split}.csv", ["spans,text", *(f'"[0, 1]",{text}' for text in texts())])
    (root / "imdb").mkdir()
    for name in ("train", "val"):
        with gzip.open(root / f"imdb/{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            for n, text in enumerate(texts()):
                file.write(json.dumps({"label": n % 2, "text": text}) + "\n")
    return root


def _small(name: str, **paths: str) -> Recipe:
    """Return a bundled recipe for tiny models: a few rows of each set, once, and these folders."""
    found = load_recipe(RECIPES / f"{name}.toml")
    tasks = [
        task.changed(rows=8, epochs=1.0, max_tokens=30, teacher=task.teacher and paths["teacher"])
        for task in found.tasks
    ]
    run = found.run.changed(processes=1, threads=1, precision="fp32")
    return found.changed(base=paths.get("base", found.base), tasks=tuple(tasks), run=run)


def test_a_teacher_and_a_student_end_in_a_pack(mpnet: Path, data: Path, tmp_path: Path) -> None:
    taught = make_pack(
        _small("teacher-social", base=str(mpnet)),
        Places(data, tmp_path / "teacher", tmp_path / "teacher" / "pack"),
        say=_quiet,
    )
    assert [head.name for head in taught.heads] == ["sentiment"]
    heads = heads_table([SENTIMENT, EMOTION, TOXICITY, TOXIC_SPANS])
    start = replace(random_checkpoint(3, layers=6, heads=heads), title="start")
    write_folder(start, tmp_path / "start")
    labels = tmp_path / "compact-12.toml"
    small = _small("compact-12", teacher=str(tmp_path / "teacher" / "pack"))
    labels.write_text(recipe.recipe_text(small), encoding="utf-8")
    options = DistillOptions(
        out=tmp_path / "pack",
        teachers=(tmp_path / "start",),
        student=str(tmp_path / "start"),
        labels=labels,
        data=str(data),
        first_weight=0.0,
        measure=False,
    )
    pack = distill.run(options, _quiet)
    assert [head.name for head in pack.outputs] == ["sentiment", "emotion", "toxicity", "toxic_spans"]
    model = Classifier.load(tmp_path / "pack")
    (said,) = model.predict(model.tokenize(["it was a lovely train"]))
    assert set(said.heads) == {"sentiment", "emotion", "toxicity"}
