"""A checkpoint by its hub name, from a local hub. Nothing here uses the network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkpoints import ONE_HEAD, SIZES, TWO_HEADS, write_checkpoint
from tests.support.hub_server import COMMIT, hub_with
from worker.errors import CheckpointError
from worker.lab.convert.hub import fetch, is_hub_name, page_languages
from worker.model.pack import load_pack

pytest.importorskip("huggingface_hub")

NAME = "someone/distilbert-tiny"
README = b"---\nlanguage: it\nlicense: apache-2.0\n---\n# A tiny one\nlicense: none of this\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = write_checkpoint(tmp_path / "checkpoint", {**SIZES, **ONE_HEAD})
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": README}


def run_import(tmp_path: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `moodstream model import` with this hub and an empty cache."""
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(Path.cwd()),
    }
    return subprocess.run(
        [sys.executable, "-m", "worker", "model", "import", *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_name_becomes_a_pack_that_says_where_it_is_from(files: dict[str, bytes], tmp_path: Path) -> None:
    pickle = {"pytorch_model.bin": b"not to be fetched"}
    with hub_with(NAME, files | pickle) as endpoint:
        done = run_import(tmp_path, endpoint, NAME)
    assert done.returncode == 0, done.stderr
    assert "distilbert-tiny@" in done.stdout
    card = (tmp_path / "distilbert-tiny-pack" / "MODEL_CARD.md").read_text()
    assert f"`{NAME}` on the Hugging Face hub, revision {COMMIT}" in card
    assert "the licence apache-2.0" in card
    assert load_pack(tmp_path / "distilbert-tiny-pack").languages == frozenset({"it"})
    assert not list((tmp_path / "hf").rglob("pytorch_model.bin"))


@pytest.mark.parametrize(
    ("page", "languages"),
    [
        ("---\nlanguage: it\nlicense: mit\n---\n", ("it",)),
        ("---\nlanguage: 'en'\n---\n", ("en",)),
        ("---\nlicense: mit\nlanguage:\n- en\n- pt-BR\ntags:\n- fr\n---\n", ("en", "pt-br")),
        ("---\nlanguage:\n  - en\n  - de  # and more\n---\n", ("en", "de")),
        ("---\nlanguage: [en, de]\n---\n", ("en", "de")),
        ("---\nlanguage:\n- multilingual\n- en\n---\n", ()),
        ("---\nlanguage:\n---\n", ()),
        ("---\nlicense: mit\n---\nlanguage: it\n", ()),
        ("language: it\n", ()),
        ("", ()),
    ],
)
def test_a_page_says_which_languages_the_model_reads(
    page: str, languages: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(page)
    assert page_languages(tmp_path) == languages


def test_a_page_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert page_languages(tmp_path) == ()
    (tmp_path / "README.md").write_bytes(b"---\nlanguage: \xff\n---\n")
    assert page_languages(tmp_path) == ()


def test_several_names_become_packs_that_label_together(files: dict[str, bytes], tmp_path: Path) -> None:
    config = {**SIZES, "heads": {"mood": TWO_HEADS["emotion"], "sentiment": TWO_HEADS["sentiment"]}}
    other = write_checkpoint(tmp_path / "other", config)
    moods = {path.name: path.read_bytes() for path in other.iterdir()}
    with hub_with(NAME, files, {"someone/moods": moods}) as endpoint:
        done = run_import(tmp_path, endpoint, NAME, "someone/moods")
    assert done.returncode == 0, done.stderr
    assert [line.partition("@")[0] for line in done.stdout.splitlines()] == ["distilbert-tiny", "moods"]
    (tmp_path / "posts.txt").write_text("the film was great\n")
    labelled = subprocess.run(
        [
            *(sys.executable, "-m", "moodstream", "label", "posts.txt"),
            *("--model", "./distilbert-tiny-pack,./moods-pack"),
        ],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    output = json.loads(labelled.stdout)
    assert {"distilbert_tiny_sentiment_label", "moods_sentiment_label", "mood_labels"} < output.keys()


def test_what_was_fetched_once_needs_no_hub(files: dict[str, bytes], tmp_path: Path) -> None:
    with hub_with(NAME, files) as endpoint:
        assert run_import(tmp_path, endpoint, NAME, "--output", "one").returncode == 0
    done = run_import(tmp_path, endpoint, NAME, "--output", "two")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / "manifest.json").is_file()
    assert (tmp_path / "two" / "manifest.json").is_file()


def test_pickled_weights_alone_are_refused_with_a_word_on_safetensors(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    weights = files.pop("model.safetensors")
    with hub_with(NAME, files | {"pytorch_model.bin": weights}) as endpoint:
        done = run_import(tmp_path, endpoint, NAME)
    assert done.returncode == 7
    (line,) = done.stderr.strip().splitlines()
    assert "pytorch_model.bin is a pickle" in line
    assert "safetensors" in line


@pytest.mark.parametrize("name", ["someone/else", "no-such-folder"])
def test_a_name_that_is_not_there_is_one_line(name: str, files: dict[str, bytes], tmp_path: Path) -> None:
    with hub_with(NAME, files) as endpoint:
        done = run_import(tmp_path, endpoint, name)
    assert done.returncode == 7
    (line,) = done.stderr.strip().splitlines()
    assert name in line
    assert "Traceback" not in done.stderr


def test_a_hub_out_of_reach_is_one_line(tmp_path: Path) -> None:
    done = run_import(tmp_path, "http://127.0.0.1:9", NAME)
    assert done.returncode == 7
    (line,) = done.stderr.strip().splitlines()
    assert f"{NAME} is neither a folder nor a model that could be fetched" in line


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"pip install 'moodstream\[hub\]'"):
        fetch(NAME)


@pytest.mark.parametrize(
    ("text", "hub"),
    [(NAME, True), ("./a/b", False), ("a/b/c", False), ("a", False), ("/a/b", False), ("~/b", False)],
)
def test_what_looks_like_a_name(text: str, hub: bool) -> None:
    assert is_hub_name(text) is hub
