"""The card of a trained or distilled pack names its data, its teachers and how to make it again."""

from pathlib import Path

import pytest

from tests.support.checkpoints import SIZES
from worker.heads import heads_table
from worker.lab import card
from worker.lab.checkpoint import Checkpoint, Trained
from worker.lab.data.labels import head_named
from worker.lab.data.sets import SOURCES, licences
from worker.lab.recipe import Recipe, Task
from worker.lab.texts import Part

TASKS = (
    Task(data="sst2", epochs=3, teacher="runs/films/pack", hard=0.25),
    Task(data="tweeteval_sentiment", epochs=2),
    Task(
        data="tweeteval_sentiment",
        epochs=1,
        head="emotion",
        teachers=("runs/a/pack", "runs/b/pack"),
        hard=0.0,
    ),
)


CONFIG = {**SIZES, "heads": heads_table([head_named("sentiment"), head_named("emotion")])}


@pytest.fixture(autouse=True)
def _no_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not run the pack."""
    monkeypatch.setattr(card, "behaviour", lambda _pack: "(rates)")
    monkeypatch.setattr(card, "hard_table", lambda _pack: "(texts)")


def _card(teachers: dict[str, str], tasks: tuple[Task, ...] = TASKS) -> str:
    trained = _trained({"sst2": 60_000})
    recipe = Recipe(name="pack", base="runs/before/checkpoint", tasks=tasks)
    return card.recipe_card(recipe, trained, teachers, {"fp32": [], "int8": []}, Path("pack"))


def _trained(rows: dict[str, int]) -> Trained:
    return Trained(
        checkpoint=Checkpoint("x", CONFIG, {}, ""),
        steps=90,
        planned=100,
        elapsed_s=12.4 * 60,
        precision="bf16",
        threads=1,
        torch="2.0",
        rows=rows,
    )


def test_a_distillations_card_says_who_taught_each_text_and_why_nothing_was_measured() -> None:
    both = Part("posts", ["a"], task=Task(data="posts_sentiment"), head="sentiment", labels=[(0,)])
    both.also["emotion"] = [(1,)]
    alone = Part("words", ["b"], task=Task(data="toxic_spans", alone=True), head="toxic_spans")
    own = Part("swaps", ["c"], own_teachers=("runs/a/pack",), own_head="sentiment")
    parts = [Part("lines.txt", ["d"]), both, alone, own]
    rows = {part.name: 7 for part in parts}
    text = card.distilled_card("pack", _trained(rows), {"big": "0123"}, parts, {}, unmeasured="nobody asked")
    assert [line for line in text.splitlines() if " | 7 | " in line] == [
        "| lines.txt | 7 | the teachers |",
        "| posts | 7 | the teachers and labels (sentiment, emotion) |",
        "| words | 7 | labels (toxic_spans) |",
        "| swaps | 7 | the teachers and `a` (sentiment) |",
    ]
    assert text.rstrip().endswith("Not measured: nobody asked.")


def test_a_task_is_listed_with_what_its_texts_are_for() -> None:
    rows = [line for line in _card({}).splitlines() if line.startswith("| ") and "tweets" in line]
    assert len(rows) == 2
    assert "| 2 |" in rows[0]
    assert "head" not in rows[0]
    assert "their texts for the head `emotion` |" in rows[1]
    assert "| 1 |" in rows[1]


def test_a_set_read_beside_another_is_not_said_to_be_read_whole() -> None:
    """Labels that another set gives the same texts count for the texts that both have."""
    beside = Task(data="tweets_sentiment", epochs=2, also=("tweets_emotion",))
    text = _card({}, (beside, Task(data="tweets_emotion", epochs=3), Task(data="sst2", epochs=1)))
    passes = [
        line.split(" | ")[2] for line in text.splitlines() if line.startswith("| ") and " | all | " in line
    ]
    assert passes == ["2", "2 over `tweets_sentiment` + 3"]


def test_own_and_general_teachers_are_named() -> None:
    text = _card({"big/checkpoint": "0123"})
    assert "- `sst2` in `pack`: `films`, whose scores are 75% of the loss" in text
    assert "the mean of `a`, `b`, whose scores are 100% of the loss" in text
    assert "- every other head, on every text of `pack`: `big/checkpoint` (0123)" in text
    assert "`moodstream distill --labels RECIPE` with recipe `pack`" in text


def test_without_teachers_the_card_says_so() -> None:
    text = _card({}, (Task(data="sst2"),))
    assert "No teacher model took part." in text
    assert "`moodstream train RECIPE` with recipe `pack`" in text
    assert "90\nof 100 planned steps in 12 minutes" in text


def test_the_card_knows_every_data_set() -> None:
    assert set(licences()) == set(SOURCES)
