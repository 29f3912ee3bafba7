"""Checkpoints of other languages become packs: cased or not, Latin, Arabic and Chinese script."""

# ruff: noqa: RUF001 - letters that look like Latin ones are the point of these texts

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.support.checkpoints import SIZES, random_tensors, write_checkpoint
from tests.support.vocabularies import ALL, ARABIC, ITALIAN_CASED, PERSIAN, Vocabulary
from worker.errors import CheckpointError
from worker.lab.convert.writer import convert_checkpoint
from worker.messages.encode import OutputEncoder
from worker.model.classifier import Classifier
from worker.types import Prediction

LABELS = {"id2label": {"0": "negativo", "1": "neutro", "2": "positivo"}}


def written(folder: Path, vocabulary: Vocabulary, tokens: list[str] | None = None) -> Path:
    """A small checkpoint with this vocabulary as `vocab.txt`."""
    tokens = tokens or vocabulary.all
    config = {**SIZES, **LABELS, "vocab_size": len(tokens)}
    write_checkpoint(folder, config, random_tensors(config))
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    if vocabulary.settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(vocabulary.settings))
    return folder


def pieces(pack: Path, text: str) -> list[str]:
    found: list[str] = Tokenizer.from_file(str(pack / "tokenizer.json")).encode(text).tokens
    assert (found[0], found[-1]) == ("[CLS]", "[SEP]")
    return found[1:-1]


@pytest.mark.parametrize("vocabulary", ALL.values(), ids=ALL)
def test_texts_become_the_tokens_of_their_language(vocabulary: Vocabulary, tmp_path: Path) -> None:
    convert_checkpoint(written(tmp_path / "checkpoint", vocabulary), tmp_path / "pack", name="tiny")
    for text, expected in vocabulary.texts.items():
        assert pieces(tmp_path / "pack", text) == expected


@pytest.mark.parametrize("vocabulary", ALL.values(), ids=ALL)
def test_the_pack_labels_texts_of_its_language(vocabulary: Vocabulary, tmp_path: Path) -> None:
    convert_checkpoint(written(tmp_path / "checkpoint", vocabulary), tmp_path / "pack", name="tiny")
    classifier = Classifier.load(tmp_path / "pack", threads=1)
    encoder = OutputEncoder(classifier.pack.heads, model="tiny@0", topic="", include_text=True)
    for (text, tokens), answer in zip(
        vocabulary.texts.items(), classifier.classify(list(vocabulary.texts)), strict=True
    ):
        assert isinstance(answer, Prediction)
        fields = encoder.fields(answer, text)
        assert fields["token_count"] == len(tokens) + 2
        assert fields["label_label"] in LABELS["id2label"].values()
        assert fields["text"] == text


def test_a_tokenizer_json_of_another_language_is_taken_as_it_is(tmp_path: Path) -> None:
    first = written(tmp_path / "one", PERSIAN)
    convert_checkpoint(first, tmp_path / "pack", name="tiny")
    second = written(tmp_path / "two", PERSIAN)
    (second / "tokenizer.json").write_bytes((tmp_path / "pack" / "tokenizer.json").read_bytes())
    (second / "vocab.txt").unlink()
    convert_checkpoint(second, tmp_path / "again", name="tiny")
    for text, expected in PERSIAN.texts.items():
        assert pieces(tmp_path / "again", text) == expected


def test_line_ends_and_byte_order_mark_of_windows_are_no_part_of_a_token(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint", ITALIAN_CASED)
    (folder / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(ITALIAN_CASED.all).encode() + b"\r\n")
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    assert pieces(tmp_path / "pack", "Che bella città") == ["Che", "bella", "città"]


def test_special_tokens_may_have_other_names(tmp_path: Path) -> None:
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    settings = {
        "do_lower_case": False,
        "cls_token": "<s>",
        "sep_token": {"content": "</s>", "lstrip": False},
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    }
    tokens = [names.get(token, token) for token in ARABIC.all]
    folder = written(tmp_path / "checkpoint", Vocabulary(ARABIC.tokens, settings, {}), tokens)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny")
    reader = Tokenizer.from_file(str(tmp_path / "pack" / "tokenizer.json"))
    assert reader.encode("شكرا xyz").tokens == ["<s>", "شكرا", "<unk>", "</s>"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("vocab.txt", b"[UNK]\n[CLS]\n\xff\xfe\n", "vocab.txt cannot be read"),
        ("vocab.txt", b"[PAD]\n[UNK]\n[SEP]\nword\n", "has no [CLS]"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json cannot be read"),
        ("tokenizer_config.json", b"[]", "must hold a JSON object"),
        ("tokenizer.json", b"{}", "is not a readable tokenizer"),
    ],
)
def test_what_is_wrong_with_a_tokenizer_is_one_line(
    name: str, content: bytes, complaint: str, tmp_path: Path
) -> None:
    folder = written(tmp_path / "checkpoint", ARABIC)
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_adds_no_first_token_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint", ARABIC)
    convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
    content = json.loads((tmp_path / "pack" / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    with pytest.raises(CheckpointError, match="first and a last token"):
        convert_checkpoint(folder, tmp_path / "bare", name="tiny", quantise=False)


def test_another_kind_of_vocabulary_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint", ARABIC)
    (folder / "vocab.txt").rename(folder / "spiece.model")
    with pytest.raises(CheckpointError, match=r"spiece\.model alone cannot be read"):
        convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint", ARABIC)
    with (folder / "vocab.txt").open("a", encoding="utf-8") as stream:
        stream.write("واحد\nاثنان\n")
    with pytest.raises(CheckpointError, match="the model knows"):
        convert_checkpoint(folder, tmp_path / "pack", name="tiny", quantise=False)
