"""A pack is used only if every byte is the one the manifest vouches for."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.errors import PackError
from worker.model.classifier import Classifier
from worker.model.pack import file_entry, load_pack, shipped_packs


def refusal(pack: Path) -> str:
    """What loading the pack says, which must be one line."""
    with pytest.raises(PackError) as caught:
        Classifier.load(pack)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_manifest(pack: Path, **changes: Any) -> None:
    path = pack / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(pack: Path, file: str, content: str) -> None:
    """Change a file and have the manifest vouch for the change."""
    (pack / file).write_text(content)
    files = json.loads((pack / "manifest.json").read_text())["files"]
    change_manifest(pack, files={**files, file: file_entry(pack / file)})


def test_a_sound_pack_tells_what_it_is(tiny_pack: Path) -> None:
    pack = load_pack(tiny_pack)
    assert pack.name == "tiny"
    assert len(pack.revision) == 12
    assert [head.name for head in pack.heads] == ["sentiment", "emotion"]
    assert pack.max_tokens == 24
    assert pack.files["model.onnx"] == (tiny_pack / "model.onnx").stat().st_size


def test_the_revision_follows_the_content(own_pack: Path) -> None:
    before = load_pack(own_pack).revision
    change_manifest(own_pack, name="other", created="1970-01-01T00:00:00Z")
    assert load_pack(own_pack).revision == before
    rewrite(own_pack, "MODEL_CARD.md", "# Another card\n")
    assert load_pack(own_pack).revision != before


@pytest.mark.parametrize("file", ["model.onnx", "config.json", "tokenizer.json", "MODEL_CARD.md"])
def test_one_changed_byte_is_refused_and_its_file_named(own_pack: Path, file: str) -> None:
    content = bytearray((own_pack / file).read_bytes())
    content[len(content) // 2] ^= 1
    (own_pack / file).write_bytes(content)
    assert file in refusal(own_pack)


def test_a_file_cut_short_is_refused(own_pack: Path) -> None:
    content = (own_pack / "model.onnx").read_bytes()
    (own_pack / "model.onnx").write_bytes(content[:-1])
    assert f"{len(content) - 1} bytes" in refusal(own_pack)


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(own_pack: Path, file: str) -> None:
    (own_pack / file).unlink()
    message = refusal(own_pack)
    assert file in message
    assert "missing" in message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")


def test_a_folder_in_place_of_a_file_is_refused(own_pack: Path) -> None:
    (own_pack / "tokenizer.json").unlink()
    (own_pack / "tokenizer.json").mkdir()
    assert "tokenizer.json" in refusal(own_pack)


@pytest.mark.parametrize("content", ["{", "[]", "\x00", "[" * 100_000, '{"format": 1}'])
def test_a_malformed_manifest_is_refused(own_pack: Path, content: str) -> None:
    (own_pack / "manifest.json").write_text(content)
    assert "manifest.json" in refusal(own_pack)


def test_an_unknown_format_is_refused(own_pack: Path) -> None:
    change_manifest(own_pack, format=2)
    assert "format 2" in refusal(own_pack)


@pytest.mark.parametrize("name", ["../config.json", "/etc/hostname", "..", ""])
def test_the_manifest_may_not_point_outside(own_pack: Path, name: str) -> None:
    files = json.loads((own_pack / "manifest.json").read_text())["files"]
    change_manifest(own_pack, files={**files, name: {"sha256": "0" * 64, "bytes": 1}})
    assert "plain file name" in refusal(own_pack)


def test_a_manifest_that_leaves_the_graph_out_is_refused(own_pack: Path) -> None:
    files = json.loads((own_pack / "manifest.json").read_text())["files"]
    del files["model.onnx"]
    change_manifest(own_pack, files=files)
    assert "model.onnx" in refusal(own_pack)


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ({"problem_type": "regression"}, "regression"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, "id2label"),
        ({"id2label": {}}, "id2label"),
        ({"id2label": {"0": "a", "1": 1, "2": "c"}}, "id2label"),
        ({"problem_type": "multi_label_classification", "thresholds": [0.5]}, "thresholds"),
        ({"problem_type": "multi_label_classification", "thresholds": [0.5, 2, 0.5]}, "thresholds"),
        ({"problem_type": "multi_label_classification", "thresholds": [0.5, True, 0.5]}, "thresholds"),
        (
            {"problem_type": "multi_label_classification", "thresholds": [0.5, float("nan"), 0.5]},
            "thresholds",
        ),
        ({"temperature": 0}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"groups": {"good": ["positive"]}}, "groups"),
        ({"problem_type": "multi_label_classification", "groups": []}, "groups"),
        ({"problem_type": "multi_label_classification", "groups": {"": ["positive"]}}, "groups"),
        ({"problem_type": "multi_label_classification", "groups": {"good": "positive"}}, "'good'"),
        ({"problem_type": "multi_label_classification", "groups": {"good": []}}, "'good'"),
        ({"problem_type": "multi_label_classification", "groups": {"good": ["joy"]}}, "'joy'"),
        ({"logit_adjustment": [0, 0]}, "3 labels"),
        ({"logit_adjustment": [0, 0, "1"]}, "not '1'"),
        ({"problem_type": "multi_label_classification", "logit_adjustment": 1}, "3 labels"),
        ({"problem_type": "multi_label_classification", "logit_adjustment": [1, 2]}, "3 labels"),
        ({"problem_type": "multi_label_classification", "logit_adjustment": [1, True, 2]}, "not True"),
        ({"problem_type": "multi_label_classification", "logit_adjustment": [1, 2000, 2]}, "not 2000"),
        (
            {"problem_type": "multi_label_classification", "logit_adjustment": [1, float("nan"), 2]},
            "not nan",
        ),
    ],
)
def test_heads_that_make_no_sense_are_refused(own_pack: Path, head: dict[str, Any], word: str) -> None:
    config = json.loads((own_pack / "config.json").read_text())
    config["heads"]["sentiment"] |= head
    rewrite(own_pack, "config.json", json.dumps(config))
    message = refusal(own_pack)
    assert word in message
    assert "sentiment" in message


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"layers": None}, "layers"),
        ({"layers": []}, "layers"),
        ({"layers": [0]}, "from 1 to 2"),
        ({"layers": [3]}, "from 1 to 2"),
        ({"layers": [True]}, "from 1 to 2"),
        ({"layers": [1, 1]}, "twice"),
        ({"id2label": {"0": "toxic", "1": "rude"}}, "one label"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": "high"}, "threshold"),
        ({"relative": 2}, "relative"),
        ({"temperature": -1}, "temperature"),
        ({"gate": "sentiment"}, "gate"),
        ({"gate": {"head": "sentiment"}}, "gate"),
        ({"gate": {"head": "nobody", "label": "positive"}}, "'nobody'"),
        ({"gate": {"head": "spans", "label": "toxic"}}, "'spans'"),
        ({"gate": {"head": "sentiment", "label": "joy"}}, "'joy'"),
        ({"gate": {"head": "sentiment", "label": "positive", "threshold": -0.1}}, "gate"),
    ],
)
def test_token_heads_that_make_no_sense_are_refused(own_pack: Path, entry: dict[str, Any], word: str) -> None:
    sound = {"problem_type": "token_classification", "id2label": {"0": "toxic"}, "layers": [1, 2]}
    config = json.loads((own_pack / "config.json").read_text())
    config["heads"]["spans"] = sound | entry
    rewrite(own_pack, "config.json", json.dumps(config))
    message = refusal(own_pack)
    assert word in message
    assert "'spans'" in message


def test_token_heads_alone_are_refused(own_pack: Path) -> None:
    config = json.loads((own_pack / "config.json").read_text())
    sound = {"problem_type": "token_classification", "id2label": {"0": "toxic"}, "layers": [1]}
    rewrite(own_pack, "config.json", json.dumps({**config, "heads": {"spans": sound}}))
    assert "whole texts" in refusal(own_pack)
    heads = config["heads"] | {"spans": sound, "spans.rows": config["heads"]["sentiment"]}
    rewrite(own_pack, "config.json", json.dumps({**config, "heads": heads}))
    assert "spans.rows" in refusal(own_pack)
    heads = config["heads"] | {"spans": sound}
    rewrite(own_pack, "config.json", json.dumps({**config, "heads": heads}))
    assert "no output 'spans.rows'" in refusal(own_pack)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("social", "table"),
        ({"version": 1}, "name"),
        ({"name": "social"}, "version"),
        ({"name": "social", "version": "1"}, "version"),
        ({"name": "social", "version": 99}, "version 99 is unknown"),
        ({"name": "nobody", "version": 1}, "'nobody'"),
    ],
)
def test_a_text_handling_that_is_not_known_is_refused(own_pack: Path, text: object, word: str) -> None:
    config = json.loads((own_pack / "config.json").read_text())
    rewrite(own_pack, "config.json", json.dumps({**config, "text": text}))
    message = refusal(own_pack)
    assert word in message
    assert "config.json" in message


def with_names(pack: Path, table: str | None) -> None:
    """Have the pack name `social` 3, with this table of emoji names."""
    config = json.loads((pack / "config.json").read_text())
    rewrite(pack, "config.json", json.dumps({**config, "text": {"name": "social", "version": 3}}))
    if table is not None:
        rewrite(pack, "emoji.json", table)


def test_emoji_are_named_by_the_packs_own_table(own_pack: Path) -> None:
    with_names(own_pack, '{"format": 1, "unicode": "1", "names": {"\U0001f600": "good"}}')
    model = Classifier.load(own_pack)
    assert model.pack.text.apply("\U0001f600 &#x1F602;") == " good   emoji "
    before = model.tokenizer_key
    with_names(own_pack, '{"format": 1, "unicode": "1", "names": {"\U0001f600": "bad"}}')
    assert Classifier.load(own_pack).tokenizer_key != before


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (None, "manifest.json: text handling social 3 needs emoji.json, which is not listed"),
        ("[]", "emoji.json is not a table of emoji names of format 1"),
        ('{"format": 1, "unicode": "1", "names": {"x": "y"}}', "emoji.json: 'x' is no emoji"),
        (" " * 600_000, "emoji.json may have at most"),
    ],
)
def test_a_table_of_emoji_names_that_does_not_fit_is_refused(
    own_pack: Path, table: str | None, says: str
) -> None:
    with_names(own_pack, table)
    assert says in refusal(own_pack)


def test_a_changed_table_of_emoji_names_is_refused(own_pack: Path) -> None:
    with_names(own_pack, '{"format": 1, "unicode": "1", "names": {"\U0001f600": "good"}}')
    (own_pack / "emoji.json").write_text('{"format": 1, "unicode": "1", "names": {"\U0001f600": "evil"}}')
    assert "emoji.json is damaged" in refusal(own_pack)


@pytest.mark.parametrize(
    ("languages", "word"),
    [
        ("en", "must be a list"),
        ([], "must be a list"),
        ([1], "must be a list"),
        ({"en": True}, "must be a list"),
        (["en", "english"], "'english' is not a language code"),
        (["xx"], "'xx' is not a language code"),
        (["en\nfr"], "is not a language code"),
    ],
)
def test_languages_that_are_none_are_refused(own_pack: Path, languages: object, word: str) -> None:
    config = json.loads((own_pack / "config.json").read_text())
    rewrite(own_pack, "config.json", json.dumps({**config, "languages": languages}))
    message = refusal(own_pack)
    assert "`languages`" in message
    assert word in message
    assert "config.json" in message


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"languages": ["en"]}, {"en"}),
        ({"languages": ["eng", "pt-BR", "haw"]}, {"en", "pt", "haw"}),
        ({"languages": None}, None),
        ({}, None),
    ],
)
def test_a_pack_says_which_languages_it_reads(
    own_pack: Path, entry: dict[str, object], read: set[str] | None
) -> None:
    config = json.loads((own_pack / "config.json").read_text())
    config.pop("languages", None)
    rewrite(own_pack, "config.json", json.dumps({**config, **entry}))
    assert load_pack(own_pack).languages == read


@pytest.mark.parametrize("name", shipped_packs())
def test_the_packs_that_ship_read_english(name: str) -> None:
    assert load_pack(Path(name)).languages == frozenset({"en"})


def test_files_that_do_not_fit_together_are_refused(own_pack: Path) -> None:
    config = json.loads((own_pack / "config.json").read_text())
    rewrite(own_pack, "config.json", json.dumps({**config, "vocab_size": 10}))
    assert "tokenizer.json" in refusal(own_pack)
    config["heads"]["toxicity"] = config["heads"]["sentiment"]
    rewrite(own_pack, "config.json", json.dumps(config))
    assert "toxicity" in refusal(own_pack)


def test_a_graph_that_is_none_is_refused(own_pack: Path) -> None:
    rewrite(own_pack, "model.onnx", "no graph")
    assert "model.onnx" in refusal(own_pack)
    rewrite(own_pack, "tokenizer.json", "{}")
    assert "tokenizer.json" in refusal(own_pack)


def test_a_pack_that_ships_goes_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("compact", "compact-fast"):
        assert load_pack(Path(name)).name == name
    (tmp_path / "compact").mkdir()  # a folder of that name goes before it
    with pytest.raises(PackError, match=r"compact/manifest\.json"):
        load_pack(Path("compact"))
