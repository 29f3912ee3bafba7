"""Cutting a checkpoint: the rest keeps its weights, and a trimmed vocabulary changes no score."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.support.checkpoints import MARKING, SIZES, WORDS, random_tensors, write_checkpoint
from worker.errors import CutError, TargetError
from worker.lab.checkpoint import Checkpoint, read_checkpoint, read_model, write_folder
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.prune import Importance, keep_layers, prune, renumber, survives, trim
from worker.lab.texts import TextReader
from worker.model.classifier import Classifier

CONFIG = {**SIZES, "heads": MARKING}
TEXTS = ["the film was great", "it is late, the train is broken!", "lovely films on time", "xyz zzz"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("compress") / "whole", CONFIG, random_tensors(CONFIG))


@pytest.fixture(scope="module")
def spelling(folder: Path) -> Checkpoint:
    """The same with every letter inside a word too, as in BERT's vocabulary: any word can be spelt."""
    whole = read_checkpoint(folder)
    tokenizer = json.loads(whole.tokenizer)
    vocabulary = tokenizer["model"]["vocab"]
    for letter in "abcdefghijklmnopqrstuvwxyz":
        vocabulary.setdefault(f"##{letter}", len(vocabulary))
    rng = np.random.default_rng(0)
    name = "distilbert.embeddings.word_embeddings.weight"
    extra = rng.standard_normal((len(vocabulary) - whole.sizes.vocab_size, whole.sizes.dim)).astype("f4")
    return replace(
        whole,
        tokenizer=json.dumps(tokenizer),
        tensors={**whole.tensors, name: np.concatenate([whole.tensors[name], extra])},
        config={**whole.config, "vocab_size": len(vocabulary)},
    )


def _scores(checkpoint: Checkpoint, room: Path, texts: list[str], *, quantise: bool = False) -> list[Any]:
    """Every head's scores of each text, through a pack as the service runs it."""
    write_folder(checkpoint, room / "checkpoint")
    pack = convert_checkpoint(room / "checkpoint", room / "pack", name="x", quantise=quantise, replace=True)
    model = Classifier.load(pack.path, threads=1)
    return [prediction.heads for prediction in model.predict(model.tokenize(texts))]


