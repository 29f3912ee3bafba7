"""The programs in examples/ run as they are, from a folder of their own, and print what they should."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


def output(name: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(shown: str, sign: str) -> list[list[str]]:
    """The cells of a table as DuckDB and Spark draw it."""
    return [
        [cell.strip() for cell in line.strip(sign).split(sign)] for line in shown.splitlines() if sign in line
    ]


def test_every_example_is_tested() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    assert programs == {
        "pandas_frame.py",
        "duckdb_table.py",
        "many_processes.py",
        "spark_map_in_pandas.py",
    }


def test_pandas(tmp_path: Path) -> None:
    lines = [line.split() for line in output("pandas_frame.py", tmp_path).splitlines()]
    assert ["kettle", "positive", "1"] in lines
    assert ["lamp", "positive", "1"] in lines


def test_duckdb(tmp_path: Path) -> None:
    assert rows(output("duckdb_table.py", tmp_path), "│")[2:] == [
        ["kettle", "negative", "1"],
        ["kettle", "positive", "1"],
        ["lamp", "positive", "1"],
        ["lamp", "NULL", "1"],
    ]


def test_many_processes(tmp_path: Path) -> None:
    assert output("many_processes.py", tmp_path).splitlines() == ["50% positive", "100% positive"]


@pytest.mark.stack
@pytest.mark.skipif(
    find_spec("pyspark") is None or shutil.which("java") is None, reason="needs pyspark and Java"
)
def test_spark(tmp_path: Path) -> None:
    found = rows(output("spark_map_in_pandas.py", tmp_path), "|")[1:]
    assert sorted(found) == [
        ["kettle", "negative", "1"],
        ["kettle", "positive", "1"],
        ["lamp", "NULL", "1"],
        ["lamp", "positive", "1"],
    ]
