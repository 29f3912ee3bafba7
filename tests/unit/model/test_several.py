"""Several packs at once: names of heads, one tokenisation, and results that are each pack's own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import (
    MARKING,
    ONE_HEAD,
    SIZES,
    TWO_HEADS,
    random_tensors,
    write_checkpoint,
    write_marking_checkpoint,
)
from worker.errors import InferenceError, PackError
from worker.heads import Gate, Head
from worker.lab.convert.writer import convert_checkpoint
from worker.messages.columns import head_columns
from worker.model.classifier import Classifier
from worker.model.pack import Pack, load_pack
from worker.model.several import PackSet, load_packs, memory_warning, named_heads, pack_names
from worker.model.tokenizer import Tokenizer, Tokens
from worker.types import Failure, Prediction

TEXTS = ["the film was great", "broken train, awful!", "it is late " * 20, "happy", *("lovely phone",) * 40]


def made(folder: Path, name: str, config: dict[str, Any], seed: int = 7) -> Path:
    tensors = random_tensors(config, seed)
    convert_checkpoint(
        write_checkpoint(folder / f"{name}-checkpoint", config, tensors), folder / name, name=name
    )
    return folder / name


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small packs. All have a head `sentiment`, most `emotion` too, and `marks` alone has others."""
    folder = tmp_path_factory.mktemp("several")
    marking = write_marking_checkpoint(folder / "marking", "awful")
    convert_checkpoint(marking, folder / "marks", name="marks")
    return {
        "mood": made(folder, "mood", {**SIZES, "heads": TWO_HEADS}),
        "other": made(folder, "other", {**SIZES, "heads": TWO_HEADS}, seed=8),
        "plain": made(folder, "plain", {**SIZES, **ONE_HEAD}, seed=9),
        "short": made(folder, "short", {**SIZES, **ONE_HEAD, "max_position_embeddings": 12}, seed=10),
        "marks": folder / "marks",
    }


def test_one_pack_gives_what_its_classifier_gives(packs: dict[str, Path]) -> None:
    texts = [*TEXTS, None, ""]
    several = PackSet.load([packs["marks"]], threads=2)
    assert several.classify(texts) == Classifier.load(packs["marks"], threads=2).classify(texts)
    assert several.heads == several.packs[0].outputs


def test_no_path_means_the_bundled_pack() -> None:
    assert [pack.name for pack in load_packs(())] == ["compact"]


def test_each_pack_s_results_stand_side_by_side_to_the_last_digit(packs: dict[str, Path]) -> None:
    names = ("mood", "plain", "marks")
    several = PackSet.load([packs[name] for name in names], threads=2)
    alone = [Classifier.load(packs[name], threads=2).classify(TEXTS) for name in names]
    for answer, *own in zip(several.classify(TEXTS), *alone, strict=True):
        assert isinstance(answer, Prediction)
        mood, plain, marks = own
        assert isinstance(mood, Prediction)
        assert isinstance(plain, Prediction)
        assert isinstance(marks, Prediction)
        assert answer.heads == {
            "mood_sentiment": mood.heads["sentiment"],
            "mood_emotion": mood.heads["emotion"],
            "plain_sentiment": plain.heads["sentiment"],
            "marks_sentiment": marks.heads["sentiment"],
            "marks_emotion": marks.heads["emotion"],
            "toxicity": marks.heads["toxicity"],
        }
        assert answer.spans == marks.spans
        assert answer.token_count == max(one.token_count for one in (mood, plain, marks))
        assert answer.truncated == any(one.truncated for one in (mood, plain, marks))
        assert {*answer.heads, *answer.spans} == {head.name for head in several.heads}


def test_the_model_names_all_packs_in_their_order(packs: dict[str, Path]) -> None:
    mood, plain = load_packs([packs["mood"], packs["plain"]])
    several = PackSet.load([packs["plain"], packs["mood"]], threads=1)
    assert several.model == f"plain@{plain.revision}+mood@{mood.revision}"


