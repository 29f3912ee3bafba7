"""The reference pages say what the code does: exit codes, metrics, columns, reasons, commands, settings."""

import inspect
import json
import re
from pathlib import Path

import pytest

from docs.cli_page import cli_page
from worker import errors
from worker.cli import errors as cli_errors
from worker.errors import ExitCode
from worker.observe.metrics import STAGES, Metrics
from worker.settings.fields import all_names

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def _page(name: str) -> str:
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


def _rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]


def test_the_tables_have_every_exit_code() -> None:
    of_a_worker, of_commands = _page("exit-codes.md").split("## Of the other commands")
    assert {int(row[0]) for row in _rows(of_a_worker) if row[0].isdigit()} == {int(code) for code in ExitCode}
    rest = {int(row[0]) for row in _rows(of_commands) if row[0].isdigit()}
    assert {cli_errors.INTERRUPTED, cli_errors.BROKEN_PIPE} <= rest


def test_the_tables_have_every_metric_with_its_type_and_labels() -> None:
    metrics = Metrics()
    labels = {
        value._name: set(value._labelnames)
        for value in vars(metrics).values()
        if hasattr(value, "_labelnames")
    }
    labels["moodstream_model"] = {"name", "revision"}
    instruments = {}
    for family in metrics.registry.collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        constant = family.type == "info" or family.name == "python_info"
        of_python = {"version", "implementation", "major", "minor", "patchlevel"}
        found = of_python if family.name == "python_info" else labels.get(family.name, set())
        instruments[family.name + suffix] = ("gauge, always 1" if constant else family.type, found)
    page = _page("metrics.md")
    rows = {
        row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2])))
        for row in _rows(page)
        if row[0].startswith(("`moodstream_", "`process_", "`python_"))
    }
    assert rows == instruments
    stages = _rows(page.split("### Stages")[1].split("###")[0])
    assert tuple(row[0].strip("`") for row in stages if row[0].startswith("`")) == STAGES


def test_the_table_has_every_column() -> None:
    schema = json.loads((ROOT / "schemas" / "output.v1.json").read_text(encoding="utf-8"))
    table = _page("output.md").split("## Input")[0]
    named = [name for row in _rows(table) for name in re.findall(r"`([a-z_]+(?:<\w+>)?)`", row[0])]
    patterns = [re.sub(r"<\w+>", r"\\w+", name) for name in named]
    for column in schema["properties"]:
        assert any(re.fullmatch(pattern, column) for pattern in patterns), column
    for pattern in patterns:
        assert any(re.fullmatch(pattern, column) for column in schema["properties"]), pattern


def test_the_table_has_every_reason_to_fail() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if hasattr(kind, "reason")]
    reasons = {kind.reason for kind in kinds if not kind.__subclasses__()}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "worker").rglob("*.py"))
    table = _page("output.md").split("### Reasons")[1]
    rows = {row[1].split("`")[1] for row in _rows(table)[1:]}
    assert reasons <= rows
    assert not {reason for reason in rows - reasons if f'"{reason}"' not in code}


def test_the_page_of_the_command_line_is_what_the_code_writes() -> None:
    assert _page("cli.md") == cli_page(), "run: make schemas"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    groups = {name.split(".")[0] for name in all_names()}
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", text))
    settings = {name for name in named if name.split(".")[0] in groups}
    files = {name for name in settings if name.endswith((".py", ".md", ".onnx", ".safetensors", ".csv"))}
    assert settings - files <= set(all_names())
    variables = set(re.findall(r"MOODSTREAM_[A-Z]+__[A-Z_]+", text))
    assert variables <= {f"MOODSTREAM_{name.replace('.', '__').upper()}" for name in all_names()}
