"""Which column holds the text and which the label, where nobody says."""

import difflib
from collections.abc import Sequence

from worker.errors import TrainingError
from worker.lab.data.tables.rows import Table, listed

TEXTS = (
    ("text", "texts", "body", "message", "sentence", "review", "content", "comment", "tweet", "post"),
    ("title", "headline", "description", "summary", "question", "document", "utterance"),
)
LABELS = (
    ("label", "labels", "class", "category", "topic"),
    ("target", "tag", "tags", "categories", "topics", "sentiment"),
)
"""Names by how well they say it: a name of the second row counts only where none of the first is there."""


def choose_columns(table: Table, text: str = "", label: str = "") -> tuple[str, str]:
    """Return the text column and the label column: those named, else guessed by name.

    Raises:
        TrainingError: a named one is not there, or the guess finds none or several: one line with the names.
    """
    for name in filter(None, (text, label)):
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise TrainingError(f"{table.path}: no column {name!r}{hint}; there are: {listed(table.columns)}")
    if text and text == label:
        raise TrainingError(f"{table.path}: the column {text!r} cannot be both the text and the label")
    text = text or _guess(table, TEXTS, "text", label)
    label = label or _guess(table, LABELS, "label", text)
    return text, label


def _guess(table: Table, names: Sequence[Sequence[str]], what: str, taken: str) -> str:
    free = [column for column in table.columns if column != taken]
    option = f"--{what}-column"
    for group in names:
        found = [column for column in free if column.casefold() in group]
        if len(found) == 1:
            return found[0]
        if found:
            raise TrainingError(
                f"{table.path}: several columns may hold the {what} ({listed(found)}): choose with {option}"
            )
    if taken and len(free) == 1:
        return free[0]
    raise TrainingError(
        f"{table.path}: no column's name says that it holds the {what}; "
        f"there are: {listed(table.columns)}: choose with {option}"
    )