def test_a_written_folder_reads_back(folder: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(folder)
    write_folder(whole, tmp_path / "copy", "# card\n")
    again = read_checkpoint(tmp_path / "copy")
    assert again.config == whole.config
    assert again.tokenizer == whole.tokenizer
    assert all(np.array_equal(again.tensors[name], array) for name, array in whole.tensors.items())
    assert (tmp_path / "copy/MODEL_CARD.md").read_text(encoding="utf-8") == "# card\n"
    write_folder(whole, tmp_path / "copy")  # in place of the old one
    assert not (tmp_path / "copy/MODEL_CARD.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(folder: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(folder)
    write_folder(whole, tmp_path / "copy")
    broken = replace(whole, tensors={"x": np.array(["no number"])})
    with pytest.raises(TargetError, match=r"^cannot write"):
        write_folder(broken, tmp_path / "copy")
    assert read_checkpoint(tmp_path / "copy").tensors.keys() == whole.tensors.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_heads_and_columns_without_weight_can_go(folder: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(folder)
    tensors = {name: array.copy() for name, array in whole.tensors.items()}
    importance = Importance(np.ones((3, 4)), np.ones((3, 64)))
    width = whole.sizes.head_dim
    for layer, idle_head in ((0, 1), (1, 3), (2, 0)):
        prefix = f"distilbert.transformer.layer.{layer}."
        tensors[f"{prefix}attention.out_lin.weight"][:, idle_head * width : (idle_head + 1) * width] = 0
        importance.heads[layer, idle_head] = 0
        idle_columns = np.arange(layer % 2, 64, 2)
        tensors[f"{prefix}ffn.lin2.weight"][:, idle_columns] = 0
        importance.columns[layer, idle_columns] = 0
    idle = replace(whole, tensors=tensors)
    small = prune(idle, importance, heads=3, hidden=32)
    assert (small.sizes.n_heads, small.sizes.head_dim, small.sizes.hidden_dim) == (3, width, 32)
    assert small.config["head_dim"] == width
    assert small.parameters < idle.parameters
    before, after = _scores(idle, tmp_path / "1", TEXTS), _scores(small, tmp_path / "2", TEXTS)
    for one, two in zip(before, after, strict=True):
        for head, result in one.items():
            assert result.scores == pytest.approx(two[head].scores, abs=1e-5)


def test_what_stays_keeps_its_order(folder: Path) -> None:
    whole = read_checkpoint(folder)
    importance = Importance(np.tile([1.0, 4.0, 2.0, 3.0], (3, 1)), np.tile(np.arange(64.0), (3, 1)))
    small = prune(whole, importance, heads=2, hidden=10)
    width, prefix = whole.sizes.head_dim, "distilbert.transformer.layer.1."
    query = whole.tensors[f"{prefix}attention.q_lin.weight"]
    expected = np.concatenate([query[width : 2 * width], query[3 * width :]])
    assert np.array_equal(small.tensors[f"{prefix}attention.q_lin.weight"], expected)
    assert np.array_equal(
        small.tensors[f"{prefix}ffn.lin2.weight"], whole.tensors[f"{prefix}ffn.lin2.weight"][:, 54:]
    )


def test_keeping_everything_is_the_same_model(folder: Path) -> None:
    whole = read_checkpoint(folder)
    same = prune(whole, Importance(np.ones((3, 4)), np.ones((3, 64))), heads=4, hidden=64)
    assert same.config == whole.config
    assert all(np.array_equal(same.tensors[name], array) for name, array in whole.tensors.items())


@pytest.mark.parametrize(("heads", "hidden"), [(5, None), (0, None), (None, 65), (None, 0)])
def test_more_than_there_is_cannot_be_kept(folder: Path, heads: int | None, hidden: int | None) -> None:
    with pytest.raises(CutError, match="cannot keep"):
        prune(
            read_checkpoint(folder), Importance(np.ones((3, 4)), np.ones((3, 64))), heads=heads, hidden=hidden
        )


def test_texts_whose_words_stay_score_exactly_as_before(spelling: Checkpoint, tmp_path: Path) -> None:
    small = trim(spelling, ["the film was great", "the train is late"])
    assert small.sizes.vocab_size < spelling.sizes.vocab_size
    texts = ["the train was great", "late late film", "is the film late?", "the train b"]
    assert survives(spelling, small, texts) == 1.0
    before, after = (_scores(each, tmp_path / name, texts) for each, name in ((spelling, "1"), (small, "2")))
    assert before == after  # not close: the same
    # The int8 constants come from random words of the vocabulary, which is a different one here.
    before, after = (
        _scores(each, tmp_path / name, texts, quantise=True) for each, name in ((spelling, "3"), (small, "4"))
    )
    for one, two in zip(before, after, strict=True):
        for head, result in one.items():
            assert result.scores == pytest.approx(two[head].scores, abs=0.05)


def test_a_word_that_is_gone_is_spelt_and_never_unknown(spelling: Checkpoint) -> None:
    small = trim(spelling, ["the film"])
    kept = json.loads(small.tokenizer)["model"]["vocab"]
    assert "film" in kept
    assert "train" not in kept
    (row,) = TextReader(small)(["the train"], 16)
    unknown = kept["[UNK]"]
    assert unknown not in row.ids
    by_number = {number: token for token, number in kept.items()}
    pieces = [by_number[number] for number in row.ids.tolist()]
    assert pieces[1:-1] == ["the", "t", "##r", "##a", "##i", "##n"]
    assert survives(spelling, small, ["the film", "the train"]) == 0.5


def test_pieces_that_cannot_be_spelt_stay(folder: Path) -> None:
    whole = read_checkpoint(folder)
    small = trim(whole, ["nothing"])
    kept = json.loads(small.tokenizer)["model"]["vocab"]
    # This vocabulary has no letters that start with ##, so words longer than a letter cannot be spelt.
    assert {word for word in WORDS if word not in ("is", "##s")} <= set(kept)


@given(
    words=st.lists(st.sampled_from([*"abc", "ab", "abc", "bca", "cab", "aab"]), max_size=6),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_any_text_of_kept_words_is_cut_as_before(words: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = [*"abc", *(f"##{letter}" for letter in "abc"), "ab", "abc", "##bc", "bca", "##ca", "cab", "##ab"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces]
    whole = Tokenizer(models.WordPiece({w: n for n, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    whole.normalizer = normalizers.BertNormalizer()
    whole.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    whole.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    whole.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    used = whole.encode(" ".join(words)).ids
    singles = [vocabulary.index(piece) for piece in pieces if len(piece.removeprefix("##")) == 1]
    kept = sorted({0, 1, 2, 3, *singles, *used})
    small = Tokenizer.from_str(renumber(whole.to_str(), kept))
    again = small.encode(" ".join(words))
    assert [kept[number] for number in again.ids] == used
    letters = "".join(rng.choice(list("abc"), 12))
    assert "[UNK]" not in small.encode(letters).tokens


def test_the_padding_of_a_packaged_tokenizer_is_no_trouble(folder: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(folder)
    tokenizer = Tokenizer.from_str(whole.tokenizer)
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(12)
    write_folder(replace(whole, tokenizer=tokenizer.to_str()), tmp_path / "padded")
    padded = read_checkpoint(tmp_path / "padded")
    one, two = (TextReader(each)(TEXTS, 24) for each in (whole, padded))
    assert [row.ids.tolist() for row in one] == [row.ids.tolist() for row in two]


def test_other_vocabularies_are_refused(folder: Path) -> None:
    whole = read_checkpoint(folder)
    other = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(CutError, match="only a WordPiece vocabulary can be trimmed, and this is WordLevel"):
        trim(replace(whole, tokenizer=other.to_str()), ["a"])


@pytest.mark.parametrize("quantise", [False, True])
def test_a_pack_comes_back_as_a_checkpoint(folder: Path, tmp_path: Path, quantise: bool) -> None:
    pack = convert_checkpoint(folder, tmp_path / "pack", name="x", quantise=quantise)
    found = read_model(pack.path)
    whole = read_checkpoint(folder)
    assert found.tensors.keys() == whole.tensors.keys()
    for name, array in whole.tensors.items():
        assert found.tensors[name].shape == array.shape, name
    before, after = (_scores(each, tmp_path / title, TEXTS) for each, title in ((whole, "1"), (found, "2")))
    for one, two in zip(before, after, strict=True):
        for head, result in one.items():
            assert result.scores == pytest.approx(two[head].scores, abs=0.05 if quantise else 1e-5)
    # The token head, too: its weights are stored in the graph by layer.
    name = next(name for name, head in whole.heads.items() if head.by_token)
    weight = f"heads.{name}.pre_classifier.weight"
    assert np.allclose(found.tensors[weight], whole.tensors[weight], atol=0.02 if quantise else 1e-6)


def test_layers_go_without_torch(folder: Path, tmp_path: Path) -> None:
    small = keep_layers(read_checkpoint(folder), [1, 3])
    write_folder(small, tmp_path / "small")
    pack = convert_checkpoint(tmp_path / "small", tmp_path / "pack", name="small")
    assert len(
        Classifier.load(pack.path, threads=1).predict(Classifier.load(pack.path).tokenize(TEXTS))
    ) == len(TEXTS)
