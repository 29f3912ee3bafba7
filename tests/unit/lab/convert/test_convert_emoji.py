"""The table of emoji names goes with a model: from checkpoint to pack and back, and out to transformers."""

import json
from pathlib import Path

import pytest

from tests.support.checkpoints import SIZES, TWO_HEADS, write_checkpoint
from worker.errors import CheckpointError
from worker.lab.checkpoint import read_model, write_folder
from worker.lab.convert.export import export_model
from worker.lab.convert.writer import convert_checkpoint
from worker.lab.texts import TextReader
from worker.model.pack import load_pack
from worker.model.text.names import own_table

SOCIAL_3 = {**SIZES, "heads": TWO_HEADS, "text": {"name": "social", "version": 3}}
MINE = json.dumps({"format": 1, "unicode": "1", "names": {"\U0001f600": "good"}})


def test_a_pack_gets_the_table_that_training_reads_with(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SOCIAL_3)
    pack = convert_checkpoint(checkpoint, tmp_path / "pack", name="tiny")
    assert (pack.path / "emoji.json").read_bytes() == own_table()
    assert "emoji.json" in pack.files
    assert pack.text.table == read_model(checkpoint).handling().table


def test_other_handlings_have_no_table(tmp_path: Path) -> None:
    config = {**SOCIAL_3, "text": {"name": "social", "version": 2}}
    pack = convert_checkpoint(
        write_checkpoint(tmp_path / "checkpoint", config), tmp_path / "pack", name="tiny"
    )
    assert "emoji.json" not in pack.files


def test_a_models_own_table_stays_with_it(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SOCIAL_3)
    (checkpoint / "emoji.json").write_text(MINE)
    pack = convert_checkpoint(checkpoint, tmp_path / "pack", name="tiny")
    assert pack.text.apply("\U0001f600 \U0001f602") == " good   emoji "
    again = read_model(pack.path)
    write_folder(again, tmp_path / "again")
    assert (
        convert_checkpoint(tmp_path / "again", tmp_path / "other", name="tiny").text.table == pack.text.table
    )
    good, smile = (TextReader(again)([text], 24)[0].ids.tolist() for text in ("good", "&#x1F600;"))
    assert good == smile
    export_model(pack.path, tmp_path / "out", "sentiment")
    assert (tmp_path / "out" / "emoji.json").read_text() == MINE
    assert load_pack(pack.path).revision == pack.revision


def test_a_table_that_is_none_gives_no_pack(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SOCIAL_3)
    (checkpoint / "emoji.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"emoji\.json is not a table of emoji names"):
        convert_checkpoint(checkpoint, tmp_path / "pack", name="tiny")
    assert not (tmp_path / "pack").exists()
