"""Marked ranges in what `moodstream label` writes, whatever file the texts come from."""

import csv
import json
from pathlib import Path

import jsonschema
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tests.support.checkpoints import write_marking_checkpoint
from worker.cli.main import main
from worker.lab.convert.writer import convert_checkpoint
from worker.messages.schema import output_schema
from worker.model.pack import load_pack

TEXTS = [
    "the film was awful, AWFUL film",
    "é 😡 👍🏽 a\u0301wful\u0301!",
    "it is a great film",
    "@you #ItIsAwful",
]
MARKED = [["awful", "AWFUL"], ["a\u0301wful\u0301"], [], ["Awful"]]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marking")
    checkpoint = write_marking_checkpoint(folder / "checkpoint", "awful")
    return convert_checkpoint(checkpoint, folder / "pack", name="marking").path


def write_texts(path: Path) -> None:
    if path.suffix == ".parquet":
        parquet.write_table(arrow.table({"text": TEXTS}), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([text] for text in TEXTS)])
    elif path.suffix == ".jsonl":  # with JSON's own escapes, in which an emoji is two
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    else:
        path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")


def test_a_setting_says_in_which_texts_words_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_marking_checkpoint(tmp_path / "checkpoint", "awful", flagged=False)
    pack = convert_checkpoint(checkpoint, tmp_path / "pack", name="marking").path
    write_texts(tmp_path / "posts.jsonl")

    def marked(*flags: str) -> list[list[str]]:
        target = tmp_path / "labelled.jsonl"
        assert (
            main(["label", str(tmp_path / "posts.jsonl"), "--model", str(pack), "-o", str(target), *flags])
            == 0
        )
        return [json.loads(line)["toxic_words"] for line in target.read_text(encoding="utf-8").splitlines()]

    assert marked() == [[]] * len(TEXTS)
    assert marked("--model.marks", "gate") == MARKED
    monkeypatch.setenv("MOODSTREAM_MODEL__MARKS", "gate")
    assert marked() == MARKED
    assert marked("--model.marks", "flagged") == [[]] * len(TEXTS)


@pytest.mark.parametrize("name", ["posts.jsonl", "posts.csv", "posts.parquet", "posts.txt"])
def test_ranges_are_those_of_the_text_in_the_file(pack: Path, tmp_path: Path, name: str) -> None:
    write_texts(tmp_path / name)
    target = tmp_path / "labelled.jsonl"
    assert main(["label", str(tmp_path / name), "--model", str(pack), "-o", str(target)]) == 0
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    found = [[row["text"][start:end] for start, end in row["toxic_spans"]] for row in rows]
    assert found == MARKED
    schema = output_schema(load_pack(pack).outputs)
    for row in rows:
        jsonschema.validate(row, schema)
