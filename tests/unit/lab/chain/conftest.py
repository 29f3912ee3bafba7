"""A chain's folders without any training: made-up rows, empty base weights, and packs that are links."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worker.lab.chain.places import CHECKPOINT, Layout
from worker.lab.chain.record import survey, write_record
from worker.lab.chain.rows import write_rows
from worker.lab.chain.stages import chosen
from worker.lab.recipe import BASE
from worker.model.pack import bundled_pack, load_pack

Leave = Callable[..., None]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    write_rows(tmp_path / "data")
    bases = tmp_path / "bases"
    for name in (BASE, "bert-base-uncased", "all-mpnet-base-v2"):
        (bases / name).mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            (bases / name / file).write_text("{}", encoding="utf-8")
    return Layout(
        tmp_path / "data", tmp_path / "train", tmp_path / "packs", bases, installed={BASE: bases / BASE}
    )


@pytest.fixture
def leave(layout: Layout) -> Leave:
    """Leave what a stage leaves when it is done; the pack is a link to the one that ships."""
    revision = load_pack(bundled_pack()).revision

    def leave(*names: str) -> None:
        for each in survey(chosen(names), layout):
            folder, pack = layout.folder(each.stage), layout.pack(each.stage)
            (folder / CHECKPOINT).mkdir(parents=True, exist_ok=True)
            (folder / CHECKPOINT / "model.safetensors").touch()
            pack.parent.mkdir(parents=True, exist_ok=True)
            if not pack.exists():
                pack.symlink_to(bundled_pack())
            write_record(folder, each.digest, revision)

    return leave
