"""The tables of docs/explanation/models.md, made of a report."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.models_table import BEGIN, END, render, replace_between


def _model(name: str, *, cited: bool, encoder: int, ratio: float, **sizes: int) -> dict[str, Any]:
    rate = {"rate": 40.0 * ratio, "ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1}
    return {
        "name": name,
        "pack": None if cited else f"{name}@abc",
        "sizes": {"n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072, **sizes},
        "encoder": encoder,
        "parameters": encoder + 1_000_000,
        "int8_bytes": 25_000_000,
        "float_bytes": 100_000_000,
        "int8": rate,
        "float32": rate,
        "cited": {"sst2": [92.0, "a paper"], "glue": [77.0 if "Distil" in name else 80.0, "a paper"]}
        if cited
        else None,
    }


def _report(**figures: Any) -> dict[str, Any]:
    return {
        "machine": "a machine",
        "versions": {"onnxruntime": "1.2"},
        "texts": 600,
        "plain_texts": 60,
        "rounds": 5,
        "models": [
            _model("BERT-base", cited=True, encoder=100_000_000, ratio=1.0),
            _model("DistilBERT-base", cited=True, encoder=60_000_000, ratio=1.6),
            {
                **_model("cut", cited=False, encoder=20_000_000, ratio=5.0, n_heads=8, head_dim=64),
                "float32": None,
            },
        ],
        "figures": figures,
    }


def test_the_claim_is_worked_out_of_what_was_counted_and_measured() -> None:
    lines = render(_report()).splitlines()
    (distil,) = [line for line in lines if line.startswith("| DistilBERT-base | 40.0 % fewer")]
    assert "| 60 % faster | 60 % faster |" in distil
    assert "96.2 %: GLUE 77.0 of 80.0, cited, not measured here" in distil


def test_what_was_not_measured_says_so() -> None:
    text = render(_report())
    assert "| cut | 80.0 % fewer | no such shape | 400 % faster | not measured yet |" in text
    assert "6 x 768 (8 heads)" in text
    assert "| untrained |" in text


def test_measured_figures_stand_with_their_intervals() -> None:
    sst2 = {"data": "sst2", "figures": {"accuracy": {"value": 0.874, "low": 0.85, "high": 0.9}}}
    text = render(_report(**{"cut@abc": {"sst2": sst2}}))
    assert "| cut | 87.4 (85.0 to 90.0) | - | - | - | measured, int8 |" in text
    assert "95.0 %: SST-2 dev 87.4, measured, of 92.0, cited" in text


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_between(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="models-report"):
        replace_between("no marks", "new")


def test_the_page_has_the_marks() -> None:
    page = (Path(__file__).parents[3] / "docs/explanation/models.md").read_text(encoding="utf-8")
    assert replace_between(page, "x") != page
