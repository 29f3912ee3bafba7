"""The reference in docs/ is the one that the code writes."""

from pathlib import Path

from worker.settings.fields import all_names
from worker.settings.reference import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_the_document_is_what_the_code_writes() -> None:
    assert DOCUMENT.read_text() == reference(), "run: make schemas"


def test_every_setting_has_a_row() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(all_names())
    # A cell with a bar of its own would break the table.
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
