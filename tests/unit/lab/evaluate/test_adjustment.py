"""The logit adjustments: what is found for emotions and for toxicity, and that packs get it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import SIZES, TWO_HEADS, write_checkpoint
from tests.support.scorers import TextScorer
from worker.errors import PackError, TrainingError
from worker.heads import MULTI, SINGLE, TOKENS, Gate, Head
from worker.lab import refit
from worker.lab.chain.rows import write_rows
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.data.labels import EMOTION, TOXICITY
from worker.lab.evaluate.adjustment import Rows, fit, headroom
from worker.lab.evaluate.examples import load_fitting
from worker.lab.evaluate.score import TokenScores
from worker.lab.evaluate.tuning import ALARMS, CALM, RAISED, adjust, adjust_emotions, adjust_toxicity, tune
from worker.model.classifier import Classifier
from worker.model.pack import load_pack

TRUE = np.array([1.5, 0.0, -0.5, -1.0])


def drawn(rows: int, adjustment: np.ndarray, seed: int = 1) -> Rows:
    """Rows of which each has one label, drawn by a softmax over its lowered logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, len(adjustment)))
    lowered = logits - adjustment
    labels = (lowered + rng.gumbel(size=lowered.shape)).argmax(axis=1)
    return Rows(logits, np.eye(len(adjustment), dtype=np.bool_)[labels])


def test_what_was_added_to_the_logits_is_found() -> None:
    found = fit([drawn(20_000, TRUE)])
    centred = TRUE - TRUE.mean()
    assert found == pytest.approx(centred, abs=0.25)  # the penalty draws it to 0, and leaves nothing shared
    assert (np.abs(found) > 0.8 * np.abs(centred)).all()


def test_each_set_counts_the_same_however_many_rows_it_has() -> None:
    one, other = drawn(300, TRUE), drawn(300, -TRUE, seed=2)
    found = fit([one, other])
    tenfold = Rows(np.tile(other.logits, (10, 1)), np.tile(other.gold, (10, 1)))
    assert fit([one, tenfold]) == pytest.approx(found, abs=2e-3)
    assert np.abs(found).max() < np.abs(fit([one])).max()


def test_rows_without_a_label_say_nothing_and_of_several_labels_any_is_right() -> None:
    one = drawn(400, TRUE)
    silent = Rows(one.logits[:50], np.zeros_like(one.gold[:50]))
    with_silent = Rows(np.concatenate([one.logits, silent.logits]), np.concatenate([one.gold, silent.gold]))
    assert (fit([with_silent]) == fit([one])).all()
    everything = Rows(one.logits, np.ones_like(one.gold))
    assert (fit([everything]) == 0).all()
    with pytest.raises(ValueError, match="no row"):
        fit([silent])


def test_a_label_that_no_row_has_gets_a_finite_number() -> None:
    one = drawn(500, TRUE)
    never = one.gold.copy()
    never[:, 3] = False
    found = fit([Rows(one.logits, never)])
    assert np.isfinite(found).all()
    assert found[3] == found.max()


SETS = st.lists(st.lists(st.floats(-20, 20), min_size=1, max_size=60), min_size=1, max_size=4)


@given(sets=SETS, most=st.sampled_from([0.0, 0.05, 0.3]))
def test_a_warning_is_raised_as_far_as_every_set_allows(sets: list[list[float]], most: float) -> None:
    margins = [np.array(each) for each in sets]
    raised = headroom(margins, most)
    assert raised >= 0
    if raised > 0:
        assert all((each + raised > 0).mean() <= most for each in margins)
    # A step further would warn of too much somewhere, or there is too much already.
    assert any((each + raised + 0.011 > 0).mean() > most for each in margins)


def test_what_is_raised_is_that_of_the_strictest_set() -> None:
    calm, harsh = -np.arange(1.0, 101.0), -np.arange(1.0, 101.0) / 10
    assert headroom([calm], 0.05) == 6.0  # five of a hundred lie above -6
    assert headroom([harsh], 0.05) == 0.6
    assert headroom([calm, harsh], 0.05) == 0.6
    assert headroom([calm, harsh + 5], 0.05) == 0.0  # more than five of a hundred are warned of already
    assert headroom([np.array([-0.129])], 0.05) == 0.12  # rounded down, so that it is not too far
    for empty in ([], [calm, np.array([])]):
        with pytest.raises(ValueError, match=r"no rows|empty"):
            headroom(empty, 0.05)