class Counting:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.packs: list[tuple[str, float]] = []

    def stage(self, name: str, seconds: float) -> None:
        self.stages.append(name)

    def micro_batch(self, rows: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        pass

    def pack(self, name: str, seconds: float) -> None:
        self.packs.append((name, seconds))


@pytest.mark.parametrize(
    ("names", "tokenised"),
    [
        (("mood",), 1),
        (("mood", "other", "plain"), 1),  # one vocabulary, one handling, one length
        (("mood", "short"), 2),  # cut elsewhere
        (("mood", "marks"), 2),  # prepared otherwise
        (("mood", "marks", "other"), 2),
    ],
)
def test_packs_with_the_same_tokenizer_share_one_tokenisation(
    packs: dict[str, Path], names: Sequence[str], tokenised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    plain = Tokenizer.__call__

    def counted(self: Tokenizer, texts: Sequence[str]) -> list[Tokens]:
        calls.append(len(texts))
        return plain(self, texts)

    monkeypatch.setattr(Tokenizer, "__call__", counted)
    listener = Counting()
    several = PackSet.load([packs[name] for name in names], threads=1, listener=listener)
    several.classify(TEXTS)
    assert calls == [len(TEXTS)] * tokenised
    assert listener.stages.count("tokenise") == tokenised
    assert [name for name, _ in listener.packs] != []
    assert sorted(name for name, _ in listener.packs) == sorted(names)
    assert all(seconds > 0 for _, seconds in listener.packs)


class Poisoned(Classifier):
    """A pack that cannot stand one text."""

    def predict(self, batch: Sequence[Tokens]) -> list[Prediction]:
        if any("awful" in row.text for row in batch):
            raise InferenceError("a logit that is not finite")
        return super().predict(batch)


def test_what_one_pack_cannot_label_fails_alone(packs: dict[str, Path]) -> None:
    several = PackSet([Classifier.load(packs["mood"], threads=1), Poisoned.load(packs["plain"], threads=1)])
    answers = several.classify(["great", "awful", None, "happy"])
    assert [isinstance(answer, Failure) for answer in answers] == [False, True, True, False]
    assert [getattr(answer, "reason", None) for answer in answers[1:3]] == [
        "inference_failed",
        "text_not_string",
    ]


def test_a_pack_that_is_given_twice_is_refused(packs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(packs["mood"])
    for load in (PackSet.load, load_packs):
        with pytest.raises(PackError, match="twice"):
            load([packs["mood"], packs["plain"], tmp_path / "link"])
        with pytest.raises(PackError, match="no such folder"):
            load([packs["mood"], tmp_path / "none"])


def test_a_gate_goes_with_the_head_that_it_asks(packs: dict[str, Path]) -> None:
    marks = load_pack(packs["marks"])
    heads, names = named_heads([marks, replace(marks, name="again")])
    assert names[1]["toxicity"] == "again_toxicity"
    gates = {head.name: head.gate for head in heads if head.by_token}
    threshold = MARKING["toxic_spans"]["gate"]["threshold"]
    assert gates == {
        f"{name}_toxic_spans": Gate(f"{name}_toxicity", "toxic", threshold) for name in ("marks", "again")
    }


NAMES = st.lists(st.sampled_from(["a", "b", "a_b", "b_a", "a-b", "ü", "-", "a_2"]), min_size=1, max_size=4)


@given(st.lists(st.tuples(NAMES.map(lambda names: names[0]), NAMES), min_size=1, max_size=4))
def test_all_heads_and_columns_have_different_names(given_packs: list[tuple[str, list[str]]]) -> None:
    heads = [
        tuple(Head(name, "single_label_classification", ("x", "y")) for name in dict.fromkeys(names))
        for _, names in given_packs
    ]
    packs = [
        Pack(Path("p"), name, "0" * 12, "", own, 24, 50, {})
        for (name, _), own in zip(given_packs, heads, strict=True)
    ]
    assert len(set(pack_names(packs))) == len(packs)
    found, names = named_heads(packs)
    assert len({head.name for head in found}) == len(found) == sum(map(len, heads))
    assert [new for own in names for new in own.values()] == [head.name for head in found]
    columns = [
        name
        for text in head_columns(found)
        if not hasattr(text, "column")
        for name in (text.label, text.score, *text.scores.values())
    ]
    assert len(set(columns)) == len(columns)


def test_too_little_memory_is_said_before_the_packs_are_loaded(packs: dict[str, Path]) -> None:
    folders = [packs["mood"], packs["plain"]]
    size = sum((folder / "model.onnx").stat().st_size for folder in folders)
    assert memory_warning(folders, available=10 * size) is None
    line = memory_warning(folders, available=size)
    assert line is not None
    assert line.startswith("the models mood, plain may need ")
    assert memory_warning([Path("none")], available=0) is None


def test_packs_that_share_no_language_are_told_of(tmp_path: Path) -> None:
    folders = []
    for code in ("en", "fr"):
        folder = write_checkpoint(tmp_path / f"checkpoint-{code}", {**SIZES, "heads": TWO_HEADS})
        pack = convert_checkpoint(folder, tmp_path / code, name=code, languages=[code])
        folders.append(pack.path)
    said: list[str] = []
    assert PackSet.load(folders, threads=1, warn=said.append).languages == frozenset()
    assert [line for line in said if "share no language" in line] == said
    assert len(said) == 1
