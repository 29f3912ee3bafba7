"""`moodstream train`: what is told before any training begins."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.errors import ExitCode

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "protest-news.csv"


def test_help_shows_both_ways(moodstream: Any) -> None:
    out = moodstream("train", "--help").out
    assert "moodstream train --data news.csv --label-column topic" in out
    assert "moodstream train my-recipe.toml" in out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "give a RECIPE, or a table of your own with --data FILE"),
        (
            ["recipe.toml", "--label-column", "x"],
            "--label-column goes with --data FILE; a RECIPE has its own entry",
        ),
        (["recipe.toml", "--minutes", "3"], "--minutes goes with --data FILE"),
        (["--data", "x.csv", "--held-out", "1"], "1.0 is not in the range 0<x<1"),
        (["--data", "x.csv", "--labels", "many"], "'many' is not one of"),
        (["gone.toml"], "recipe gone.toml: No such file"),
        (["--data", "gone.csv"], "gone.csv: No such file"),
        (["--data", str(ROOT)], "is a folder with other folders in it; name the files"),
        (["--data", str(EXAMPLE), "--label-column", "topics"], "no column 'topics' (did you mean 'topic'?)"),
        (["--data", str(EXAMPLE), "--text-column", "topic", "--label-column", "topic"], "cannot be both"),
        (["--data", str(EXAMPLE), "--max-tokens", "1000"], "1000 is not in the range"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_exit_code_2(
    moodstream: Any, args: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = moodstream("train", *args)
    assert ended.code == ExitCode.USAGE
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_table_is_told_without_torch() -> None:
    code = (
        "import sys; from worker.cli import main; main(['train', '--data', 'gone.csv']);"
        "print([m for m in ('torch', 'onnxruntime', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