class Calm(TextScorer):
    """Gives every text the same scores, "neutral" the largest."""

    title = "calm"

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
        return np.asarray(np.full((len(texts), len(self.heads[head].labels)), 0.1) + np.eye(28)[-1] * 0.7)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Made-up data sets; GoEmotions' dev split has sixty rows, a third of them neutral."""
    folder = tmp_path / "data" / "goemotions"
    write_rows(folder.parent)
    lines = [f"comment number {n}\t{27 if n % 3 == 0 else n % 27}\tid{n}" for n in range(60)]
    (folder / "dev.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.parent


def test_tuning_makes_the_emotions_comparable(root: Path) -> None:
    told: list[str] = []
    entry = tune(Calm(EMOTION), root, told.append)["emotion"]
    numbers = dict(zip(EMOTION.labels, entry["logit_adjustment"], strict=True))
    assert told == []
    # Its score is 0.8 in all rows, and it is right in fewer than half.
    assert max(numbers, key=numbers.__getitem__) == "neutral"
    # "grief" has fewer rows than "joy" among ours, with the same score.
    assert numbers["neutral"] > numbers["grief"] > numbers["joy"]


def test_an_adjustment_is_for_the_temperature_at_which_it_is_fitted(root: Path) -> None:
    numbers = adjust_emotions(Calm(EMOTION), root, 1.0)
    assert adjust_emotions(Calm(EMOTION), root, 100.0)[-1] < numbers[-1]


def test_a_missing_set_or_another_head_is_one_line(root: Path) -> None:
    with pytest.raises(TrainingError, match="judges no head of mood"):
        adjust_emotions(Calm(Head("mood", MULTI, EMOTION.labels)), root, 1.0)
    with pytest.raises(TrainingError, match="has no label"):
        adjust_emotions(Calm(Head("emotion", MULTI, EMOTION.labels[1:])), root, 1.0)
    (root / "goemotions" / "dev.tsv").unlink()
    with pytest.raises(TrainingError, match="no file"):
        adjust_emotions(Calm(EMOTION), root, 1.0)


CARD = "# A card\n\n| text | answer |\n| --- | --- |\n| a text | an old answer |\n\nThe end.\n"


def emotional(folder: Path, card: str = CARD, **entry: Any) -> Path:
    """Make a small pack with random weights that has an emotion head, and a card with answers."""
    head = {"problem_type": MULTI, "id2label": {str(n): label for n, label in enumerate(EMOTION.labels)}}
    checkpoint = write_checkpoint(folder / "checkpoint", {**SIZES, "heads": {"emotion": {**head, **entry}}})
    (checkpoint / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return convert_checkpoint(checkpoint, folder / "pack", name="small").path


def test_a_finished_pack_gets_numbers_and_answers_and_keeps_its_weights(root: Path, tmp_path: Path) -> None:
    folder = emotional(tmp_path, temperature=1.5)
    before = load_pack(folder)
    graph = (folder / "model.onnx").read_bytes()
    made = refit.refit(folder, root)
    assert made.revision != before.revision
    assert (made.name, (folder / "model.onnx").read_bytes()) == (before.name, graph)
    (head,) = made.heads
    assert len(head.logit_adjustment) == 28
    assert (head.temperature, head.thresholds) == (1.5, before.heads[0].thresholds)
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith(
        "# A card\n\n| text | answer |\n| --- | --- |\n| Great, my flight is delayed again. |"
    )
    assert card.endswith(" |\n\nThe end.\n")
    assert "an old answer" not in card
    (answer,) = Classifier.load(folder, threads=1).classify(["I am dead 💀"])
    assert f"| I am dead 💀 | emotion {answer.heads['emotion'].label} " in card  # type: ignore[union-attr]
    # What is fitted does not depend on what was fitted before.
    assert refit.refit(folder, root).heads == made.heads


def test_a_card_says_once_that_its_figures_are_older(root: Path, tmp_path: Path) -> None:
    folder = emotional(tmp_path, "# A card\n\n## Figures\n\nAll of them.\n")
    for _ in range(2):
        refit.refit(folder, root)
        card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert card == f"# A card\n\n## Figures\n\n{refit.REFITTED}\n\nAll of them.\n"


def test_marked_words_follow_the_adjustment_of_their_gate(root: Path) -> None:
    """Other texts are called toxic then, so the threshold is fitted again; not so without a gate."""
    words = Head("toxic_spans", TOKENS, ("toxic",), (0.123,), gate=Gate("toxicity", "toxic", 0.1))

    class Marking(Wary):
        def tokens(self, texts: Sequence[str], max_tokens: int, head: str) -> Any:
            return [TokenScores(np.array([0.3]), [(0, len(text))]) for text in texts]

    found = adjust(Marking(TOXICITY, words), root)
    assert found["toxicity"]["logit_adjustment"][1] < 0
    assert set(found) == {"toxicity", "toxic_spans"}
    assert found["toxic_spans"]["threshold"] != 0.123
    alone = Head("toxic_spans", TOKENS, ("toxic",), (0.123,))
    assert set(adjust(Marking(TOXICITY, alone), root)) == {"toxicity"}


def test_a_pack_without_these_emotions_is_left_as_it_is(root: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", {**SIZES, "heads": TWO_HEADS})
    before = convert_checkpoint(checkpoint, tmp_path / "pack", name="other")
    with pytest.raises(TrainingError, match="data set goemotions does not fit the model: its head emotion"):
        refit.refit(before.path, root)
    assert load_pack(before.path).revision == before.revision
    with pytest.raises(PackError, match="no such folder"):
        refit.refit(root / "nothing", root)


def test_only_the_named_table_of_a_card_is_replaced() -> None:
    card = "| text | answer |\n| --- | --- |\n| a | b |\n| c | d |\nbetween\n| other |\n| --- |\n| e |\n"
    assert refit.with_table(card, "| text | answer |\n| --- | --- |\n| x | y |") == (
        "| text | answer |\n| --- | --- |\n| x | y |\nbetween\n| other |\n| --- |\n| e |\n"
    )
    assert refit.with_table(card, "| no | such |\n| --- | --- |") == card


def test_a_card_says_from_which_score_on_a_text_is_toxic() -> None:
    """Also when it said another score before, and what else stands in the line stays."""
    plain, wary, warier = (
        Head("toxicity", SINGLE, ("not_toxic", "toxic"), logit_adjustment=numbers)
        for numbers in ((), (0.0, -0.31), (0.3, -0.7))
    )
    lines = "- **sentiment**: one of negative, positive\n{}, as it came with the base\n"
    card = lines.format("- **toxicity**: one of not_toxic, toxic")
    card = refit.with_head_lines(card, [plain], [wary])
    assert card == lines.format("- **toxicity**: one of not_toxic, toxic; toxic from a score of 0.42 on")
    card = refit.with_head_lines(card, [wary], [warier])
    assert card == lines.format("- **toxicity**: one of not_toxic, toxic; toxic from a score of 0.27 on")


def test_an_adjustment_survives_reading_and_writing(tmp_path: Path) -> None:
    numbers = [round(0.1 * n - 1, 3) for n in range(28)]
    pack = load_pack(emotional(tmp_path, logit_adjustment=numbers))
    assert pack.heads[0].logit_adjustment == tuple(numbers)
    stored = json.loads((pack.path / "config.json").read_text(encoding="utf-8"))["heads"]["emotion"]
    assert stored["logit_adjustment"] == numbers


class Wary(TextScorer):
    """Scores each text by its length: the longer, the more toxic, but none as much as 0.5."""

    title = "wary"

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
        toxic = np.array([min(len(text), 400) / 1000 for text in texts])
        return np.stack([1 - toxic, toxic], axis=1)


def test_tuning_lets_toxicity_warn_of_few_of_each_kind_of_calm_text(root: Path) -> None:
    told: list[str] = []
    scorer = Wary(TOXICITY)
    entry = tune(scorer, root, told.append)["toxicity"]
    calm, toxic = entry["logit_adjustment"]
    assert (told, calm) == ([], 0.0)
    assert toxic < 0
    head = Head("toxicity", TOXICITY.problem_type, TOXICITY.labels, (), entry["temperature"])
    shares = []
    for benchmark in CALM:
        examples = load_fitting(benchmark, scorer.heads, root)
        assert examples.classes is not None
        scores = scorer(examples.texts, 512, "toxicity")[examples.classes == 0]
        margins = np.log(scores[:, 1] / scores[:, 0]) / head.temperature
        shares.append((margins - toxic > 0).mean())
    assert max(shares) <= ALARMS


def test_labels_in_another_order_get_the_same_number(root: Path) -> None:
    class Turned(Wary):
        def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
            return super().__call__(texts, max_tokens, head)[:, ::-1]

    calm, toxic = adjust_toxicity(Wary(TOXICITY), root, 2.0)
    turned = Head("toxicity", TOXICITY.problem_type, TOXICITY.labels[::-1])
    assert adjust_toxicity(Turned(turned), root, 2.0) == [toxic, calm]
    # What is raised is for the temperature: twice as hot, half as far.
    assert adjust_toxicity(Wary(TOXICITY), root, 4.0)[1] == pytest.approx(toxic / 2, abs=0.011)


class Sure(Wary):
    """Finds nothing toxic anywhere, or something everywhere."""

    def __init__(self, score: float) -> None:
        super().__init__(TOXICITY)
        self.score = score

    def __call__(self, texts: Sequence[str], max_tokens: int, head: str) -> np.ndarray:
        return np.tile([1 - self.score, self.score], (len(texts), 1))


@pytest.mark.parametrize(("score", "number"), [(0.001, -RAISED), (0.3, -0.84), (0.5, 0.0), (0.9, 0.0)])
def test_no_score_is_taken_for_a_warning_that_is_far_below_one_half(
    root: Path, score: float, number: float
) -> None:
    assert adjust_toxicity(Sure(score), root, 1.0) == [0.0, number]


def test_toxicity_stays_as_it_is_without_the_sets(root: Path) -> None:
    (root / "imdb" / "val.jsonl.gz").unlink()
    told: list[str] = []
    entry = tune(Wary(TOXICITY), root, told.append)["toxicity"]
    assert "logit_adjustment" not in entry
    assert len(told) == 1
    assert told[0].startswith("the labels of head toxicity are not adjusted: data set imdb_calm: no file")
    with pytest.raises(TrainingError, match="imdb_calm"):
        adjust_toxicity(Wary(TOXICITY), root, 1.0)
