"""Names of the output columns: they follow from the heads of the pack, and from nothing else."""

import re
from collections.abc import Sequence
from typing import Protocol


class HeadLike(Protocol):
    """What a classification head must tell for its columns to be named."""

    @property
    def name(self) -> str:
        """Name of the head, such as `sentiment`."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Its labels in the order of the model's outputs."""
        ...

    @property
    def problem_type(self) -> str:
        """`single_label_classification` or `multi_label_classification`, as transformers writes it."""
        ...


MULTI_LABEL = "multi_label_classification"
_SUFFIXES = ("label", "score", "labels")


def label_columns(head: str, labels: Sequence[str]) -> dict[str, str]:
    """Name the numeric column of each label: `<head>_<label>`, in lower case, `_` for what SQL would quote.

    A label that would take the name of another column of the head gets `_probability` behind it; labels
    that come out alike are numbered.
    """
    columns: dict[str, str] = {}
    taken = {f"{head}_{suffix}" for suffix in _SUFFIXES}
    for label in labels:
        plain = re.sub(r"\W+", "_", label.strip().lower()).strip("_") or "label"
        name = f"{head}_{plain}"
        if name in taken:
            name = f"{name}_probability"
        number = 2
        unique = name
        while unique in taken:
            unique = f"{name}_{number}"
            number += 1
        taken.add(unique)
        columns[label] = unique
    return columns
