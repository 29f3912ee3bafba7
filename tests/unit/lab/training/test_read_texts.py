"""Texts for `distill --texts`, read as `moodstream label` reads them."""

from pathlib import Path

import pytest

from worker.errors import InputError, TrainingError
from worker.lab.texts import read_texts, texts_of


def test_every_format_gives_its_texts_without_blank_and_bad_rows(tmp_path: Path) -> None:
    files = {
        "a.jsonl": '{"body": {"text": " so good "}}\n{broken\n{"body": {"text": "  "}}\n{"body": {}}\n',
        "b.csv": "id,body.text\n1,never again\n2,\n",
        "c.txt": "so so\n\n{a text}\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    parts = read_texts(
        [tmp_path / name for name in files], "body.text", max_tokens=64, epochs=1.0, temperature=2.0
    )
    assert [part.texts for part in parts] == [["so good"], ["never again"], ["so so", "{a text}"]]


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"txt": "so good"}\n')
    with pytest.raises(TrainingError, match="no texts in it"):
        read_texts([tmp_path / "a.jsonl"], "text", max_tokens=64, epochs=1.0, temperature=2.0)
    (tmp_path / "a.csv").write_text("id,txt\n1,so good\n")
    with pytest.raises(InputError, match=r"no column `text`; there are: id, txt"):
        list(texts_of(tmp_path / "a.csv", "text"))
