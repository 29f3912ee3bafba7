"""Outputs read by the tools that people use, as their own docs say."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

ROWS = "text,product,stars\nso good,kettle,5\nterrible service,phone,1\nthe bus leaves at nine,phone,3\n"
QUESTION = (
    "SELECT product, count(*) AS posts, round(avg(sentiment_positive - sentiment_negative), 3) AS mood "
    "FROM '{path}' GROUP BY product ORDER BY product"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One input, labelled into each format."""
    made = tmp_path_factory.mktemp("read-back")
    (made / "in.csv").write_text(ROWS)
    for name in ("out.jsonl", "out.csv", "out.parquet", "out.jsonl.gz"):
        command = [sys.executable, "-m", "worker", "label", str(made / "in.csv"), "-o", str(made / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.jsonl.gz"])
def test_duckdb_groups_by_what_was_sent(folder: Path, name: str) -> None:
    found = duckdb.sql(QUESTION.format(path=folder / name))
    assert found is not None
    rows = found.fetchall()
    assert [(product, posts) for product, posts, _ in rows] == [("kettle", 1), ("phone", 2)]
    assert rows[0][2] > 0 > rows[1][2]


def test_pandas_reads_each_format_alike(folder: Path) -> None:
    frames = [
        pd.read_json(folder / "out.jsonl", lines=True),
        pd.read_csv(folder / "out.csv"),
        pd.read_parquet(folder / "out.parquet"),
        pd.read_json(folder / "out.jsonl.gz", lines=True),
    ]
    for frame in frames:
        assert list(frame["sentiment_label"]) == ["positive", "negative", "neutral"]
        assert list(frame["stars"].astype(int)) == [5, 1, 3]
        assert set(frame.columns) == set(frames[0].columns)


def test_polars_reads_each_format_alike(folder: Path) -> None:
    frames = [
        pl.read_ndjson(folder / "out.jsonl"),
        pl.read_csv(folder / "out.csv"),
        pl.read_parquet(folder / "out.parquet"),
    ]
    for frame in frames:
        assert frame["sentiment_label"].to_list() == ["positive", "negative", "neutral"]
        assert frame["product"].to_list() == ["kettle", "phone", "phone"]
